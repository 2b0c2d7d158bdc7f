"""Element-wise and normalising operations, each one time step of one layer.

Common conventions: vectors are int32 of shape [n]; ``multiplier`` (15-bit mantissa) and ``shift``
(0..62) are per channel and stand for the real factor ``multiplier / 2**shift``; ``counts`` is int64
[2] and receives neurons with non-zero input and results clipped to the output's range.
"""

# numba types its integers itself: a numpy scalar and an int are one there
# mypy: disable-error-code="arg-type,assignment"

from __future__ import annotations

import numpy as np

from spikegpt_neuro.arithmetic.compiler import inline_kernel, kernel
from spikegpt_neuro.arithmetic.fixed_point import (
    bit_length,
    clip,
    reciprocal_square_root,
    round_shift,
    scale_by_power,
    sigmoid,
)
from spikegpt_neuro.arithmetic.formats import (
    NORMALISED_BITS,
    ROOT_LIMIT,
    STREAM_LIMIT,
)

LIMB_BITS = 12
"""Bits of the limbs in which a layer norm's sums travel through synapses (``norm_moments``)."""
LIMB_MASK = (1 << LIMB_BITS) - 1
VALUE_LIMBS, SQUARE_LIMBS = 2, 4
"""Limbs of a 24-bit value and of its square."""


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


@inline_kernel
def norm_statistics(
    total: int, squares: int, n: int, mean_multiplier: int, mean_shift: int, epsilon: int
) -> tuple[int, int, int]:
    """Mean, reciprocal root and its shift from the sums of n values and of their squares.

    ``mean = round_shift(total * mean_multiplier, mean_shift)``. The sum of squared differences is
    exactly ``squares - 2 mean total + n mean**2``; with ``epsilon`` added it is a mantissa in
    [2**30, 2**32) times ``4**h``, ``root`` is 2**31 over the mantissa's square root and ``drop``
    the shift that makes ``d * root`` the normalised difference in ``NORMALISED_BITS``.

    ``total`` at most 37 bits, ``squares`` below 2**59 (n <= 8192 values of 24 bits): 62 bits here.
    """
    mean = round_shift(total * mean_multiplier, mean_shift)
    spread = squares - 2 * mean * total + n * mean * mean + epsilon
    half_power = (bit_length(spread) - 31) >> 1
    down, up = max(2 * half_power, 0), max(-2 * half_power, 0)
    root = reciprocal_square_root((spread >> down) << up)
    return mean, root, half_power + (31 - NORMALISED_BITS)


@inline_kernel
def norm_value(
    x: int, mean: int, root: int, drop: int, multiplier: int, shift: int, offset: int
) -> int:
    """One normalised value before its clip; ``x`` after the input's shift."""
    t = scale_by_power((x - mean) * root, drop)
    return round_shift(t * multiplier, shift) + offset


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

    See ``norm_statistics`` for the mean (``mean_multiplier`` is a 15-bit mantissa of 1/n) and the
    root. ``x`` 24 bits after the shift, n <= 8192; ``sum(d**2)`` below 2**62.
    """
    n = x.size
    total = np.int64(0)
    squares = np.int64(0)
    for c in range(n):
        value = np.int64(x[c]) << input_shift
        total += value
        squares += value * value
    mean, root, drop = norm_statistics(total, squares, n, mean_multiplier, mean_shift, epsilon)
    active = 0
    saturated = 0
    for c in range(n):
        wide = norm_value(
            np.int64(x[c]) << input_shift, mean, root, drop, multiplier[c], shift[c], offset[c]
        )
        y = clip(wide, -STREAM_LIMIT, STREAM_LIMIT)
        saturated += y != wide
        active += x[c] != 0
        result[c] = y
    counts[0] += active
    counts[1] += saturated


@kernel
def norm_moments(x: np.ndarray, input_shift: int, moments: np.ndarray) -> None:
    """A layer norm's values and their squares in unsigned limbs that synapses can add up.

    ``moments``: int32 [6, n]: ``x * 2**input_shift`` in two limbs of 12 bits (the upper one
    signed), its square in four. Sums over up to 2048 channels then fit 24-bit accumulators.
    """
    for c in range(x.size):
        value = np.int64(x[c]) << input_shift
        moments[0, c] = value & LIMB_MASK
        moments[1, c] = value >> LIMB_BITS
        square = value * value
        for limb in range(SQUARE_LIMBS):
            moments[VALUE_LIMBS + limb, c] = (square >> (LIMB_BITS * limb)) & LIMB_MASK


@kernel
def count_norm_events(
    x: np.ndarray,
    input_shift: int,
    mean_multiplier: int,
    mean_shift: int,
    epsilon: int,
    counts: np.ndarray,
) -> None:
    """What a layer norm sends where its sums travel as spikes (``norm_moments``, ``norm_root``).

    ``counts``: int64 [2]; added to it are the non-zero limbs of all channels, and the non-zero ones
    of mean, root and drop.
    """
    limbs = 0
    total = np.int64(0)
    squares = np.int64(0)
    for c in range(x.size):
        value = np.int64(x[c]) << input_shift
        square = value * value
        total += value
        squares += square
        limbs += (value & LIMB_MASK) != 0
        limbs += (value >> LIMB_BITS) != 0
        for limb in range(SQUARE_LIMBS):
            limbs += ((square >> (LIMB_BITS * limb)) & LIMB_MASK) != 0
    counts[0] += limbs
    if squares != 0:
        n = x.size
        mean, root, drop = norm_statistics(total, squares, n, mean_multiplier, mean_shift, epsilon)
        counts[1] += (mean != 0) + (root != 0) + (drop != 0)


@kernel
def norm_root(
    sums: np.ndarray,
    n: int,
    mean_multiplier: int,
    mean_shift: int,
    epsilon: int,
    result: np.ndarray,
) -> None:
    """``norm_statistics`` from the sums of ``norm_moments``: int32 [6] to (mean, root, drop).

    Where every value is 0 all three are: whatever the root, no difference is left to scale, and
    nothing has to be sent.
    """
    total = np.int64(sums[0]) + (np.int64(sums[1]) << LIMB_BITS)
    squares = np.int64(0)
    for limb in range(SQUARE_LIMBS):
        squares += np.int64(sums[VALUE_LIMBS + limb]) << (LIMB_BITS * limb)
    if squares == 0:
        result[:] = 0
        return
    mean, root, drop = norm_statistics(total, squares, n, mean_multiplier, mean_shift, epsilon)
    result[0], result[1], result[2] = mean, root, drop


@kernel
def norm_apply(
    x: np.ndarray,
    input_shift: int,
    statistics: np.ndarray,
    multiplier: np.ndarray,
    shift: np.ndarray,
    offset: np.ndarray,
    result: np.ndarray,
) -> None:
    """The values of ``layer_norm``; ``statistics``: int32 [3, n], what each channel received."""
    for c in range(x.size):
        wide = norm_value(
            np.int64(x[c]) << input_shift, np.int64(statistics[0, c]), np.int64(statistics[1, c]),
            np.int64(statistics[2, c]), multiplier[c], shift[c], offset[c],
        )  # fmt: skip
        result[c] = clip(wide, -STREAM_LIMIT, STREAM_LIMIT)


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
        h = clip(round_shift(np.int64(x[c]) * multiplier[c], shift[c]), 0, ROOT_LIMIT)
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
