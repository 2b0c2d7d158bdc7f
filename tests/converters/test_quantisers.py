"""The pure quantisers against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegpt_neuro.converters.builder import Builder, QuantisationSettings
from spikegpt_neuro.converters.quantisers import (
    accumulator_bound,
    choose_payload,
    mantissa_and_shift,
    paired_mantissas,
    quantise_rows,
)
from spikegpt_neuro.errors import InputError


@given(st.floats(min_value=2.0**-40, max_value=2.0**14) | st.floats(-(2.0**14), -(2.0**-40)))
def test_mantissa_holds_a_factor_to_one_part_in_two_to_the_fifteen(factor: float) -> None:
    multiplier, shift = mantissa_and_shift(np.array([factor]))
    held = Fraction(int(multiplier[0]), 1 << int(shift[0]))
    assert abs(held - Fraction(factor)) <= abs(Fraction(factor)) / (1 << 15)
    assert 1 << 14 <= abs(int(multiplier[0])) <= 1 << 15
    assert 0 <= shift[0] <= 62


def test_mantissa_of_powers_of_two_is_exact() -> None:
    factors = np.exp2(np.arange(-40, 14))
    multiplier, shift = mantissa_and_shift(factors)
    assert (multiplier * np.exp2(-shift.astype(float)) == factors).all()


def test_factor_that_cannot_be_held_is_an_error_and_a_vanishing_one_is_zero() -> None:
    with pytest.raises(InputError, match="at most 32768 can be held"):
        mantissa_and_shift(np.array([1.0, 1e6]))
    multiplier, shift = mantissa_and_shift(np.array([0.0, 1e-30]))
    assert multiplier.tolist() == [0, 0]
    assert shift.tolist() == [0, 0]


@given(st.floats(-2, 3), st.floats(1e-3, 10))
def test_paired_mantissas_share_a_shift(mix: float, unit: float) -> None:
    first, second, shift = paired_mantissas(np.array([mix * unit]), np.array([(1 - mix) * unit]))
    step = Fraction(1, 1 << int(shift[0]))
    assert abs(int(first[0]) * step - Fraction(mix * unit)) <= step / 2
    assert abs(int(second[0]) * step - Fraction((1 - mix) * unit)) <= step / 2


def test_rows_are_quantised_symmetrically_to_their_own_peak() -> None:
    weight = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    weight[3] = 0
    weight[4] *= 1e-6
    integers, scale = quantise_rows(weight.copy())
    assert integers.dtype == np.int8
    assert (np.abs(integers).max(axis=1) == np.where(np.arange(40) == 3, 0, 127)).all()
    # rounding to nearest costs half a step; float32 products add one part in 2**23 of 127 steps
    half_step = scale[:, None] * (0.5 + 127 * 2.0**-22)
    assert (np.abs(integers * scale[:, None] - weight) <= half_step).all()


@pytest.mark.parametrize("block", [1, 51, 700])
def test_results_do_not_depend_on_the_rows_handled_at_a_time(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = np.random.default_rng(2).normal(size=(40, 50)).astype(np.float32)
    integers, scale = quantise_rows(weight)
    bound = accumulator_bound(integers, 511)
    monkeypatch.setattr("spikegpt_neuro.converters.quantisers.BLOCK", block)
    again, scale_again = quantise_rows(weight)
    np.testing.assert_array_equal(again, integers)
    np.testing.assert_array_equal(scale_again, scale)
    assert accumulator_bound(integers, 511) == bound


def test_bound_is_reached_by_the_worst_operands() -> None:
    rng = np.random.default_rng(1)
    weight = rng.integers(-127, 128, (20, 50)).astype(np.int8)
    bound = accumulator_bound(weight, 511)
    worst = max(int(np.abs(weight[j].astype(int)).sum()) * 511 for j in range(20))
    assert bound == worst
    row = int(np.argmax(np.abs(weight.astype(int)).sum(axis=1)))
    assert int(weight[row].astype(int) @ (np.sign(weight[row].astype(int)) * 511)) == bound


@pytest.mark.parametrize(
    ("inputs", "signed_bits", "bits"),
    # 2**23 - 1 holds 127 * inputs times 4128, 516, 258, 129 and 21; 10 bits are the most taken
    [(16, 10, 10), (128, 10, 9), (256, 9, 8), (512, 8, None), (3072, None, None)],
)
@pytest.mark.parametrize("signed", [True, False])
def test_payload_takes_the_most_bits_that_are_proven_to_fit(
    inputs: int, signed_bits: int | None, bits: int | None, signed: bool
) -> None:
    weight = np.full((4, inputs), 127, np.int8)
    choice = choose_payload(weight, signed=signed, accumulator_bits=24, bits=None)
    wanted = signed_bits if signed else bits
    assert (choice.bits, choice.proven) == (wanted or 8, wanted is not None)
    largest = {7: 127, 8: 255, 9: 511, 10: 1023}[choice.bits - signed]
    assert choice.bound == 127 * inputs * largest


def test_payload_that_overflows_int32_is_refused() -> None:
    weight = np.full((1, 3072), 127, np.int8)
    with pytest.raises(InputError, match="beyond 32 bits"):
        choose_payload(weight, signed=True, accumulator_bits=24, bits=16)


def test_currents_keep_headroom_above_the_calibrated_range() -> None:
    """A text may drive a neuron twice as far as the calibration text did before it is clipped."""
    for largest, bits in ((1.0, 10), (63.9, 10), (64.1, 9), (128.5, 8)):
        build = Builder("a", QuantisationSettings(), {"a.lif": largest})
        assert build.current_bits("lif") == bits
        assert 2 * largest * 2**bits <= (1 << 17) - 1


def test_too_many_bits_are_refused_with_the_most_that_fit() -> None:
    # 127 * 2**16 * 511 > 2**31; 2**31 / (127 * 2**16) = 258.01: eight bits
    weight = np.full((2, 1 << 16), 127, np.int8)
    with pytest.raises(InputError, match=r"4253089792.*\n.*Use at most 8 bits"):
        choose_payload(weight, signed=True, accumulator_bits=24, bits=10)
    assert choose_payload(weight, signed=True, accumulator_bits=24, bits=8).bits == 8
