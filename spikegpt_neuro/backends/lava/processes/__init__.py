"""Lava Processes and their process models."""

from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava

prepare_lava()
