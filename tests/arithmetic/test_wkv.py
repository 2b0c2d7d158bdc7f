"""The SRWKV recurrence against Python integers written from its docstring, and against float64."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.arithmetic.formats import EMPTY_EXPONENT
from spikegpt_neuro.arithmetic.wkv import wkv

ONE = 1 << 16
"""A power of two in exponent units."""
LIMIT = 2**23 - 1


def _shifted(value: int, shift: int) -> int:
    return math.floor(Fraction(value, 1 << shift) + Fraction(1, 2)) if shift else value


def _clipped(value: int, limit: int) -> int:
    return max(-limit, min(limit, value))


_EXP2 = [math.floor(2.0**15 * 2.0 ** (-i / 256) + 0.5) for i in range(257)]
_RECIPROCAL = [math.floor(2**31 / ((2 * i + 1) << 7) + 0.5) if i >= 128 else 0 for i in range(256)]


def _exp2(exponent: int) -> int:
    whole, fraction = divmod(-exponent, ONE)
    cell, part = divmod(fraction, 256)
    return _shifted(_EXP2[cell] + _shifted((_EXP2[cell + 1] - _EXP2[cell]) * part, 8), whole)


def _reciprocal(mantissa: int) -> int:
    guess = _RECIPROCAL[mantissa >> 8]
    return _shifted(guess * (2**32 - mantissa * guess), 31)


@dataclass
class Channel:
    """One channel in Python integers."""

    decay: int
    first: int
    numerator: int = 0
    denominator: int = 0
    exponent: int = EMPTY_EXPONENT
    saturations: int = 0

    def step(self, k: int, v: int) -> int:
        self.saturations += (abs(k) > LIMIT) + (abs(v) > 2047)
        k, v = _clipped(k, LIMIT), _clipped(v, 2047)
        boosted = _clipped(k + self.first, LIMIT)
        top = max(self.exponent, boosted)
        past, present = _exp2(self.exponent - top), _exp2(boosted - top)
        total = past * self.numerator + present * v * ONE
        weight = past * self.denominator + present * ONE
        scale = weight.bit_length() - 16
        result = _shifted((total >> scale) * _reciprocal(weight >> scale), 27)

        decayed = max(self.exponent + self.decay, EMPTY_EXPONENT)
        top = max(decayed, k)
        past, present = _exp2(decayed - top), _exp2(k - top)
        self.numerator = _shifted(past * self.numerator + present * v * ONE, 15)
        self.denominator = _shifted(past * self.denominator + present * ONE, 15)
        self.exponent = top
        if self.denominator >= 2**20:
            self.numerator = _shifted(self.numerator, 1)
            self.denominator = _shifted(self.denominator, 1)
            self.exponent = min(top + ONE, LIMIT)
        return result


@dataclass
class Recurrence:
    """The compiled operation with its state."""

    decay: np.ndarray
    first: np.ndarray
    counts: np.ndarray = field(default_factory=lambda: np.zeros(2, np.int64))

    def __post_init__(self) -> None:
        n = self.decay.size
        self.numerator = np.zeros(n, np.int32)
        self.denominator = np.zeros(n, np.int32)
        self.exponent = np.full(n, EMPTY_EXPONENT, np.int32)
        self._one = np.full(n, 1, np.int32)
        self._zero = np.zeros(n, np.int32)

    def step(self, key: np.ndarray, value: np.ndarray) -> np.ndarray:
        result = np.zeros(self.decay.size, np.int32)
        wkv(
            key.astype(np.int32), value.astype(np.int32), self._one, self._zero, self._one,
            self._zero, self.decay.astype(np.int32), self.first.astype(np.int32), self.numerator,
            self.denominator, self.exponent, result, self.counts,
        )  # fmt: skip
        return result


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([1, 100, ONE // 4, 3 * ONE, 40 * ONE, 200 * ONE]),
    decay=st.sampled_from([0, -1, -50, -ONE // 8, -ONE, -20 * ONE, -LIMIT]),
    first=st.sampled_from([0, 1, ONE, -ONE, 30 * ONE, -LIMIT, LIMIT]),
    largest=st.sampled_from([0, 1, 500, 2047, 4000]),
)
def test_every_step_equals_the_python_integers(
    seed: int, spread: int, decay: int, first: int, largest: int
) -> None:
    rng = np.random.default_rng(seed)
    n, steps = 4, 60
    recurrence = Recurrence(np.full(n, decay), np.full(n, first))
    channels = [Channel(decay, first) for _ in range(n)]
    active = 0
    for _ in range(steps):
        key = rng.integers(-spread, spread + 1, n)
        value = rng.integers(-largest, largest + 1, n)
        active += int((value != 0).sum())
        expected = [c.step(int(k), int(v)) for c, k, v in zip(channels, key, value, strict=True)]
        assert recurrence.step(key, value).tolist() == expected
        assert recurrence.numerator.tolist() == [c.numerator for c in channels]
        assert recurrence.denominator.tolist() == [c.denominator for c in channels]
        assert recurrence.exponent.tolist() == [c.exponent for c in channels]
        assert (np.abs(recurrence.exponent) <= LIMIT).all()
    assert recurrence.counts.tolist() == [active, sum(c.saturations for c in channels)]


def test_rescaling_of_both_accumulators() -> None:
    n = 1
    result, counts = np.zeros(n, np.int32), np.zeros(2, np.int64)
    state = [np.zeros(n, np.int32), np.zeros(n, np.int32), np.full(n, EMPTY_EXPONENT, np.int32)]
    wkv(
        np.array([-12345], np.int32), np.array([777], np.int32), np.array([21000], np.int32),
        np.array([9], np.int32), np.array([-30000], np.int32), np.array([14], np.int32),
        np.array([-5], np.int32), np.array([0], np.int32), *state, result, counts,
    )  # fmt: skip
    channel = Channel(-5, 0)
    expected = channel.step(_shifted(-12345 * 21000, 9), _shifted(777 * -30000, 14))
    assert result.tolist() == [expected]
    assert [int(part[0]) for part in state] == [
        channel.numerator, channel.denominator, channel.exponent,
    ]  # fmt: skip


def test_the_first_token_returns_its_own_value_whatever_its_key() -> None:
    keys = np.array([-LIMIT, -(1 << 20), 0, 1 << 20, LIMIT, -(2**31), 2**31 - 1])
    for value in (-2047, -1, 0, 1, 2047):
        for first in (-LIMIT, 0, LIMIT):
            recurrence = Recurrence(np.full(keys.size, -7), np.full(keys.size, first))
            result = recurrence.step(keys, np.full(keys.size, value))
            # an empty state weighs nothing, so only the reciprocal's 2**-15 remains
            assert (np.abs(result - 16 * value) <= 1 + abs(16 * value) * 2.0**-14).all()


def _float_recurrence(
    keys: np.ndarray, values: np.ndarray, decay: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """RWKV-4's weighted average in float64; exponents in powers of two."""
    n = decay.size
    a, b, p = np.zeros(n), np.zeros(n), np.full(n, -1e38)
    results = []
    for k, v in zip(keys, values, strict=True):
        q = np.maximum(p, k + first)
        e1, e2 = np.exp2(p - q), np.exp2(k + first - q)
        results.append((e1 * a + e2 * v) / (e1 * b + e2))
        q = np.maximum(p + decay, k)
        e1, e2 = np.exp2(p + decay - q), np.exp2(k - q)
        a, b, p = e1 * a + e2 * v, e1 * b + e2, q
    return np.array(results)


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_against_float64_over_slow_and_fast_decays(spread: float) -> None:
    """The docstring's bound: half a unit of the 12-bit value, of which 1/32 is the rounding."""
    rng = np.random.default_rng(5)
    steps = 3000
    decay = -np.array([0.0, 0.0001, 0.001, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 60.0])
    first = rng.normal(0, 1, decay.size)
    keys = np.rint(rng.normal(0, spread, (steps, decay.size)) * ONE)
    values = np.rint(rng.normal(0, 500, (steps, decay.size)).clip(-2047, 2047))
    recurrence = Recurrence(np.rint(decay * ONE), np.rint(first * ONE))
    got = np.array([recurrence.step(k, v) for k, v in zip(keys, values, strict=True)]) / 16
    exact = _float_recurrence(
        keys / ONE, values, np.rint(decay * ONE) / ONE, np.rint(first * ONE) / ONE
    )
    error = np.abs(got - exact)
    assert error.max() < 0.5


