"""Proven ranges: the least and the largest integer each layer of a network can send."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from spikegpt_neuro.arithmetic.elementwise import NORMALISED_BITS
from spikegpt_neuro.network.layers import (
    BinaryEmbedding,
    Delay,
    Dense,
    LayerNorm,
    Lif,
    Product,
    RealEmbedding,
    Requantise,
    Residual,
    TokenShift,
)
from spikegpt_neuro.network.network import Network
from spikegpt_neuro.network.schema import Layer

Range = tuple[int, int]

LARGEST_NORMALISED = (1 << NORMALISED_BITS) + (1 << 6)
"""|d| / sqrt(sum d**2) is at most 1; the reciprocal root errs by less than 2**-15 of it."""


def proven_ranges(network: Network) -> dict[str, Range]:
    """Bounds (low, high) of every layer's values, by interval arithmetic over the layers.

    Whatever the tokens are, no layer sends an integer outside its range. Each range lies within the
    layer's port; that of a dense layer is computed from its weights, not taken from the file.
    """
    ranges: dict[str, Range] = {}
    for layer in network.layers:
        low, high = _range(layer, [ranges[s] for s in layer.inputs if s in ranges])
        port_low = -layer.output.high - 1 if isinstance(layer, Dense) else layer.output.low
        ranges[layer.name] = (max(low, port_low), min(high, layer.output.high))
    return ranges


def magnitude(found: Range) -> int:
    """Largest absolute value of a range."""
    return max(abs(found[0]), abs(found[1]))


def _range(layer: Layer, inputs: Sequence[Range]) -> Range:
    if isinstance(layer, BinaryEmbedding):
        return 0, 1
    if isinstance(layer, RealEmbedding):
        return int(layer.table.min()), int(layer.table.max())
    if isinstance(layer, LayerNorm):
        return _hull(
            _rescaled((-LARGEST_NORMALISED, LARGEST_NORMALISED), int(m), int(s), int(o))
            for m, s, o in zip(layer.multiplier, layer.shift, layer.offset, strict=True)
        )
    if isinstance(layer, Delay):
        return min(inputs[0][0], 0), max(inputs[0][1], 0)
    if isinstance(layer, Dense):
        positive = np.maximum(layer.weight, 0).sum(axis=1, dtype=np.int64)
        negative = np.minimum(layer.weight, 0).sum(axis=1, dtype=np.int64)
        low, high = inputs[0]
        return int((positive * low + negative * high).min()), int(
            (positive * high + negative * low).max()
        )
    if isinstance(layer, TokenShift) and layer.is_hard:
        return _hull(inputs)
    if isinstance(layer, Requantise):
        return _hull(
            _rescaled(inputs[0], int(m), int(s))
            for m, s in zip(layer.multiplier, layer.shift, strict=True)
        )
    if isinstance(layer, Product):
        corners = [a * b for a in inputs[0] for b in inputs[1]]
        return _hull(
            _rescaled((min(corners), max(corners)), int(m), int(s))
            for m, s in zip(layer.multiplier, layer.shift, strict=True)
        )
    if isinstance(layer, Residual):
        low, high = _hull(
            _rescaled(inputs[1], int(m), int(s))
            for m, s in zip(layer.multiplier, layer.shift, strict=True)
        )
        return inputs[0][0] + low, inputs[0][1] + high
    if isinstance(layer, Lif):
        return 0, layer.levels
    return layer.output.low, layer.output.high


def _rescaled(found: Range, multiplier: int, shift: int, offset: int = 0) -> Range:
    """Range of ``round_shift(x * multiplier, shift) + offset``."""
    ends = [((x * multiplier + ((1 << shift) >> 1)) >> shift) + offset for x in found]
    return min(ends), max(ends)


def _hull(ranges: Iterable[Range]) -> Range:
    lows, highs = zip(*ranges, strict=True)
    return min(lows), max(highs)
