"""Interval arithmetic over a layer's parameters: what ``Layer.value_range`` is made of."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from spikegpt_neuro.network.schema import Array, Range


def rescaled(found: Range, multiplier: int, shift: int, offset: int = 0) -> Range:
    """Range of ``round_shift(x * multiplier, shift) + offset``."""
    ends = [((x * multiplier + ((1 << shift) >> 1)) >> shift) + offset for x in found]
    return min(ends), max(ends)


def hull(ranges: Iterable[Range]) -> Range:
    """The least range that holds all of ``ranges``."""
    lows, highs = zip(*ranges, strict=True)
    return min(lows), max(highs)


def rescaled_channels(found: Range, multiplier: Array, shift: Array) -> Range:
    """The hull of ``rescaled`` over all channels."""
    return hull(
        rescaled(found, m, s) for m, s in zip(multiplier.tolist(), shift.tolist(), strict=True)
    )


def sum_range(rows: Array, operand: Range) -> Range:
    """Range of ``rows`` times operands within ``operand``, row by row."""
    low, high = operand
    found = []
    for i in range(0, len(rows), 1024):
        part = rows[i : i + 1024]
        positive = np.maximum(part, 0).sum(axis=1, dtype=np.int64)
        negative = np.minimum(part, 0).sum(axis=1, dtype=np.int64)
        found.append(
            (
                int((positive * low + negative * high).min()),
                int((positive * high + negative * low).max()),
            )
        )
    return hull(found)