@pytest.mark.parametrize("decay", [0, -1, -66, -ONE // 10])
@pytest.mark.parametrize("value", [2047, -2047, 1, -3])
def test_a_hundred_thousand_equal_tokens_stay_at_their_value(decay: int, value: int) -> None:
    recurrence = Recurrence(np.array([decay]), np.array([0]))
    key, values = np.array([ONE]), np.array([value])
    for step in range(100_000):
        result = recurrence.step(key, values)
        if step % 9973 == 0:
            assert abs(int(result[0]) - 16 * value) <= 1 + abs(16 * value) * 2.0**-13
    assert abs(int(result[0]) - 16 * value) <= 1 + abs(16 * value) * 2.0**-13
    assert 2**16 <= recurrence.denominator[0] < 2**20


def test_a_hundred_thousand_tokens_of_changing_values_follow_float64() -> None:
    rng = np.random.default_rng(11)
    steps = 100_000
    decay = np.array([-66.0, -655.0, -6554.0])  # memories of about 1,400, 140 and 14 tokens
    keys = np.rint(rng.normal(0, 1, (steps, 3)) * ONE)
    values = np.rint(
        (300 * np.sin(np.arange(steps) / 5000))[:, None] + rng.normal(0, 200, (steps, 3))
    )
    recurrence = Recurrence(decay, np.zeros(3))
    got = np.array([recurrence.step(k, v) for k, v in zip(keys, values, strict=True)]) / 16
    exact = _float_recurrence(keys / ONE, values, decay / ONE, np.zeros(3))
    error = np.abs(got - exact)
    assert error[:1000].max() < 0.5
    assert error[-1000:].max() < 0.5  # no drift: as good after 100,000 tokens as at the start


def test_one_overwhelming_key_wins_and_is_forgotten() -> None:
    recurrence = Recurrence(np.array([-2 * ONE]), np.array([0]))
    recurrence.step(np.array([LIMIT]), np.array([1000]))
    results = [int(recurrence.step(np.array([0]), np.array([-500]))[0]) for _ in range(120)]
    assert abs(results[0] - 16_000) <= 2
    assert abs(results[-1] + 8_000) <= 2


def test_keys_below_the_floor_of_the_exponent_are_still_averaged() -> None:
    recurrence = Recurrence(np.array([-ONE]), np.array([0]))
    for _ in range(50):
        result = recurrence.step(np.array([-(2**31)]), np.array([321]))
    assert abs(int(result[0]) - 16 * 321) <= 1
    assert recurrence.exponent[0] <= -LIMIT + 4 * ONE
