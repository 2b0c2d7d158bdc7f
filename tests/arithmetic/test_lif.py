"""The integer LIF against a Python-integer LIF written from the equation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.arithmetic.lif import lif


def _reference(
    current: int, v: int, *, decay: int, threshold: int, bias: int, levels: int, soft: bool
) -> tuple[int, int, int]:
    """(membrane potential, spikes, saturations) of one neuron, in Python integers."""
    saturations = 0
    a = max(-(2**17 - 1), min(2**17 - 1, current))
    saturations += a != current
    # math.trunc of a fraction truncates towards zero, as Lava's LIF decays
    v = math.trunc(Fraction(v * (4096 - decay), 4096)) + a * 64 + bias
    clipped = max(-(2**23 - 1), min(2**23 - 1, v))
    saturations += clipped != v
    v = clipped
    spikes = sum(1 for j in range(1, levels + 1) if v > j * threshold * 64)
    if spikes:
        v = v - spikes * threshold * 64 if soft else 0
    return v, spikes, saturations


def _run(
    driving: np.ndarray, membrane: np.ndarray, *, multiplier: int = 1, shift: int = 0,
    offset: int = 0, decay: int, threshold: int, bias: int, levels: int, soft: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    n = driving.size
    membrane = membrane.astype(np.int32).copy()
    spikes = np.full(n, -7, np.int32)
    counts = np.zeros(2, np.int64)
    lif(
        driving.astype(np.int32), np.full(n, multiplier, np.int32), np.full(n, shift, np.int32),
        np.full(n, offset, np.int32), decay, threshold, bias, levels, int(soft), membrane, spikes,
        counts,
    )  # fmt: skip
    return membrane, spikes, counts


@settings(deadline=None, max_examples=300)
@given(data=st.data(), levels=st.integers(1, 15), soft=st.booleans())
def test_one_step_equals_the_python_integers(data: st.DataObject, levels: int, soft: bool) -> None:
    driving = data.draw(st.lists(st.integers(-(1 << 18), 1 << 18), min_size=1, max_size=8))
    membrane = data.draw(
        st.lists(st.integers(-(2**23) + 1, 2**23 - 1), min_size=len(driving), max_size=len(driving))
    )
    powers = st.sampled_from([1 << k for k in range(17)])
    settings_ = {
        "decay": data.draw(st.integers(0, 4096)),
        "threshold": data.draw(st.one_of(st.integers(1, 2**17 - 1), powers)),
        "bias": data.draw(st.integers(-4096, 4095)), "levels": levels, "soft": soft,
    }  # fmt: skip
    v, s, counts = _run(np.array(driving), np.array(membrane), **settings_)
    expected = [_reference(a, m, **settings_) for a, m in zip(driving, membrane, strict=True)]
    assert v.tolist() == [e[0] for e in expected]
    assert s.tolist() == [e[1] for e in expected]
    assert counts.tolist() == [sum(a != 0 for a in driving), sum(e[2] for e in expected)]


@pytest.mark.parametrize("threshold", [1, 64, 1 << 13, 1 << 16, 1000])
@pytest.mark.parametrize("levels", [1, 2, 3, 15])
def test_potentials_around_every_level(threshold: int, levels: int) -> None:
    # what is counted by a shift where the threshold is a power of two: firing is strict
    multiples = np.arange(-2, levels + 3)[:, None] * threshold * 64 + np.array([-1, 0, 1])
    potentials = np.clip(multiples.ravel(), -(2**23 - 1), 2**23 - 1)
    settings_ = {"decay": 0, "threshold": threshold, "bias": 0, "levels": levels, "soft": True}
    v, s, _ = _run(np.zeros(potentials.size), potentials, **settings_)
    expected = [_reference(0, int(m), **settings_) for m in potentials]
    assert s.tolist() == [e[1] for e in expected] and v.tolist() == [e[0] for e in expected]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("levels", [1, 3])
def test_a_long_run_with_rescaled_currents(soft: bool, levels: int) -> None:
    rng = np.random.default_rng(3)
    n, steps, threshold, multiplier, shift, offset = 32, 400, 2 << 10, 23171, 17, -37
    membrane = np.zeros(n, np.int64)
    expected_v = [0] * n
    for _ in range(steps):
        driving = rng.integers(-20000, 24000, n)
        membrane, spikes, _ = _run(
            driving, membrane, multiplier=multiplier, shift=shift, offset=offset, decay=2048,
            threshold=threshold, bias=1, levels=levels, soft=soft,
        )  # fmt: skip
        for i in range(n):
            scaled = Fraction(int(driving[i]) * multiplier, 1 << shift)
            current = math.floor(scaled + Fraction(1, 2)) + offset
            expected_v[i], fired, _ = _reference(
                current, expected_v[i], decay=2048, threshold=threshold, bias=1, levels=levels,
                soft=soft,
            )  # fmt: skip
            assert spikes[i] == fired
        assert membrane.tolist() == expected_v


def test_threshold_is_strict_and_one_unit_of_bias_makes_equality_fire() -> None:
    at_threshold = np.array([99, 100, 101])
    zero = np.zeros(3, np.int64)
    common = {"decay": 2048, "threshold": 100, "levels": 1, "soft": False}
    v, spikes, _ = _run(at_threshold, zero, bias=0, **common)
    assert spikes.tolist() == [0, 0, 1]
    assert v.tolist() == [99 * 64, 100 * 64, 0]
    _, spikes, _ = _run(at_threshold, zero, bias=1, **common)
    assert spikes.tolist() == [0, 1, 1]


def test_negative_potentials_decay_towards_zero() -> None:
    membrane = np.array([-1, -2, -3, -4095, -(2**23) + 1, 1, 3])
    v, _, _ = _run(
        np.zeros(7), membrane, decay=2048, threshold=2**17 - 1, bias=0, levels=1, soft=False
    )
    assert v.tolist() == [0, -1, -1, -2047, -(2**22) + 1, 0, 1]


def test_saturation_is_counted_and_the_potential_stays_in_24_bits() -> None:
    v, _, counts = _run(
        np.array([1 << 20, -(1 << 20)]), np.array([-(2**23) + 1, -(2**23) + 1]), decay=0,
        threshold=2**17 - 1, bias=-5, levels=1, soft=False,
    )  # fmt: skip
    # both currents are clipped; the second drives the potential below its range as well
    assert counts.tolist() == [2, 3]
    assert v.tolist() == [-(2**23) + 1 + (2**17 - 1) * 64 - 5, -(2**23) + 1]
