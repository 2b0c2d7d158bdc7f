"""Error-compensating rounding: against its definition, and never worse than the nearest."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from spikegpt_neuro.arithmetic.packed import largest_weight
from spikegpt_neuro.converters.rounding import (
    compensated,
    kept_weights,
    nearest,
    prepare,
)


def _moment(rng: np.random.Generator, inputs: int, tokens: int = 600) -> np.ndarray:
    """Operands that depend on each other, as a network's do."""
    mixing = rng.normal(size=(inputs, inputs)) * rng.uniform(0, 1, inputs)
    x = rng.normal(size=(tokens, inputs)) @ mixing
    return (x.T @ x / tokens).astype(np.float32)


def _error(weight: np.ndarray, rounded: np.ndarray, moment: np.ndarray) -> np.ndarray:
    difference = weight - rounded
    return np.einsum("jk,kl,jl->j", difference, moment, difference)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("inputs", [5, 130, 300])
def test_outputs_change_less_than_by_rounding_to_nearest(bits: int, inputs: int) -> None:
    rng = np.random.default_rng(bits * inputs)
    weight = rng.normal(size=(40, inputs)).astype(np.float32)
    prepared = prepare(_moment(rng, inputs))
    damped = np.empty((inputs, inputs))
    damped[np.ix_(prepared.order, prepared.order)] = prepared.moment
    ours, plain = compensated(weight, prepared, bits), nearest(weight, bits)
    for rounded in (ours, plain):
        assert np.abs(rounded.integers).max() <= largest_weight(bits)
        assert (rounded.scale > 0).all()
    error = _error(weight, ours.integers * ours.scale[:, None], damped)
    power = np.einsum("jk,kl,jl->j", weight, damped, weight)
    np.testing.assert_allclose(ours.error, error / power, rtol=2e-2, atol=1e-6)
    before = _error(weight, plain.integers * plain.scale[:, None], damped)
    assert error.sum() < 0.8 * before.sum()
    assert (error <= before * 1.001).mean() > 0.9


def test_no_single_integer_can_be_bettered() -> None:
    """The sweeps end in a minimum of single changes, checked by trying them all."""
    rng = np.random.default_rng(3)
    inputs = 24
    weight = rng.normal(size=(6, inputs)).astype(np.float32)
    prepared = prepare(_moment(rng, inputs))
    damped = np.empty((inputs, inputs))
    damped[np.ix_(prepared.order, prepared.order)] = prepared.moment
    found = compensated(weight, prepared, 4)
    scale = found.scale[:, None]
    error = _error(weight, found.integers * scale, damped)
    bettered = 0
    for k in range(inputs):
        for step in (-1, 1):
            other = found.integers.astype(int)
            other[:, k] += step
            allowed = np.abs(other[:, k]) <= largest_weight(4)
            now = _error(weight, other * scale, damped)
            bettered += int((allowed & (now < error * (1 - 1e-4))).sum())
    assert bettered <= 3  # the scale is set once more after the last sweep


def test_operands_that_never_fire_and_rows_of_zeros() -> None:
    weight = np.zeros((3, 10), np.float32)
    weight[0] = np.linspace(-1, 1, 10)
    silent = compensated(weight, prepare(np.zeros((10, 10), np.float32)), 4)
    assert np.isfinite(silent.scale).all()
    assert (silent.scale > 0).all()
    assert not silent.integers[1:].any()
    np.testing.assert_allclose(silent.integers[0] * silent.scale[0], weight[0], atol=0.1)


@pytest.mark.parametrize("pruned", [0.0, 0.25, 0.5])
def test_pruned_weights_are_zero_and_the_others_make_up_for_them(pruned: float) -> None:
    rng = np.random.default_rng(11)
    weight = rng.normal(size=(30, 64)).astype(np.float32)
    prepared = prepare(_moment(rng, 64))
    kept = kept_weights(weight, prepared, pruned)
    assert (~kept).sum() == round(pruned * weight.size)
    found = compensated(weight, prepared, 8, kept)
    assert not found.integers[~kept].any()
    if pruned:
        damped = np.empty((64, 64))
        damped[np.ix_(prepared.order, prepared.order)] = prepared.moment
        cut = _error(weight, weight * kept, damped).sum()
        assert _error(weight, found.integers * found.scale[:, None], damped).sum() < 0.7 * cut


@pytest.mark.parametrize(("pattern", "inputs"), [((2, 4), 64), ((1, 8), 50), ((3, 3), 10)])
def test_at_most_n_of_every_m_stay(pattern: tuple[int, int], inputs: int) -> None:
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(9, inputs)).astype(np.float32)
    kept = kept_weights(weight, prepare(_moment(rng, inputs)), 0.0, pattern)
    n, m = pattern
    for begin in range(0, inputs, m):
        group = kept[:, begin : begin + m]
        assert (group.sum(axis=1) == min(n, group.shape[1])).all()


def test_the_integers_do_not_depend_on_the_threads_of_linear_algebra() -> None:
    """Sizes at which OpenBLAS adds in another order when it has two threads."""
    rng = np.random.default_rng(0)
    moment, weight = _moment(rng, 192), rng.normal(size=(63, 192)).astype(np.float32)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            before = [one["num_threads"] for one in threadpool_info()]
            prepared = prepare(moment)
            rounded = compensated(weight, prepared, 4)
            assert [one["num_threads"] for one in threadpool_info()] == before
        found.append([prepared.factor, rounded.integers, rounded.scale, rounded.error])
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
