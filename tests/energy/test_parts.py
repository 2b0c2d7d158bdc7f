"""Totals are exactly the sums of their parts, whatever the order of addition."""

from __future__ import annotations

import math
import random
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from spikegpt_neuro.energy.parts import on_common_grid, price
from spikegpt_neuro.hardware_profiles import Figure

FRACTIONS = st.fractions(min_value=0, max_value=10**6, max_denominator=10**9)


@given(st.lists(FRACTIONS, max_size=60), st.randoms(use_true_random=False))
def test_sums_on_the_grid_are_exact_in_every_order(
    values: list[Fraction], order: random.Random
) -> None:
    floats = on_common_grid(values, sum(values, Fraction(0)))
    exact = sum((Fraction(f) for f in floats), Fraction(0))
    shuffled = list(floats)
    order.shuffle(shuffled)
    assert Fraction(sum(floats)) == Fraction(sum(shuffled)) == Fraction(math.fsum(floats)) == exact


@given(st.lists(FRACTIONS, min_size=1, max_size=60))
def test_a_value_moves_by_at_most_one_part_in_2_to_the_50_of_the_sum(
    values: list[Fraction],
) -> None:
    total = sum(values, Fraction(0))
    for value, rounded in zip(values, on_common_grid(values, total), strict=True):
        assert abs(Fraction(rounded) - value) <= total * Fraction(1, 2**50)


def test_nothing_sums_to_zero() -> None:
    assert on_common_grid([], Fraction(0)) == []
    assert on_common_grid([Fraction(0), Fraction(0)], Fraction(0)) == [0.0, 0.0]


def test_a_price_carries_the_ranges_of_the_count_and_of_the_coefficient() -> None:
    figure = Figure(
        "synaptic_operation", Fraction(3), Fraction(2), Fraction(5), "pJ", "measured", "me"
    )
    part = price("a", "synaptic", "operations", figure, 4, 40, low=20, high=60)
    assert part.count == 10
    assert part.low == Fraction(2 * 20, 4 * 10**12)
    assert part.value == Fraction(3 * 40, 4 * 10**12)
    assert part.high == Fraction(5 * 60, 4 * 10**12)
