"""The neuron programs' specifications, executed: they give the emulator's integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.arithmetic import tables
from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.backends.loihi2.specification import (
    FUNCTIONS,
    SPECIFICATIONS,
    Specification,
    documentation,
)
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.layers import Layer
from spikegpt_neuro.network.random_networks import RandomShape, random_network

TOKENS = np.random.default_rng(2).integers(0, 12, 12).tolist()
NETWORKS = {
    "upstream": RandomShape(n_layer=1, n_embd=6, vocabulary_size=12),
    "spike-driven": RandomShape("spike-driven", n_layer=1, n_embd=6, vocabulary_size=12, levels=3),
}


def executed(
    specification: Specification, layer: Layer, inputs: list[np.ndarray]
) -> tuple[np.ndarray, dict[str, int]]:
    """The layer's values [T, n] by its specification alone, and the most bits each state took.

    Python integers throughout: nothing wraps and nothing is lost.
    """
    space: dict[str, Any] = {
        name: [int(entry) for entry in getattr(tables, name)] for name, _, _ in specification.tables
    }
    exec(FUNCTIONS, space)
    program = compile("\n".join(specification.update), layer.kind, "exec")
    constants = {name: getattr(layer, name) for name in layer.scalar_ranges()}
    constants |= {"low": layer.output.low, "high": layer.output.high}
    arrays = {name: getattr(layer, name).tolist() for name, _ in specification.parameters}
    size = layer.output.size
    states = [{name: start for name, _, start in specification.state} for _ in range(size)]
    result = np.empty((len(inputs[0]), size), np.int64)
    widest: dict[str, int] = {}
    for step in range(len(result)):
        rows = [values[step].tolist() for values in inputs]
        for channel in range(size):
            names = {
                **space, **constants, **states[channel], "layer": rows[0],
                **{name: values[channel] for name, values in arrays.items()},
                **dict(zip(specification.inputs, (row[channel] for row in rows), strict=True)),
            }  # fmt: skip
            exec(program, names)
            result[step, channel] = names["y"]
            for name, _, _ in specification.state:
                states[channel][name] = int(names[name])
                widest[name] = max(widest.get(name, 0), abs(states[channel][name]).bit_length() + 1)
    return result, widest


def programs(network: Network) -> list[Layer]:
    return [x for x in network.layers if SPECIFICATIONS[x.kind].need == "microcode"]


@pytest.mark.parametrize("name", NETWORKS)
def test_executed_specifications_equal_the_emulator(name: str) -> None:
    network = random_network(NETWORKS[name])
    with EmulatorSession(network, trace=network.by_name) as session:
        session.score(TOKENS)
        for layer in programs(network):
            specification = SPECIFICATIONS[layer.kind]
            found, widest = executed(
                specification, layer, [session.trace(source) for source in layer.inputs]
            )
            assert np.array_equal(found, session.trace(layer.name)), layer.name
            for state, bits, _ in specification.state:
                assert widest[state] <= bits, (layer.name, state)


def test_every_program_is_executed_by_one_of_the_networks() -> None:
    run = {x.kind for shape in NETWORKS.values() for x in programs(random_network(shape))}
    assert run == {s.kind for s in SPECIFICATIONS.values() if s.need == "microcode"}


def test_documentation_is_made_of_the_same_data() -> None:
    page = Path(__file__).parents[3] / "docs/neuron-programs.md"
    assert page.read_text() == documentation()
