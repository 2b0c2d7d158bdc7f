"""The integer network: typed layers, the network value, and its file."""

from spikegpt_neuro.network.layers import LAYER_KINDS, Layer, Port
from spikegpt_neuro.network.network import TOKEN, Network, NetworkInfo

__all__ = ["LAYER_KINDS", "TOKEN", "Layer", "Network", "NetworkInfo", "Port"]
