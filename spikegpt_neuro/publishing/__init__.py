"""Writing models as folders that Hugging Face's tools and every command here read."""

from spikegpt_neuro.publishing.folder import save

__all__ = ["save"]
