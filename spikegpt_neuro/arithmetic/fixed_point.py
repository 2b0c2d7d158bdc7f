"""Scalar fixed-point operations: only add, multiply, shift, compare and table look-up.

That is the instruction mix a neuron's microcode has; there is no division and no square root.
"""

# numba types its integers itself: a numpy scalar and an int are one there
# mypy: disable-error-code="arg-type,assignment"

from __future__ import annotations

from spikegpt_neuro.arithmetic.compiler import inline_kernel
from spikegpt_neuro.arithmetic.tables import (
    EXP2,
    EXP2_CELL_BITS,
    EXPONENT_BITS,
    RECIPROCAL,
    RECIPROCAL_SQUARE_ROOT,
    SIGMOID,
    SIGMOID_CELL_BITS,
    SIGMOID_LIMIT,
)


@inline_kernel
def round_shift(value: int, shift: int) -> int:
    """``floor(value / 2**shift + 1/2)``: shift right, ties upwards.

    ``value``: 64 bit, |value| + 2**(shift-1) < 2**63. ``shift``: 0..62.
    """
    return (value + ((1 << shift) >> 1)) >> shift


@inline_kernel
def scale_by_power(value: int, shift: int) -> int:
    """``round_shift(value, shift)`` for shift >= 0, ``value * 2**-shift`` for shift < 0."""
    if shift < 0:
        return value << -shift
    return (value + ((1 << shift) >> 1)) >> shift


@inline_kernel
def clip(value: int, low: int, high: int) -> int:
    """``min(max(value, low), high)``."""
    if value < low:
        return low
    if value > high:
        return high
    return value


@inline_kernel
def sigmoid(argument: int) -> int:
    """``2**15 / (1 + exp(-argument / 2**10))`` by a 256-cell table with linear interpolation.

    ``argument``: any integer, saturated to +-8 (that is [-2**13, 2**13 - 1]). Result: 11..32757,
    15 bits unsigned. Largest error against the exact sigmoid inside the range: below 3 of 2**15
    (tests/arithmetic). Source: SpikeGPT receptance gates, arXiv 2302.13939 section 3.
    """
    z = clip(argument, -SIGMOID_LIMIT, SIGMOID_LIMIT - 1) + SIGMOID_LIMIT
    cell = z >> SIGMOID_CELL_BITS
    fraction = z & ((1 << SIGMOID_CELL_BITS) - 1)
    low = SIGMOID[cell]
    return low + round_shift((SIGMOID[cell + 1] - low) * fraction, SIGMOID_CELL_BITS)


@inline_kernel
def exp2(exponent: int) -> int:
    """``2**15 * 2**(exponent / 2**16)`` for exponent <= 0, by table, interpolation and shift.

    ``exponent``: <= 0, 16 fraction bits. Result: 0..32768. Largest error 1.5 of 2**15.
    """
    negated = -exponent
    whole = negated >> EXPONENT_BITS
    if whole > 16:
        return 0
    fraction = negated & ((1 << EXPONENT_BITS) - 1)
    cell = fraction >> EXP2_CELL_BITS
    low = EXP2[cell]
    step = (EXP2[cell + 1] - low) * (fraction & ((1 << EXP2_CELL_BITS) - 1))
    return round_shift(low + round_shift(step, EXP2_CELL_BITS), whole)


@inline_kernel
def bit_length(value: int) -> int:
    """Position of the highest set bit plus one, by compare and shift; 0 for 0. ``value`` >= 0."""
    length = 0
    if value >= 1 << 32:
        value >>= 32
        length += 32
    if value >= 1 << 16:
        value >>= 16
        length += 16
    if value >= 1 << 8:
        value >>= 8
        length += 8
    if value >= 1 << 4:
        value >>= 4
        length += 4
    if value >= 1 << 2:
        value >>= 2
        length += 2
    if value >= 1 << 1:
        value >>= 1
        length += 1
    return length + value


@inline_kernel
def reciprocal(mantissa: int) -> int:
    """``2**31 / mantissa`` for a 16-bit mantissa, by table and one Newton step.

    ``y1 = y0 * (2**32 - mantissa * y0) / 2**31``. ``mantissa``: [2**15, 2**16). Result: [2**15,
    2**16], relative error below 2**-15 (tests/arithmetic).
    """
    guess = RECIPROCAL[mantissa >> 8]
    return round_shift(guess * ((1 << 32) - mantissa * guess), 31)


@inline_kernel
def reciprocal_square_root(mantissa: int) -> int:
    """``2**31 / sqrt(mantissa)``, by table and one Newton step.

    ``y1 = y0 * (3 * 2**30 - mantissa * y0**2 / 2**32) / 2**31``. ``mantissa``: [2**30, 2**32).
    Result: [2**15, 2**16], relative error below 2**-15 (tests/arithmetic).
    """
    guess = RECIPROCAL_SQUARE_ROOT[mantissa >> 24]
    return round_shift(guess * ((3 << 30) - ((mantissa * guess * guess) >> 32)), 31)
