"""The integer network: typed layers, the network value, and its file."""

from spikegpt_neuro.network.layers import LAYER_KINDS
from spikegpt_neuro.network.network import TOKEN, Network, NetworkInfo
from spikegpt_neuro.network.schema import Layer, Port

__all__ = ["LAYER_KINDS", "TOKEN", "Layer", "Network", "NetworkInfo", "Port"]
