"""Synapses: both walks and their event counts against numpy int64 and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.arithmetic import dense as synapses

SHAPES = [(1, 1), (1, 300), (300, 1), (7, 13), (64, 64), (129, 257), (513, 1025)]


def _weights(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    weight[rng.random(shape) < 0.2] = 0
    return weight


def _both_walks(weight: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    walked = np.full((x.shape[0], weight.shape[0]), 99, np.int32)
    synapses.dense(weight, x.astype(np.int16), walked)
    by_input = np.ascontiguousarray(weight.T)
    events = np.full_like(walked, -99)
    for t in range(x.shape[0]):
        active = np.empty(x.shape[1] + 1, np.int32)
        found = synapses.gather_active(x[t], active)
        assert active[:found].tolist() == np.flatnonzero(x[t]).tolist()
        synapses.event_driven(by_input, x[t], active[:found], events[t])
    return walked, events


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("operands", ["graded", "binary", "ternary", "zero", "extreme"])
@pytest.mark.parametrize("tokens", [1, 3, 4, 33])
def test_both_walks_equal_int64_numpy(shape: tuple[int, int], operands: str, tokens: int) -> None:
    rng = np.random.default_rng(shape[0] * 1000 + shape[1] + tokens)
    weight = _weights(rng, shape)
    x = {
        "graded": rng.integers(-511, 512, (tokens, shape[1])),
        "binary": rng.integers(0, 2, (tokens, shape[1])),
        "ternary": rng.integers(-1, 2, (tokens, shape[1])),
        "zero": np.zeros((tokens, shape[1]), int),
        "extreme": rng.choice([-16383, 16383, 0], (tokens, shape[1])),
    }[operands].astype(np.int32)
    exact = x.astype(np.int64) @ weight.astype(np.int64).T
    assert np.abs(exact).max(initial=0) < 2**31
    walked, events = _both_walks(weight, x)
    np.testing.assert_array_equal(walked, exact)
    np.testing.assert_array_equal(events, exact)


def test_columns_of_a_wider_matrix() -> None:
    rng = np.random.default_rng(8)
    weight = _weights(rng, (70, 90))
    x = rng.integers(-3, 4, 90).astype(np.int32)
    by_input = np.ascontiguousarray(weight.T)
    result = np.zeros(30, np.int32)
    synapses.event_driven(by_input[:, 20:50], x, np.flatnonzero(x).astype(np.int32), result)
    np.testing.assert_array_equal(result, weight[20:50].astype(np.int64) @ x)


def test_the_bound_of_32_bits_is_reached_exactly() -> None:
    inputs = 516
    weight = np.full((2, inputs), 127, np.int8)
    weight[1] = -127
    x = np.full((1, inputs), 32767, np.int32)
    exact = 127 * 32767 * inputs
    assert exact < 2**31 <= exact + 127 * 32767
    walked, events = _both_walks(weight, x)
    assert walked.tolist() == events.tolist() == [[exact, -exact]]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    outputs=st.integers(1, 40),
    inputs=st.integers(1, 40),
    tokens=st.integers(1, 5),
    largest=st.sampled_from([1, 2, 127, 511]),
    density=st.floats(0, 1),
)
def test_walks_and_counts_against_brute_force(
    seed: int, outputs: int, inputs: int, tokens: int, largest: int, density: float
) -> None:
    rng = np.random.default_rng(seed)
    weight = _weights(rng, (outputs, inputs))
    x = rng.integers(-largest, largest + 1, (tokens, inputs)).astype(np.int32)
    x[rng.random(x.shape) >= density] = 0
    walked, events = _both_walks(weight, x)
    operations = unit = additions = non_zero = ones = 0
    expected = [[0] * outputs for _ in range(tokens)]
    for t in range(tokens):
        for k in range(inputs):
            operand = int(x[t, k])
            non_zero += operand != 0
            ones += abs(operand) == 1
            for j in range(outputs):
                w = int(weight[j, k])
                expected[t][j] += w * operand
                if w and operand:
                    operations += 1
                    unit += abs(operand) == 1
                    additions += abs(operand)
    assert walked.tolist() == expected
    assert events.tolist() == expected
    fan_out = (weight != 0).sum(axis=0).astype(np.int32)
    counts = np.array([5, 6, 7], np.int64)  # counts are added to what is there
    events_counted = np.zeros(2, np.int64)
    for t in range(tokens):
        synapses.count_events(x[t], fan_out, counts)
        synapses.count_non_zero(x[t], events_counted)
    assert (counts - [5, 6, 7]).tolist() == [operations, unit, additions]
    assert events_counted.tolist() == [non_zero, ones]


@pytest.mark.parametrize("bits", [8, 24, 32])
def test_overflows_are_values_outside_the_signed_width(bits: int) -> None:
    limit = (1 << (bits - 1)) - 1
    edges = [0, limit, -limit, -limit - 1, min(limit + 1, 2**31 - 1), max(-limit - 2, -(2**31))]
    accumulators = np.array(edges, np.int32)
    exact = sum(not -(1 << (bits - 1)) <= a < (1 << (bits - 1)) for a in edges)
    assert synapses.count_overflows(accumulators, limit) == exact
    assert exact == (0 if bits == 32 else 2)
