"""Element-wise operations against Python integers, and layer norm also against float64."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.arithmetic import elementwise
from spikegpt_neuro.arithmetic.tables import SIGMOID

STREAM = 2**23 - 1

int32s = st.integers(-(2**31), 2**31 - 1)
stream = st.integers(-STREAM, STREAM)
multipliers = st.integers(-(2**15), 2**15)
shifts = st.integers(0, 62)


def _shifted(value: int, shift: int) -> int:
    """floor(value / 2**shift + 1/2), exactly."""
    return math.floor(Fraction(value, 1 << shift) + Fraction(1, 2)) if shift else value


def _clipped(value: int, low: int, high: int) -> int:
    return sorted((low, value, high))[1]


def _vector(values: object) -> np.ndarray:
    return np.array(values, np.int32)


def _counts() -> np.ndarray:
    return np.zeros(2, np.int64)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 192])
def test_binary_embedding_reads_bits_most_significant_first(n: int) -> None:
    rng = np.random.default_rng(n)
    bits = rng.integers(0, 2, (5, n)).astype(np.uint8)
    table = np.packbits(bits, axis=1)
    for token in range(5):
        spikes = np.full(n, 9, np.int32)
        elementwise.binary_embedding(table, token, spikes)
        np.testing.assert_array_equal(spikes, bits[token])


def test_real_embedding_copies_a_row() -> None:
    table = np.array([[1, -2, 3], [32767, -32768, 0]], np.int16)
    values = np.zeros(3, np.int32)
    elementwise.real_embedding(table, 1, values)
    assert values.tolist() == [32767, -32768, 0]


def test_delay_gives_the_previous_vector_and_zero_at_first() -> None:
    state = np.zeros(3, np.int32)
    seen = []
    for step in range(4):
        result = np.full(3, 77, np.int32)
        elementwise.delay(_vector([step, -step, 100 + step]), state, result)
        seen.append(result.tolist())
    assert seen == [[0, 0, 0], [0, 0, 100], [1, -1, 101], [2, -2, 102]]


channels = st.integers(1, 6)


@settings(deadline=None)
@given(data=st.data(), n=channels, bits=st.integers(1, 24), signed=st.booleans())
def test_token_shift(data: st.DataObject, n: int, bits: int, signed: bool) -> None:
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    low = -high if signed else 0
    current, previous, first, second, shift = (
        data.draw(st.lists(kind, min_size=n, max_size=n))
        for kind in (stream, stream, multipliers, multipliers, shifts)
    )
    result, counts = np.zeros(n, np.int32), _counts()
    elementwise.token_shift(
        _vector(current), _vector(previous), _vector(first), _vector(second), _vector(shift), low,
        high, result, counts,
    )  # fmt: skip
    mixed = [c * m + p * q for c, p, m, q in zip(current, previous, first, second, strict=True)]
    wide = [_shifted(v, s) for v, s in zip(mixed, shift, strict=True)]
    expected = [_clipped(w, low, high) for w in wide]
    assert result.tolist() == expected
    assert counts.tolist() == [
        sum(v != 0 for v in mixed), sum(w != e for w, e in zip(wide, expected, strict=True)),
    ]  # fmt: skip


@settings(deadline=None)
@given(data=st.data(), n=channels, bits=st.integers(2, 32))
def test_requantise(data: st.DataObject, n: int, bits: int) -> None:
    high = 2 ** (bits - 1) - 1
    x, multiplier, shift = (
        data.draw(st.lists(kind, min_size=n, max_size=n)) for kind in (int32s, multipliers, shifts)
    )
    result, counts = np.zeros(n, np.int32), _counts()
    elementwise.requantise(
        _vector(x), _vector(multiplier), _vector(shift), -high, high, result, counts
    )
    wide = [_shifted(v * m, s) for v, m, s in zip(x, multiplier, shift, strict=True)]
    expected = [_clipped(w, -high, high) for w in wide]
    assert result.tolist() == expected
    assert counts.tolist() == [
        sum(v != 0 for v in x), sum(w != e for w, e in zip(wide, expected, strict=True)),
    ]  # fmt: skip


@settings(deadline=None)
@given(data=st.data(), n=channels)
def test_sigmoid_gate(data: st.DataObject, n: int) -> None:
    x, multiplier, shift = (
        data.draw(st.lists(kind, min_size=n, max_size=n)) for kind in (int32s, multipliers, shifts)
    )
    result, counts = np.zeros(n, np.int32), _counts()
    elementwise.sigmoid_gate(_vector(x), _vector(multiplier), _vector(shift), result, counts)
    for value, m, s, got in zip(x, multiplier, shift, result.tolist(), strict=True):
        z = _clipped(_shifted(value * m, s), -8192, 8191) + 8192
        low, high = int(SIGMOID[z // 64]), int(SIGMOID[z // 64 + 1])
        assert got == low + _shifted((high - low) * (z % 64), 6)
    assert counts.tolist() == [sum(v != 0 for v in x), 0]


@settings(deadline=None)
@given(data=st.data(), n=channels, bits=st.integers(1, 16), square_shift=st.integers(0, 40))
def test_squared_relu(data: st.DataObject, n: int, bits: int, square_shift: int) -> None:
    x, multiplier, shift = (
        data.draw(st.lists(kind, min_size=n, max_size=n)) for kind in (int32s, multipliers, shifts)
    )
    high = 2**bits - 1
    result, counts = np.zeros(n, np.int32), _counts()
    elementwise.squared_relu(
        _vector(x), _vector(multiplier), _vector(shift), square_shift, high, result, counts
    )
    expected, saturated = [], 0
    for value, m, s in zip(x, multiplier, shift, strict=True):
        h = _clipped(_shifted(value * m, s), 0, 2**20 - 1)
        squared = _shifted(h * h, square_shift)
        expected.append(min(squared, high))
        saturated += squared > high
    assert result.tolist() == expected
    assert counts.tolist() == [sum(v != 0 for v in x), saturated]


@settings(deadline=None)
@given(data=st.data(), n=channels, bits=st.integers(2, 24))
def test_product(data: st.DataObject, n: int, bits: int) -> None:
    high = 2 ** (bits - 1) - 1
    gate, value, multiplier, shift = (
        data.draw(st.lists(kind, min_size=n, max_size=n))
        for kind in (st.integers(0, 2**15 - 1), int32s, multipliers, shifts)
    )
    result, counts = np.zeros(n, np.int32), _counts()
    elementwise.product(
        _vector(gate), _vector(value), _vector(multiplier), _vector(shift), -high, high, result,
        counts,
    )  # fmt: skip
    wide = [
        _shifted(g * v * m, s) for g, v, m, s in zip(gate, value, multiplier, shift, strict=True)
    ]
    expected = [_clipped(w, -high, high) for w in wide]
    assert result.tolist() == expected
    assert counts.tolist() == [
        sum(v != 0 for v in value), sum(w != e for w, e in zip(wide, expected, strict=True)),
    ]  # fmt: skip


@settings(deadline=None)
@given(data=st.data(), n=channels)
def test_residual(data: st.DataObject, n: int) -> None:
    values, branch, multiplier, shift = (
        data.draw(st.lists(kind, min_size=n, max_size=n))
        for kind in (stream, int32s, multipliers, shifts)
    )
    result, counts = np.zeros(n, np.int32), _counts()
    elementwise.residual(
        _vector(values), _vector(branch), _vector(multiplier), _vector(shift), result, counts
    )
    wide = [
        v + _shifted(b * m, s) for v, b, m, s in zip(values, branch, multiplier, shift, strict=True)
    ]
    expected = [_clipped(w, -STREAM, STREAM) for w in wide]
    assert result.tolist() == expected
    assert counts.tolist() == [
        sum(b != 0 for b in branch), sum(w != e for w, e in zip(wide, expected, strict=True)),
    ]  # fmt: skip


def _layer_norm_integers(
    x: list[int], input_shift: int, mean_multiplier: int, mean_shift: int, epsilon: int,
    multiplier: list[int], shift: list[int], offset: list[int],
) -> list[int]:  # fmt: skip
    """The documented equation, with the reciprocal root built from the table's definition."""
    wide = [v * 2**input_shift for v in x]
    mean = _shifted(sum(wide) * mean_multiplier, mean_shift)
    squares = sum((v - mean) ** 2 for v in wide) + epsilon
    power = 0  # squares = mantissa * 4**power, mantissa in [2**30, 2**32)
    while squares // 4**power >= 2**32 if power >= 0 else False:
        power += 1
    while squares * 4**-power < 2**30 and power <= 0:
        power -= 1
    mantissa = squares // 4**power if power >= 0 else squares * 4**-power
    assert 2**30 <= mantissa < 2**32
    guess = math.floor(2**31 / math.sqrt((2 * (mantissa >> 24) + 1) << 23) + 0.5)
    root = _shifted(guess * ((3 << 30) - mantissa * guess * guess // 2**32), 31)
    result = []
    for v, m, s, o in zip(wide, multiplier, shift, offset, strict=True):
        drop = power + 31 - 20
        t = _shifted((v - mean) * root, drop) if drop >= 0 else (v - mean) * root * 2**-drop
        result.append(_clipped(_shifted(t * m, s) + o, -STREAM, STREAM))
    return result


def _norm_parameters(n: int) -> tuple[int, int]:
    mantissa, exponent = math.frexp(1.0 / n)
    return round(mantissa * 2**15), 15 - exponent


@settings(deadline=None, max_examples=200)
@given(data=st.data(), n=st.integers(1, 12), input_shift=st.sampled_from([0, 0, 1, 12]))
def test_layer_norm_equals_the_python_integers(
    data: st.DataObject, n: int, input_shift: int
) -> None:
    largest = data.draw(st.sampled_from([0, 1, 30, 4096, STREAM])) >> input_shift
    x = data.draw(st.lists(st.integers(-largest, largest), min_size=n, max_size=n))
    epsilon = data.draw(st.integers(1, 2**40))
    multiplier, shift, offset = (
        data.draw(st.lists(kind, min_size=n, max_size=n))
        for kind in (multipliers, shifts, st.integers(-STREAM, STREAM))
    )
    mean_multiplier, mean_shift = _norm_parameters(n)
    result, counts = np.zeros(n, np.int32), _counts()
    elementwise.layer_norm(
        _vector(x), input_shift, mean_multiplier, mean_shift, epsilon, _vector(multiplier),
        _vector(shift), _vector(offset), result, counts,
    )  # fmt: skip
    assert result.tolist() == _layer_norm_integers(
        x, input_shift, mean_multiplier, mean_shift, epsilon, multiplier, shift, offset
    )
    assert counts[0] == sum(v != 0 for v in x)


@pytest.mark.parametrize("n", [64, 192, 512, 768, 1000, 8192])
@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0, 2000.0])
def test_layer_norm_against_float64(n: int, spread: float) -> None:
    """The whole format as exported: 12 fraction bits in and out, weight 1, bias 0, eps 1e-5."""
    rng = np.random.default_rng(n)
    mean_multiplier, mean_shift = _norm_parameters(n)
    factor, power = math.frexp(math.sqrt(n) * 2.0 ** (12 - 20))
    multiplier = np.full(n, round(factor * 2**15), np.int32)
    shift = np.full(n, 15 - power, np.int32)
    for offset in (0.0, 1.0, -3.0):
        x = np.clip(np.rint((rng.normal(0, 1, n) + offset) * spread * 4096), -STREAM, STREAM)
        result, counts = np.zeros(n, np.int32), _counts()
        epsilon = max(1, round(1e-5 * n * 4096.0**2))
        elementwise.layer_norm(
            x.astype(np.int32), 0, mean_multiplier, mean_shift, epsilon, multiplier, shift,
            np.zeros(n, np.int32), result, counts,
        )  # fmt: skip
        real = x / 4096
        exact = (real - real.mean()) / np.sqrt(real.var() + 1e-5)
        error = np.abs(result / 4096 - exact)
        # relative: mantissas of the root, the factor and the mean (2**-15 each); absolute: half a
        # unit of the result, half a unit of t and of the mean through the gain
        gain = 1.0 / np.sqrt(real.var() + 1e-5)
        bound = (
            2.0**-14 * np.abs(exact) + (abs(real.mean()) * 2.0**-15 + 2.0**-13) * gain
            + 2.0**-13 + math.sqrt(n) * 2.0**-21
        )  # fmt: skip
        assert (error <= bound).all(), float((error - bound).max())


def test_layer_norm_of_a_constant_vector_is_its_offset() -> None:
    n = 64
    mean_multiplier, mean_shift = _norm_parameters(n)
    for value in (0, 1, -5, STREAM, -STREAM):
        result = np.zeros(n, np.int32)
        elementwise.layer_norm(
            np.full(n, value, np.int32), 0, mean_multiplier, mean_shift, 1000,
            np.full(n, 20000, np.int32), np.full(n, 10, np.int32), np.arange(n, dtype=np.int32),
            result, _counts(),
        )  # fmt: skip
        assert result.tolist() == list(range(n))
