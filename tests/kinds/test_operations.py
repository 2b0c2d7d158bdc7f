"""What an update costs: the equations against the source code and the results of ``arithmetic``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kind_checks.mechanical import count
from kind_checks.sources import EQUATIONS, SCOPE, SOURCES

from spikegpt_neuro.arithmetic import slayer_neurons
from spikegpt_neuro.arithmetic.equations import FUNCTIONS, OPERATIONS, operations


def counted(name: str, levels: int = 1) -> tuple[dict[str, int], dict[str, int]]:
    """Operations of one channel and of one token, from the kind's equations."""
    kind = EQUATIONS[name]
    constants = frozenset({*kind.array_specs(), *kind.scalar_ranges(), "low", "high", "size"})
    return operations(kind.equation, constants, levels), operations(kind.once, constants)


def test_every_equation_has_its_source() -> None:
    assert set(SOURCES) == set(EQUATIONS)


@pytest.mark.parametrize("name", EQUATIONS)
@pytest.mark.parametrize("levels", [0, 1, 3])
def test_an_equation_costs_what_the_arithmetic_costs(name: str, levels: int) -> None:
    kernel, data = SOURCES[name]
    inside, outside = count(kernel, data, levels=levels)
    each, once = counted(name, levels)
    assert each == {kind: inside[kind] for kind in OPERATIONS}
    assert once == {kind: outside[kind] for kind in OPERATIONS}


def test_the_figures_the_documentation_quotes() -> None:
    totals = {name: sum(counted(name)[0].values()) for name in EQUATIONS}
    assert (totals["wkv"], totals["sigmoid"], totals["lif"], totals["layer_norm"]) == (
        118, 16, 20, 20,
    )  # fmt: skip


def test_shared_functions_equal_the_arithmetic() -> None:
    from spikegpt_neuro.arithmetic import fixed_point

    rng = np.random.default_rng(0)
    ranges: dict[str, Any] = {
        "round_shift": lambda: (int(rng.integers(-(2**60), 2**60)), int(rng.integers(0, 62))),
        "clip": lambda: (int(rng.integers(-99, 99)), -50, 40),
        "scale_by_power": lambda: (int(rng.integers(-(2**40), 2**40)), int(rng.integers(-9, 50))),
        "bit_length": lambda: (int(2 ** rng.uniform(0, 62)),),
        "sigmoid": lambda: (int(rng.integers(-9000, 9000)),),
        "exp2": lambda: (-int(2 ** rng.uniform(0, 21)) + 1,),
        "reciprocal": lambda: (int(rng.integers(1 << 15, 1 << 16)),),
        "reciprocal_square_root": lambda: (int(rng.integers(1 << 30, 1 << 32)),),
        "leak": lambda: (int(rng.integers(-(2**23), 2**23)), int(rng.integers(0, 4097))),
    }
    assert set(ranges) == set(FUNCTIONS)
    for name, draw in ranges.items():
        real = (
            (lambda state, keep: slayer_neurons.decayed.py_func(state, 4096 - keep))
            if name == "leak"
            else getattr(fixed_point, name)
        )
        for _ in range(300):
            arguments = draw()
            assert SCOPE[name](*arguments) == real(*arguments), (name, arguments)
