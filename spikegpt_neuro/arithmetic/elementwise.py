"""Element-wise and normalising operations, each one time step of one layer.

Common conventions: vectors are int32 of shape [n]; ``multiplier`` (15-bit mantissa) and ``shift``
(0..62) are per channel and stand for the real factor ``multiplier / 2**shift``; ``counts`` is int64
[2] and receives neurons with non-zero input and results clipped to the output's range.
"""

# numba types its integers itself: a numpy scalar and an int are one there
# mypy: disable-error-code="arg-type,assignment"

from __future__ import annotations

import numpy as np

from spikegpt_neuro.arithmetic.compiler import kernel
from spikegpt_neuro.arithmetic.fixed_point import (
    bit_length,
    clip,
    reciprocal_square_root,
    round_shift,
    scale_by_power,
    sigmoid,
)

STREAM_LIMIT = (1 << 23) - 1
"""Residual stream and normalised values are 24 bits signed."""
NORMALISED_BITS = 20
"""Fraction bits of ``(x - mean) / sqrt(sum of squares)`` inside the layer norm."""


@kernel
def binary_embedding(table: np.ndarray, token: int, spikes: np.ndarray) -> None:
    """``spikes[c] = bit c of row token``: 1 where the embedding weight is >= 0 (0 counts as 1).

    ``table``: uint8 [vocabulary, ceil(n / 8)], most significant bit first. ``spikes``: [n], 0 or 1.
    """
    for c in range(spikes.size):
        spikes[c] = (table[token, c >> 3] >> (7 - (c & 7))) & 1


@kernel
def real_embedding(table: np.ndarray, token: int, values: np.ndarray) -> None:
    """``values[c] = table[token, c]``; ``table``: int16 [vocabulary, n]."""
    for c in range(values.size):
        values[c] = table[token, c]


