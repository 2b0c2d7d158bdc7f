"""Lava Processes and their process models."""

from spikegpt_neuro.backends.lava.compatibility import prepare_lava

prepare_lava()
