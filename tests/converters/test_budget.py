"""The choice under a limit, against trying everything."""

from __future__ import annotations

import ctypes
import itertools
import os
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.converters import budget
from spikegpt_neuro.converters.budget import least
from spikegpt_neuro.errors import InputError


@pytest.mark.parametrize("seed", range(12))
def test_no_combination_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, 5)
    figures = [rng.uniform(0, 1, size).tolist() for size in sizes]
    costs = [rng.integers(1, 30, size).tolist() for size in sizes]
    limit = float(rng.uniform(sum(map(min, costs)), sum(map(max, costs))))
    picked = least(figures, costs, limit)
    every = [
        sum(figures[i][c] for i, c in enumerate(combination))
        for combination in itertools.product(*(range(size) for size in sizes))
        if sum(costs[i][c] for i, c in enumerate(combination)) <= limit
    ]
    assert sum(costs[i][c] for i, c in enumerate(picked)) <= limit
    assert sum(figures[i][c] for i, c in enumerate(picked)) <= min(every) * (1 + 1e-3)


def test_a_limit_nothing_keeps() -> None:
    with pytest.raises(InputError, match="smallest choice costs 5"):
        least([[1.0], [2.0, 3.0]], [[2.0], [3.0, 9.0]], 4.9)


def test_what_the_solver_prints_is_not_heard(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    original = budget.milp

    def talking(*arguments: Any, **options: Any) -> Any:
        ctypes.CDLL(None).puts(b"a line for developers")  # through C's buffer, as HiGHS does
        os.write(1, b"and one past it")
        return original(*arguments, **options)

    monkeypatch.setattr(budget, "milp", talking)
    assert least([[1.0], [2.0, 3.0]], [[2.0], [3.0, 9.0]], 20.0) == [0, 0]
    ctypes.CDLL(None).puts(b"heard again")
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr().out == "heard again\n"
