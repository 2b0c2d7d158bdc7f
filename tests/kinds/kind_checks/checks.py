"""What holds for a kind: each check raises AssertionError where it does not.

The tests run them for every registered kind, and the mutation test sees each of them fail.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kind_checks.mechanical import count
from kind_checks.samples import changed, input_limit, sample
from spikegpt_neuro.arithmetic.equations import OPERATIONS, operations
from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.network.network import TOKEN
from spikegpt_neuro.network.schema import Layer

EXPECTED = Path(__file__).parents[1] / "expected.json"
TOKENS = 24


def constants(kind: type[Layer]) -> frozenset[str]:
    return frozenset({*kind.array_specs(), *kind.scalar_ranges(), "low", "high", "size"})


def check_operations(kind: type[Layer], kernel: Any, data: set[str]) -> None:
    """The equation costs what the kernel's source does, and a layer that times its channels."""
    for levels in (0, 1, 3):
        inside, outside = count(kernel, data, levels=levels)
        each = operations(kind.equation, constants(kind), levels)
        once = operations(kind.once, constants(kind))
        assert each == {name: inside[name] for name in OPERATIONS}
        assert once == {name: outside[name] for name in OPERATIONS}
    layer = sample(kind)
    inside, outside = count(kernel, data, levels=getattr(layer, "levels", 1))
    expected = {name: inside[name] * layer.output.size + outside[name] for name in OPERATIONS}
    assert layer.operations() == {name: n for name, n in expected.items() if n}


def run_program(layer: Layer, inputs: np.ndarray, tokens: np.ndarray) -> tuple[Any, Program]:
    """Results [T, n] of the emulator's program of one layer."""
    sources = [source for source in layer.inputs if source != TOKEN]
    program = Program([layer], sizes=dict.fromkeys(sources, layer.operand_size))
    rows = []
    for t, token in enumerate(tokens):
        program.reserve(1)
        for i, source in enumerate(sources):
            program.value(source)[0] = inputs[t, i]
        program.run(np.array([token], np.int64))
        rows.append(program.value("x")[0].copy())
    return np.array(rows), program


def inputs_of(layer: Layer, seed: int = 1) -> np.ndarray:
    """int32 [T, inputs, operands] of all magnitudes, the largest among them."""
    rng = np.random.default_rng(seed)
    limit = input_limit(layer)
    shape = (TOKENS, layer.input_count, layer.operand_size)
    magnitude = np.minimum(2.0 ** rng.uniform(0, np.log2(limit + 1), shape), limit)
    values = (magnitude * rng.choice([-1, 0, 1], shape)).astype(np.int32)
    values[0], values[1] = limit, -limit
    return values


def check_range(kind: type[Layer]) -> None:
    """No value leaves the proven range, and the range is the one that was reviewed."""
    layer = sample(kind)
    limit = input_limit(layer)
    low, high = layer.value_range([(-limit, limit)] * kind.input_count)
    tokens = np.arange(TOKENS) % 7
    values, _ = run_program(layer, inputs_of(layer), tokens)
    assert low <= values.min(), (low, values.min())
    assert values.max() <= high, (high, values.max())
    assert [low, high] == expected()[kind.kind]["value_range"]


@cache
def expected() -> Any:
    return json.loads(EXPECTED.read_text(encoding="utf-8"))


def facts(kind: type[Layer]) -> dict[str, Any]:
    """Everything a kind declares, and what follows for its sample: what ``expected.json`` holds."""
    layer = sample(kind)
    limit = input_limit(layer)
    return {
        "arrays": {
            name: [spec.dtype, " ".join(spec.shape), spec.low, spec.high]
            for name, spec in kind.array_specs().items()
        },
        "scalars": {name: list(limits) for name, limits in kind.scalar_ranges().items()},
        "states": {s.name: [s.low, s.high, s.initial] for s in kind.states},
        "inputs": [kind.input_count, kind.driver],
        "output_bits": None if kind.output_bits is None else list(kind.output_bits),
        "chip": [kind.chip_role, kind.fires, kind.fixed_neuron, kind.sparse],
        "words": [layer.state_words, layer.parameter_words],
        "weights": [layer.largest_row_sum, layer.weight_width, layer.sum_bits, layer.products],
        "value_range": list(layer.value_range([(-limit, limit)] * kind.input_count)),
        "operations": layer.operations(),
    }


def check_facts(kind: type[Layer]) -> None:
    """Nothing a kind declares has changed without ``expected.json``."""
    assert json.loads(json.dumps(facts(kind))) == expected()[kind.kind]


def check_declared_ranges(kind: type[Layer]) -> None:
    """A value beyond a declared range is a problem, of every dtype; its edges are none."""
    layer = sample(kind)
    assert list(layer.problems()) == []
    for name, spec in kind.array_specs().items():
        for value in (spec.low - 1, spec.high + 1):
            limits = np.iinfo(spec.dtype)
            if limits.min <= value <= limits.max:
                array = np.array(getattr(layer, name))
                array.reshape(-1)[0] = value
                found = list(changed(layer, **{name: array}).problems())
                assert any(f"x/{name}: values" in problem for problem in found), (name, value)
    for name, (low, high) in kind.scalar_ranges().items():
        for value in (low - 1, high + 1):
            found = list(changed(layer, **{name: value}).problems())
            assert any(f"x/{name}: {value}, allowed" in problem for problem in found), (name, value)


def check_state(kind: type[Layer]) -> None:
    """A start is a state, and so is what a run leaves; words beyond their range are none."""
    layer = sample(kind)
    start = layer.initial_state()
    assert (start.dtype, start.size) == (np.int32, layer.state_words)
    if not layer.state_words:
        return
    assert list(layer.state_problems(start)) == []
    _, program = run_program(layer, inputs_of(layer), np.zeros(TOKENS, np.int64))
    assert list(program.state_problems(program.state)) == []
    n = layer.output.size
    for i, state in enumerate(kind.states):
        for value in (state.low - 1, state.high + 1):
            if abs(value) < 1 << 31:
                broken = start.copy()
                broken[i * n] = value
                assert list(layer.state_problems(broken)), (state.name, value)


def check_weights(kind: type[Layer]) -> None:
    """Bound and fan-in are what the weights say."""
    layer = sample(kind)
    rows = layer.rows
    if rows is None:
        assert (layer.largest_row_sum, layer.fan_in, layer.weight_width) == (0, 0, 0)
        return
    sums = [sum(abs(int(w)) for w in row) for row in rows]
    assert (layer.largest_row_sum, layer.fan_in) == (max(sums), len(rows[0]))
    if "fan_out" in dir(layer):
        assert layer.fan_out.tolist() == [int((rows[:, k] != 0).sum()) for k in range(len(rows[0]))]