@kernel
def layer_norm(
    x: np.ndarray,
    input_shift: int,
    mean_multiplier: int,
    mean_shift: int,
    epsilon: int,
    multiplier: np.ndarray,
    shift: np.ndarray,
    offset: np.ndarray,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Layer normalisation with an integer reciprocal square root.

    Equation (eps 1e-5 folded into ``epsilon``; the weight and sqrt(n) into ``multiplier``)::

        d = x * 2**input_shift - mean(x * 2**input_shift)
        t = round(2**20 * d / sqrt(sum(d**2) + epsilon))
        result = clip(round_shift(t * multiplier, shift) + offset, +-(2**23 - 1))

    The mean is ``round_shift(sum * mean_multiplier, mean_shift)``, ``mean_multiplier`` a 15-bit
    mantissa of 1/n. ``x`` 24 bits after the shift, n <= 8192; ``sum(d**2)`` below 2**62.
    """
    n = x.size
    total = np.int64(0)
    for c in range(n):
        total += np.int64(x[c]) << input_shift
    mean = round_shift(total * mean_multiplier, mean_shift)
    squares = np.int64(epsilon)
    for c in range(n):
        d = (np.int64(x[c]) << input_shift) - mean
        squares += d * d
    # squares = mantissa * 4**half_power with the mantissa in [2**30, 2**32)
    half_power = (bit_length(squares) - 31) >> 1
    down, up = max(2 * half_power, 0), max(-2 * half_power, 0)
    mantissa = (squares >> down) << up
    root = reciprocal_square_root(mantissa)
    drop = half_power + 31 - NORMALISED_BITS
    active = 0
    saturated = 0
    for c in range(n):
        d = (np.int64(x[c]) << input_shift) - mean
        t = scale_by_power(d * root, drop)
        wide = round_shift(t * multiplier[c], shift[c]) + offset[c]
        y = clip(wide, -STREAM_LIMIT, STREAM_LIMIT)
        saturated += y != wide
        active += x[c] != 0
        result[c] = y
    counts[0] += active
    counts[1] += saturated


@kernel
def delay(x: np.ndarray, state: np.ndarray, result: np.ndarray) -> None:
    """``result = x of the previous token`` (0 at the first); an axonal delay of one token."""
    for c in range(x.size):
        result[c] = state[c]
        state[c] = x[c]


@kernel
def token_shift(
    current: np.ndarray,
    previous: np.ndarray,
    current_multiplier: np.ndarray,
    previous_multiplier: np.ndarray,
    shift: np.ndarray,
    low: int,
    high: int,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """``clip(round_shift(current * m1 + previous * m2, shift), low, high)``.

    With m1 = mix / scale and m2 = (1 - mix) / scale it mixes a token with the one before and
    quantises to the projection's payload (``src/model.py`` time_mix_*). With multipliers 0 or 1
    and shift 0 it is the hard token shift: an axonal delay on some channels.
    """
    active = 0
    saturated = 0
    for c in range(current.size):
        mixed = np.int64(current[c]) * current_multiplier[c]
        mixed += np.int64(previous[c]) * previous_multiplier[c]
        wide = round_shift(mixed, shift[c])
        y = clip(wide, low, high)
        saturated += y != wide
        active += mixed != 0
        result[c] = y
    counts[0] += active
    counts[1] += saturated


@kernel
def requantise(
    x: np.ndarray,
    multiplier: np.ndarray,
    shift: np.ndarray,
    low: int,
    high: int,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """``clip(round_shift(x * multiplier, shift), low, high)``: change of scale and payload."""
    active = 0
    saturated = 0
    for c in range(x.size):
        wide = round_shift(np.int64(x[c]) * multiplier[c], shift[c])
        y = clip(wide, low, high)
        saturated += y != wide
        active += x[c] != 0
        result[c] = y
    counts[0] += active
    counts[1] += saturated


@kernel
def sigmoid_gate(
    x: np.ndarray,
    multiplier: np.ndarray,
    shift: np.ndarray,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """``sigmoid(round_shift(x * multiplier, shift))``: 15 bits unsigned from an accumulator.

    The argument has 10 fraction bits and saturates at +-8 by definition (not counted).
    """
    active = 0
    for c in range(x.size):
        result[c] = sigmoid(round_shift(np.int64(x[c]) * multiplier[c], shift[c]))
        active += x[c] != 0
    counts[0] += active


@kernel
def squared_relu(
    x: np.ndarray,
    multiplier: np.ndarray,
    shift: np.ndarray,
    square_shift: int,
    high: int,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """``min(round_shift(h**2, square_shift), high)`` with ``h = max(round_shift(x*m, shift), 0)``.

    ``h`` saturates at 2**20 - 1 (its square then fits 40 bits); the result is unsigned.
    """
    active = 0
    saturated = 0
    for c in range(x.size):
        h = clip(round_shift(np.int64(x[c]) * multiplier[c], shift[c]), 0, (1 << 20) - 1)
        wide = round_shift(h * h, square_shift)
        y = min(wide, high)
        saturated += y != wide
        active += x[c] != 0
        result[c] = y
    counts[0] += active
    counts[1] += saturated


@kernel
def product(
    gate: np.ndarray,
    value: np.ndarray,
    multiplier: np.ndarray,
    shift: np.ndarray,
    low: int,
    high: int,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """``clip(round_shift(gate * value * multiplier, shift), low, high)``.

    ``gate`` 15 bits unsigned, ``value`` at most 32 bits, ``multiplier`` 15 bits: 62 bits.
    """
    active = 0
    saturated = 0
    for c in range(gate.size):
        wide = round_shift(np.int64(gate[c]) * value[c] * multiplier[c], shift[c])
        y = clip(wide, low, high)
        saturated += y != wide
        active += value[c] != 0
        result[c] = y
    counts[0] += active
    counts[1] += saturated


@kernel
def residual(
    stream: np.ndarray,
    branch: np.ndarray,
    multiplier: np.ndarray,
    shift: np.ndarray,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """``clip(stream + round_shift(branch * multiplier, shift), +-(2**23 - 1))``."""
    active = 0
    saturated = 0
    for c in range(stream.size):
        wide = stream[c] + round_shift(np.int64(branch[c]) * multiplier[c], shift[c])
        y = clip(wide, -STREAM_LIMIT, STREAM_LIMIT)
        saturated += y != wide
        active += branch[c] != 0
        result[c] = y
    counts[0] += active
    counts[1] += saturated
