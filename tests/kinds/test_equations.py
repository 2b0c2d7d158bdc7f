"""Equations, executed with Python integers, against the emulator: kind by kind, value by value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kind_checks.checks import TOKENS, inputs_of, run_program
from kind_checks.samples import sample
from kind_checks.sources import EQUATIONS, SCOPE

from spikegpt_neuro.network import LAYER_KINDS
from spikegpt_neuro.network.schema import Layer
from spikegpt_neuro.network.slayer_layers import Recurrent


def _parameters(layer: Layer, channel: int) -> dict[str, int]:
    found = {name: getattr(layer, name) for name in layer.scalar_ranges()}
    for name in layer.parameter_names():
        found[name] = int(getattr(layer, name)[channel])
    return found | {"low": layer.output.low, "high": layer.output.high, "size": layer.output.size}


def _step(layer: Layer, states: list[dict[str, int]], operands: np.ndarray) -> list[int]:
    """One token: results of all channels; ``states`` move on."""
    channels = [
        {**_parameters(layer, c), **states[c], "total": states[c].get("total", 0), "squares": 0}
        | dict(zip("ab", (int(x[c]) for x in operands), strict=False))
        for c in range(layer.output.size)
    ]
    lines = layer.equation.split("\n")
    before = 3 if layer.once else len(lines)
    shared = {"total": 0, "squares": 0, **_parameters(layer, 0)}
    for values in channels:
        if layer.once:
            values |= {name: shared[name] for name in ("total", "squares")}
        exec("\n".join(lines[:before]), SCOPE, values)
        if layer.once:
            shared |= {name: values[name] for name in ("total", "squares")}
    if layer.once:
        exec(layer.once, SCOPE, shared)
        for values in channels:
            values |= {name: shared[name] for name in ("mean", "root", "drop")}
            exec("\n".join(lines[before:]), SCOPE, values)
    for state, values in zip(states, channels, strict=True):
        state.update({name: int(values[name]) for name in state})
    return [int(values["s"]) for values in channels]


@pytest.mark.parametrize("name", EQUATIONS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_equation_computes_what_the_emulator_does(name: str, seed: int) -> None:
    layer: Any = sample(LAYER_KINDS[name], seed)
    inputs = inputs_of(layer, seed)
    found, program = run_program(layer, inputs, np.zeros(TOKENS, np.int64))
    states = [{s.name: s.initial for s in layer.states} for _ in range(layer.output.size)]
    for t in range(TOKENS):
        operands = inputs[t]
        if isinstance(layer, Recurrent):
            heard = layer.weight.astype(np.int64) @ [s["last_spikes"] for s in states]
            operands = operands + heard[None]
        assert found[t].tolist() == _step(layer, states, operands), t
    if not layer.states:
        return
    left = program.state[1 : 1 + layer.state_words].reshape(len(layer.states), -1)
    for i, state in enumerate(layer.states):
        assert left[i].tolist() == [s[state.name] for s in states], state.name
