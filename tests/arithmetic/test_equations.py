"""What an equation costs, counted by hand, and what its shared expressions compute."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from spikegpt_neuro.arithmetic import tables
from spikegpt_neuro.arithmetic.equations import FUNCTIONS, OPERATIONS, TABLES, operations

NOTHING = dict.fromkeys(OPERATIONS, 0)


@pytest.mark.parametrize(
    ("equation", "counted"),
    [
        ("s = a", {}),
        ("s = a + b - c", {"add": 2}),
        ("s = -a & 63", {"add": 2}),
        ("s = (a * b << 2) >> c", {"multiply": 1, "shift": 2}),
        ("s = 1 if a > b else a + 1", {"compare": 1, "add": 1}),  # both arms
        ("s = min(a, max(b, abs(c)))", {"compare": 3}),
        ("s = EXP2[a >> 8] + EXP2[3]", {"table": 1, "shift": 1, "add": 1}),
        # k and l are known beforehand, and what is made of nothing else
        ("s = a + (k << l)", {"add": 1}),
        ("m = k * l\ns = a * m", {"multiply": 1}),
        ("m = k * a\nm = k\ns = m + l", {"multiply": 1}),
        ("k = a\ns = k + 1", {"add": 1}),  # no more known, once it is assigned otherwise
        ("s = max(k, l) if k > 3 else clip(k, 0, l)", {}),
        ("s = k if a > 0 else l", {"compare": 1}),
        # two comparisons; an addition of half, which is known where the shift is, and two shifts
        ("s = clip(a, 0, l)", {"compare": 2}),
        ("s = round_shift(a, k)", {"add": 1, "shift": 1}),
        ("s = round_shift(a, b)", {"add": 1, "shift": 3}),
        ("s = leak(a, k)", {"multiply": 1, "add": 1, "compare": 1, "shift": 1}),
        # (2**32 - m g) g: two products, a difference, half added; two shifts, one look-up
        ("s = reciprocal(a)", {"multiply": 2, "add": 2, "shift": 2, "table": 1}),
        # five comparisons and shifts by their outcomes; six sums
        ("s = bit_length(a)", {"compare": 6, "shift": 6, "add": 6}),
    ],
)
def test_operations_are_counted_as_by_hand(equation: str, counted: Mapping[str, int]) -> None:
    assert operations(equation, frozenset({"k", "l"})) == {**NOTHING, **counted}


def test_levels_are_compared_one_by_one() -> None:
    for levels in (1, 3):
        found = operations("s = levels_above(a, k, levels)", frozenset({"k"}), levels)
        assert found == {**NOTHING, "compare": levels, "add": levels}


@pytest.mark.parametrize(
    "equation",
    [
        "s = a / b", "s = a ** 2", "s = a if a > b > 0 else 0", "s = not a", "s = ~a",
        "s = other(a)", "s = TABLE[a]", "s = a.b", "s += a", "s.t = a", "print(a)", "s = [a]",
        "s = (lambda: a)()", "s = EXP2[a][0]",
    ],
)  # fmt: skip
def test_what_no_neuron_does_is_refused(equation: str) -> None:
    with pytest.raises(ValueError, match=r"not an assignment|no operation of a neuron"):
        operations(equation, frozenset())


def _computed(name: str, *arguments: int) -> int:
    """A shared expression's result, by Python's own integers."""
    names, text = FUNCTIONS[name]
    known: dict[str, object] = {one: [int(x) for x in getattr(tables, one)] for one in TABLES}
    for other in ("round_shift", "clip"):
        known[other] = lambda *given, other=other: _computed(other, *given)
    known |= dict(zip(names, arguments, strict=True))
    exec(text, known)
    return int(known["result"])  # type: ignore[call-overload]


def test_shared_expressions_are_what_their_names_say() -> None:
    for value in (-70, -3, -1, 0, 1, 5, 1000):
        for shift in (0, 1, 4):
            rounded = math.floor(value / 2**shift + 0.5)
            assert _computed("round_shift", value, shift) == rounded
            assert _computed("scale_by_power", value, shift) == rounded
            assert _computed("scale_by_power", value, -shift) == value * 2**shift
        assert _computed("clip", value, -2, 30) == sorted((-2, value, 30))[1]
        for keep in (0, 1, 2048, 4095):
            assert _computed("leak", value, keep) == math.trunc(value * keep / 4096)
    for value in [0, *(2**n + d for n in range(0, 40) for d in (-1, 0, 1))]:
        assert _computed("bit_length", value) == value.bit_length()
    for argument in (-9000, -8192, -1000, -1, 0, 1, 777, 8191, 9000):
        exact = 2**15 / (1 + math.exp(-max(-8192, min(8191, argument)) / 1024))
        assert abs(_computed("sigmoid", argument) - exact) < 3
    for exponent in (0, -1, -255, -32768, -65536, -100_000, -17 << 16, -200 << 16):
        assert abs(_computed("exp2", exponent) - 2 ** (15 + exponent / 65536)) <= 1.5
    for mantissa in (2**15, 40_000, 50_001, 2**16 - 1):
        assert _computed("reciprocal", mantissa) == pytest.approx(2**31 / mantissa, rel=2**-15)
    for mantissa in (2**30, 2**31, 3_000_000_001, 2**32 - 1):
        exact = 2**31 / math.sqrt(mantissa)
        assert _computed("reciprocal_square_root", mantissa) == pytest.approx(exact, rel=2**-15)
