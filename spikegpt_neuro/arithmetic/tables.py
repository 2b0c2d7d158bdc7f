"""Look-up tables of the integer operations, computed with decimal arithmetic.

Decimal, not float: the entries are then the same on every machine, whatever its libm.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]

SIGMOID_INPUT_BITS = 10
"""Fraction bits of the sigmoid's argument."""
SIGMOID_CELL_BITS = 6
"""A table cell spans 2**6 arguments (1/16), interpolated linearly."""
SIGMOID_LIMIT = 8 << SIGMOID_INPUT_BITS
"""The argument saturates at +-8 (sigmoid(8) = 0.99966)."""
GATE_BITS = 15
"""Fraction bits of a sigmoid's result."""

EXPONENT_BITS = 16
"""Fraction bits of a base-2 exponent."""
EXP2_CELL_BITS = 8
"""A table cell of exp2 spans 2**8 fractions (1/256), interpolated linearly."""
EXP2_ONE = 1 << 15
"""The value of exp2(0)."""


def _round(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_HALF_UP))


def _sigmoid() -> Int32Array:
    cells = 2 * SIGMOID_LIMIT >> SIGMOID_CELL_BITS
    step = Decimal(1 << SIGMOID_CELL_BITS) / (1 << SIGMOID_INPUT_BITS)
    with localcontext() as context:
        context.prec = 40
        return np.array(
            [
                _round((1 << GATE_BITS) / (1 + (-(i - cells // 2) * step).exp()))
                for i in range(cells + 1)
            ],
            dtype=np.int32,
        )


def _exp2() -> Int32Array:
    cells = 1 << (EXPONENT_BITS - EXP2_CELL_BITS)
    with localcontext() as context:
        context.prec = 40
        return np.array(
            [_round(EXP2_ONE * (-Decimal(2).ln() * i / cells).exp()) for i in range(cells + 1)],
            dtype=np.int32,
        )


def _reciprocal() -> Int32Array:
    # entry i: 2**31 / ((2 i + 1) * 2**7), the middle of the cell m >> 8 == i, 2**15 <= m < 2**16
    return np.array(
        [_round(Decimal(1 << 31) / ((2 * i + 1) << 7)) if i >= 128 else 0 for i in range(256)],
        dtype=np.int32,
    )


def _reciprocal_square_root() -> Int32Array:
    # entry i: 2**31 / sqrt((2 i + 1) * 2**23), the middle of the cell m >> 24 == i
    with localcontext() as context:
        context.prec = 40
        return np.array(
            [
                _round(Decimal(1 << 31) / Decimal((2 * i + 1) << 23).sqrt()) if i >= 64 else 0
                for i in range(256)
            ],
            dtype=np.int32,
        )


SIGMOID = _sigmoid()
"""sigmoid((i - 128) / 16) * 2**15, i in 0..256."""
EXP2 = _exp2()
"""2**(-i / 256) * 2**15, i in 0..256."""
RECIPROCAL = _reciprocal()
"""First guess of 2**31 / m for a 16-bit mantissa m, indexed by m >> 8 (128..255)."""
RECIPROCAL_SQUARE_ROOT = _reciprocal_square_root()
"""First guess of 2**31 / sqrt(m) for m in [2**30, 2**32), indexed by m >> 24 (64..255)."""
