"""The integer reference: a leaky average that is sent when it is large enough."""

# numba types its integers itself: a numpy scalar and an int are one there
# mypy: disable-error-code="arg-type,assignment"

from __future__ import annotations

import numpy as np

from spikegpt_neuro.arithmetic.compiler import kernel
from spikegpt_neuro.arithmetic.fixed_point import clip, round_shift


@kernel
def leaky_average(
    x: np.ndarray,
    gain: np.ndarray,
    shift: np.ndarray,
    keep: int,
    least: int,
    average: np.ndarray,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """``average = clip(average * keep >> 12 + round_shift(x * gain, shift), +-(2**23 - 1))``;
    sent where its magnitude is at least ``least``, else 0.

    Vectors int32 [n]; ``average`` is state. ``counts``: int64 [2], adds neurons with non-zero input
    and clipped averages.
    """
    active = 0
    saturated = 0
    for c in range(x.size):
        wide = ((np.int64(average[c]) * keep) >> 12) + round_shift(
            np.int64(x[c]) * gain[c], shift[c]
        )
        y = clip(wide, -8388607, 8388607)
        saturated += y != wide
        active += x[c] != 0
        average[c] = y
        result[c] = y if abs(y) >= least else 0
    counts[0] += active
    counts[1] += saturated
