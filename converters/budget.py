"""One choice for each of many items: the least total of one figure under a limit of another."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from spikegpt_neuro.errors import InputError

SECONDS = 30.0
"""Time the solver may take; what it has found by then is within ``GAP`` or the best it knows."""
GAP = 1e-4


def least(
    figures: Sequence[Sequence[float]], costs: Sequence[Sequence[float]], limit: float
) -> list[int]:
    """Index of the option taken of each item: least ``sum(figures)`` with ``sum(costs) <= limit``.

    ``figures[i][c]`` and ``costs[i][c]``: of option c of item i. A multiple-choice knapsack, solved
    as an integer programme by HiGHS. ``InputError`` where even the cheapest options cost more.
    """
    cheapest = sum(min(row) for row in costs)
    if cheapest > limit:
        raise InputError(
            f"even the smallest choice costs {cheapest:.6g}, the limit is {limit:.6g}."
        )
    sizes = [len(row) for row in costs]
    objective = np.array([value for row in figures for value in row], np.float64)
    cost = np.array([value for row in costs for value in row], np.float64)
    item = np.repeat(np.arange(len(sizes)), sizes)
    one_each = (item[None, :] == np.arange(len(sizes))[:, None]).astype(np.float64)
    scale = max(float(np.abs(objective).max()), 1e-300)
    with _silent_output():
        solved = milp(
            objective / scale, integrality=np.ones(objective.size), bounds=Bounds(0, 1),
            constraints=[LinearConstraint(one_each, 1, 1),
                         LinearConstraint(cost[None, :], -np.inf, limit)],
            options={"time_limit": SECONDS, "mip_rel_gap": GAP},
        )  # fmt: skip
    if solved.x is None:
        raise InputError(f"no choice was found under {limit:.6g}: {solved.message}")
    begins = np.cumsum([0, *sizes[:-1]])
    return [
        int(np.argmax(solved.x[begin : begin + size]))
        for begin, size in zip(begins, sizes, strict=True)
    ]


@contextmanager
def _silent_output() -> Iterator[None]:
    """Nothing that the solver's own code prints reaches the process's output.

    HiGHS prints lines of its developers' past every option of its log. They go through C's buffers,
    which are emptied on both sides of the change: none of what was printed before is lost, none of
    the solver's comes late. What another thread prints meanwhile is gone; no command has one.
    """
    flush = ctypes.CDLL(None).fflush
    try:
        kept = os.dup(1)
    except OSError:  # the process has no output
        yield
        return
    try:
        flush(None)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        yield
    finally:
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)
