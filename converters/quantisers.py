"""Pure quantisers: real arrays in, integer arrays and scales out; no model objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError

FloatArray = npt.NDArray[np.floating]
Int32Array = npt.NDArray[np.int32]

MANTISSA_BITS = 15
"""A per-channel multiplier is a 15-bit mantissa with a shift: relative error at most 2**-15."""
LARGEST_SHIFT = 62
SMALLEST_PEAK = 1e-30
"""Largest magnitude of a row of weights below which it is a row of zeros: float32 has no
reciprocal of its steps."""
BLOCK = 1 << 18
"""Weights handled at a time: temporaries stay in the cache, and a vocabulary's matrix small."""


def mantissa_and_shift(
    factors: FloatArray, where: str = "a layer"
) -> tuple[Int32Array, Int32Array]:
    """``factor = multiplier / 2**shift`` per channel, ``|multiplier|`` in [2**14, 2**15].

    Factors too small for a shift of 62 become 0 with shift 0; a factor of 2**15 or more cannot be
    held and is an ``InputError`` that names ``where``. Shapes [n] in, int32 [n] out.
    """
    factors = np.asarray(factors, np.float64)
    mantissa, exponent = np.frexp(factors)  # factor = mantissa * 2**exponent, |mantissa| in [.5, 1)
    multiplier = np.rint(mantissa * (1 << MANTISSA_BITS)).astype(np.int64)
    shift = MANTISSA_BITS - exponent.astype(np.int64)
    tiny = (shift > LARGEST_SHIFT) | (multiplier == 0)
    multiplier[tiny] = 0
    shift[tiny] = 0
    if (shift < 0).any():
        raise InputError(
            f"{where}: a channel needs a factor of {np.abs(factors).max():.3g}; at most "
            f"{1 << MANTISSA_BITS} can be held.",
            advice="Its weights are far larger than those in front of it; look at the checkpoint's "
            "tensors of this layer.",
        )
    return multiplier.astype(np.int32), shift.astype(np.int32)


def paired_mantissas(
    first: FloatArray, second: FloatArray, where: str = "a layer"
) -> tuple[Int32Array, Int32Array, Int32Array]:
    """Two factors a channel with one common shift: (first, second, shift), int32 [n] each."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    _, shift = mantissa_and_shift(np.maximum(np.abs(first), np.abs(second)), where)
    power = np.exp2(shift.astype(np.float64))
    return (
        np.rint(first * power).astype(np.int32),
        np.rint(second * power).astype(np.int32),
        shift,
    )


def quantise_rows(weight: FloatArray) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
    """Symmetric int8 with one scale per output row: ``weight ~ integers * scale[:, None]``.

    Integers in [-127, 127]; a row of zeros (or of less than ``SMALLEST_PEAK``), whose scale means
    nothing, gets that of a peak of 1.
    Rounding to nearest, ties to even.
    """
    outputs, inputs = weight.shape
    integers = np.empty((outputs, inputs), np.int8)
    scale = np.empty(outputs, np.float64)
    rows = max(1, BLOCK // max(1, inputs))
    for begin in range(0, outputs, rows):
        block = weight[begin : begin + rows]
        peak = np.abs(block).max(axis=1)
        step = np.where(peak > SMALLEST_PEAK, peak, 1.0) / 127.0
        # float32 as the weights: a tie in float64 may round the other way, which is within the
        # half step that rounding costs anyway
        rounded = block * (1.0 / step)[:, None].astype(block.dtype)
        np.rint(rounded, out=rounded)
        np.clip(rounded, -127, 127, out=rounded)
        integers[begin : begin + rows] = rounded
        scale[begin : begin + rows] = step
    return integers, scale


def accumulator_bound(weight: npt.NDArray[np.int8], largest_operand: int) -> int:
    """Largest |accumulator| any operands can cause: ``max_row sum |w| * largest_operand``."""
    rows = max(1, BLOCK // max(1, weight.shape[1]))
    largest = 0
    for begin in range(0, weight.shape[0], rows):
        block = weight[begin : begin + rows]
        largest = max(
            largest, int(np.abs(block).astype(np.uint8).sum(axis=1, dtype=np.int64).max())
        )
    return largest * largest_operand


@dataclass(frozen=True)
class PayloadChoice:
    """Why a projection's operands have the bits they have."""

    bits: int
    bound: int
    proven: bool


def choose_payload(
    weight: npt.NDArray[np.int8], *, signed: bool, accumulator_bits: int, bits: int | None
) -> PayloadChoice:
    """Payload bits of a dense layer's operands.

    Without a wish (``bits`` None): the most bits from 8 to 10 whose accumulators provably fit
    ``accumulator_bits``; 8 where even those cannot be proven (overflows are then counted on the
    calibration text). The bound must stay below 2**31 in any case.
    """
    row_sum = accumulator_bound(weight, 1)
    limit = (1 << (accumulator_bits - 1)) - 1

    def largest(payload_bits: int) -> int:
        return (1 << (payload_bits - 1)) - 1 if signed else (1 << payload_bits) - 1

    if bits is None:
        fitting = [b for b in (10, 9, 8) if row_sum * largest(b) <= limit]
        bits = fitting[0] if fitting else 8
    bound = row_sum * largest(bits)
    if bound >= 1 << 31:
        raise InputError(
            f"{bits}-bit operands could drive an accumulator to {bound}, beyond 32 bits.",
            advice=f"Use at most {int(math.log2((1 << 31) / max(1, row_sum)))} bits.",
        )
    return PayloadChoice(bits, bound, bound <= limit)
