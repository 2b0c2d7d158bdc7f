"""Scalar operations against fractions and Python integers, over whole ranges and at edges."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from spikegpt_neuro.arithmetic import fixed_point, tables

INT64_SAFE = (1 << 62) - 1


@given(
    value=st.integers(-INT64_SAFE, INT64_SAFE),
    shift=st.integers(0, 62),
)
@example(value=-INT64_SAFE, shift=62)
@example(value=INT64_SAFE, shift=62)
@example(value=-1, shift=1)
@example(value=1, shift=1)
@example(value=-3, shift=1)
def test_round_shift_is_floor_of_the_quotient_plus_a_half(value: int, shift: int) -> None:
    exact = math.floor(Fraction(value, 1 << shift) + Fraction(1, 2)) if shift else value
    assert fixed_point.round_shift(value, shift) == exact


@given(value=st.integers(-(1 << 31), 1 << 31), shift=st.integers(-31, 62))
def test_scale_by_power_rounds_down_shifts_and_multiplies_up_shifts(value: int, shift: int) -> None:
    if shift >= 0:
        exact = math.floor(Fraction(value, 1 << shift) + Fraction(1, 2)) if shift else value
    else:
        exact = value * 2**-shift
    assert fixed_point.scale_by_power(value, shift) == exact


@given(
    value=st.integers(-INT64_SAFE, INT64_SAFE),
    bounds=st.tuples(st.integers(-100, 100), st.integers(-100, 100)).map(sorted),
)
def test_clip(value: int, bounds: list[int]) -> None:
    low, high = bounds
    assert fixed_point.clip(value, low, high) == min(max(value, low), high)


def test_bit_length_at_every_power_of_two() -> None:
    values = {0, 1}
    for power in range(1, 63):
        values |= {(1 << power) - 1, 1 << power, (1 << power) + 1}
    for value in sorted(values):
        assert fixed_point.bit_length(value) == value.bit_length(), value


@given(st.integers(0, (1 << 63) - 1))
def test_bit_length(value: int) -> None:
    assert fixed_point.bit_length(value) == value.bit_length()


def test_sigmoid_table_is_the_rounded_sigmoid() -> None:
    cells = np.arange(257)
    exact = 32768.0 / (1.0 + np.exp(-(cells - 128) / 16.0))
    # float64's error is below 1e-10 here and no entry lies that close to a half
    np.testing.assert_array_equal(tables.SIGMOID, np.floor(exact + 0.5).astype(np.int32))


def test_exp2_table_is_the_rounded_power() -> None:
    exact = 32768.0 * np.exp2(-np.arange(257) / 256.0)
    np.testing.assert_array_equal(tables.EXP2, np.floor(exact + 0.5).astype(np.int32))


def test_sigmoid_over_all_arguments() -> None:
    arguments = np.arange(-(1 << 13), 1 << 13)
    got = np.array([fixed_point.sigmoid(int(z)) for z in arguments])
    exact = 32768.0 / (1.0 + np.exp(-arguments / 1024.0))
    assert np.abs(got - exact).max() < 3.0  # the docstring's bound, in units of 2**-15
    assert (np.diff(got) >= 0).all()
    assert got[0] == 11
    assert got[-1] == 32757
    # independent evaluation of the same table: linear interpolation, rounded half up
    position = arguments + (1 << 13)
    low, high = tables.SIGMOID[position >> 6], tables.SIGMOID[(position >> 6) + 1]
    interpolated = low * Fraction(1) + (high - low) * np.array(
        [Fraction(int(p) & 63, 64) for p in position]
    )
    assert [math.floor(v + Fraction(1, 2)) for v in interpolated] == got.tolist()


def test_sigmoid_saturates_outside_its_range() -> None:
    for argument in (1 << 13, (1 << 13) + 1, 1 << 40, INT64_SAFE):
        assert fixed_point.sigmoid(argument) == fixed_point.sigmoid((1 << 13) - 1)
        assert fixed_point.sigmoid(-argument) == fixed_point.sigmoid(-(1 << 13))


def test_exp2_over_every_fraction_and_power() -> None:
    exponents = -np.arange(18 << 16)
    got = np.array([fixed_point.exp2(int(e)) for e in exponents])
    exact = 32768.0 * np.exp2(exponents / 65536.0)
    assert np.abs(got - exact).max() < 1.5  # the docstring's bound
    assert (np.diff(got) <= 0).all()
    assert got[0] == 32768


def test_exp2_vanishes_far_below_one() -> None:
    for exponent in (-(17 << 16), -(1 << 23), -(1 << 24) + 2, -(1 << 40)):
        assert fixed_point.exp2(exponent) == 0
    assert fixed_point.exp2(-(15 << 16)) == 1


def test_reciprocal_over_all_mantissas() -> None:
    mantissas = np.arange(1 << 15, 1 << 16)
    got = np.array([fixed_point.reciprocal(int(m)) for m in mantissas])
    exact = 2.0**31 / mantissas
    assert np.abs(got / exact - 1).max() < 2.0**-15
    assert got.min() >= 1 << 15
    assert got.max() <= 1 << 16
    guess = {
        i: math.floor(Fraction(1 << 31, (2 * i + 1) << 7) + Fraction(1, 2)) for i in range(128, 256)
    }
    for mantissa in mantissas.tolist():
        y0 = guess[mantissa >> 8]
        newton = math.floor(Fraction(y0 * ((1 << 32) - mantissa * y0), 1 << 31) + Fraction(1, 2))
        assert got[mantissa - (1 << 15)] == newton


def _newton_root(mantissa: int) -> int:
    centre = (2 * (mantissa >> 24) + 1) << 23
    y0 = math.floor((1 << 31) / math.sqrt(centre) + 0.5)  # no entry is within 1e-9 of a half
    step = (3 << 30) - (mantissa * y0 * y0) // (1 << 32)
    return math.floor(Fraction(y0 * step, 1 << 31) + Fraction(1, 2))


@given(st.integers(1 << 30, (1 << 32) - 1))
@example(1 << 30)
@example((1 << 32) - 1)
@example((1 << 31) - 1)
@example(1 << 31)
def test_reciprocal_square_root(mantissa: int) -> None:
    got = fixed_point.reciprocal_square_root(mantissa)
    assert got == _newton_root(mantissa)
    assert abs(got / (2.0**31 / math.sqrt(mantissa)) - 1) < 2.0**-15


def test_reciprocal_square_root_at_both_ends_of_every_table_cell() -> None:
    for cell in range(64, 256):
        for mantissa in (cell << 24, (cell << 24) + (1 << 23), ((cell + 1) << 24) - 1):
            got = fixed_point.reciprocal_square_root(mantissa)
            assert got == _newton_root(mantissa)
            assert (1 << 15) <= got <= (1 << 16)
            assert abs(got / (2.0**31 / math.sqrt(mantissa)) - 1) < 2.0**-15, cell
