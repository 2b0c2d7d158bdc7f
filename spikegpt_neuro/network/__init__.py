"""The integer network: typed layers, the network value, and its file."""

from spikegpt_neuro.network.network import (
    TOKEN,
    Chain,
    ChainInfo,
    LanguageModel,
    ModelInfo,
    Network,
    make_network,
)
from spikegpt_neuro.network.registry import LAYER_KINDS
from spikegpt_neuro.network.schema import Layer, Port

__all__ = [
    "LAYER_KINDS", "TOKEN", "Chain", "ChainInfo", "LanguageModel", "Layer", "ModelInfo", "Network",
    "Port", "make_network",
]  # fmt: skip
