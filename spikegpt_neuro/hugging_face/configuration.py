"""What ``transformers`` knows of a model: our configuration, whole, in one key of config.json."""

from __future__ import annotations

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from spikegpt_neuro.converters.model_folder import FORMAT_VERSION, MODEL_TYPE
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration


@strict
class SpikeGPTConfig(PreTrainedConfig):
    """``spikegpt``: a ``SpikeGPTConfiguration`` as a dictionary; ``quantisation``: the scales of a
    model trained in the export's integers, carried along.
    """

    model_type: ClassVar[str] = MODEL_TYPE
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["state"]

    format_version: int = FORMAT_VERSION
    spikegpt: dict[str, Any] | None = None
    quantisation: dict[str, Any] | None = None
    use_cache: bool = True
    tie_word_embeddings: bool = False

    @property
    def configuration(self) -> SpikeGPTConfiguration:
        """Our own configuration. Raises InputError for what no model can be built from."""
        if self.format_version != FORMAT_VERSION:
            raise InputError(
                f"config.json: format_version is {self.format_version}; this version of "
                f"spikegpt-neuro reads {FORMAT_VERSION}."
            )
        if self.spikegpt is None:
            raise InputError(
                "this SpikeGPTConfig says nothing of a model.",
                advice="SpikeGPTConfig(spikegpt=SpikeGPTConfiguration(...).to_dict()).",
            )
        return SpikeGPTConfiguration.from_dict(self.spikegpt)

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary."""
        return self.configuration.vocab_size

    @property
    def hidden_size(self) -> int:
        """Channels of the residual stream: ``n_embd``."""
        return self.configuration.n_embd

    @property
    def num_hidden_layers(self) -> int:
        """Blocks: ``n_layer``."""
        return self.configuration.n_layer

    def to_diff_dict(self) -> dict[str, Any]:
        """What ``save_pretrained`` writes: the format's version too, although it is the default."""
        return {**super().to_diff_dict(), "format_version": self.format_version}
