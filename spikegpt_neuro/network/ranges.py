"""Proven ranges: the least and the largest integer each layer of a network can send."""

from __future__ import annotations

from spikegpt_neuro.network.network import Network
from spikegpt_neuro.network.schema import Range


def proven_ranges(network: Network) -> dict[str, Range]:
    """Bounds (low, high) of every layer's values, by interval arithmetic over the layers.

    Whatever the tokens are, no layer sends an integer outside its range. Each range lies within the
    layer's port; that of synapses is computed from their weights. Raises ``IncompleteKind`` for a
    kind that does not prove its own (``Layer.value_range``).
    """
    ranges: dict[str, Range] = {}
    for layer in network.layers:
        low, high = layer.value_range([ranges[s] for s in layer.inputs if s in ranges])
        # a sum may be -2**31; every other port is symmetric or begins at 0
        port_low = layer.output.low - (layer.output.payload == "accumulator")
        ranges[layer.name] = (max(low, port_low), min(high, layer.output.high))
    return ranges


def magnitude(found: Range) -> int:
    """Largest absolute value of a range."""
    return max(abs(found[0]), abs(found[1]))
