"""What the fine graph relies on: proven ranges, inverted thresholds, halves, and their refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.arithmetic.formats import CURRENT_LIMIT
from spikegpt_neuro.arithmetic.lif import lif
from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.backends.lava.fine.session import FineSession
from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava
from spikegpt_neuro.decomposition.decomposition import decompose, fine_problems
from spikegpt_neuro.decomposition.lif_thresholds import stock_lif
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.layers import Lif
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.ranges import proven_ranges
from spikegpt_neuro.network.schema import Port

N = 64


class Wire:
    """Stands for a port."""

    def __init__(self, values: Any = None) -> None:
        self.values = values

    def send(self, values: Any) -> None:
        self.values = np.array(values, np.int32)

    def recv(self) -> Any:
        return self.values


def memoryless(rng: np.random.Generator, **changes: Any) -> Lif:
    choices: dict[str, Any] = {
        "multiplier": rng.integers(1 << 14, 1 << 15, N).astype(np.int32),
        "shift": rng.integers(12, 16, N).astype(np.int32),
        "offset": rng.integers(-1500, 900, N).astype(np.int32),
        "voltage_decay": 4096, "threshold": 1024, "bias": 1, "levels": 1, "soft_reset": 1,
    }  # fmt: skip
    port = Port(N, "graded", 4, False, 1.0)
    return Lif("x", ("y",), port, **(choices | changes))


def expected_spikes(layer: Lif, x: np.ndarray) -> np.ndarray:
    spikes, membrane, counts = np.zeros(N, np.int32), np.zeros(N, np.int32), np.zeros(2, np.int64)
    lif(
        x, layer.multiplier, layer.shift, layer.offset, layer.voltage_decay, layer.threshold,
        layer.bias, layer.levels, layer.soft_reset, membrane, spikes, counts,
    )  # fmt: skip
    return spikes


def stock_spikes(layer: Lif, bound: int, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The unmodified stock neurons' spikes, step by step."""
    prepare_lava()
    from lava.proc.lif.models import PyLifResetModelBitAcc

    found = stock_lif(layer, bound)
    assert found is not None
    assert 0 <= found.threshold < 1 << 17
    assert np.abs(found.bias).max() < 1 << 12
    model: Any = PyLifResetModelBitAcc({"reset_interval": 1, "reset_offset": 0})
    model.u, model.v = np.zeros(N, np.int32), np.zeros(N, np.int32)
    model.du, model.dv, model.vth = 4095, 4095, found.threshold
    model.bias_mant, model.bias_exp = found.bias.astype(np.int16), np.full(N, 6, np.int16)
    results = []
    for t, x in enumerate(inputs):
        model.a_in, model.s_out, model.time_step = Wire(x.copy()), Wire(), t + 1
        model.run_spk()
        results.append(model.s_out.values)
    return results


def sweep(layer: Lif, bound: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Inputs over the whole range, and around every channel's every threshold."""
    inputs = [rng.integers(-bound, bound + 1, N) for _ in range(20)]
    inputs += [np.full(N, edge) for edge in (-bound, bound, 0)]
    needed = (layer.threshold - layer.offset.astype(float)) * 2.0**layer.shift
    near = np.rint(needed / layer.multiplier).astype(np.int64)
    inputs += [near + step for step in range(-3, 4)]
    return [np.clip(x, -bound, bound).astype(np.int32) for x in inputs]


@pytest.mark.parametrize(
    ("changes", "bound"),
    [
        ({}, CURRENT_LIMIT),
        ({"threshold": 2048, "bias": -7}, 30_000),
        ({"bias": 4095, "threshold": 2048}, 5000),
    ],
)
def test_stock_neurons_send_what_the_layer_does(changes: dict[str, Any], bound: int) -> None:
    rng = np.random.default_rng(bound)
    layer = memoryless(rng, **changes)
    found = stock_lif(layer, bound)
    assert found is not None
    inputs = sweep(layer, bound, rng)
    fired = 0
    for x, stock in zip(inputs, stock_spikes(layer, bound, inputs), strict=True):
        expected = expected_spikes(layer, x)
        np.testing.assert_array_equal(stock, expected)
        fired += int(expected.sum())
    assert fired > 0
    assert not expected_spikes(layer, np.zeros(N, np.int32)).any()


@pytest.mark.parametrize(
    ("changes", "bound"),
    [
        ({"voltage_decay": 4095}, 30_000),
        ({"levels": 3}, 30_000),  # graded spikes
        ({}, (1 << 23) - 1),  # wider than a stock neuron's input
        ({"multiplier": np.full(N, -20_000, np.int32)}, 30_000),
        ({"shift": np.arange(N, dtype=np.int32) % 8 + 10}, 30_000),  # biases too far apart
        ({"threshold": 100, "bias": 4095}, 5000),  # fires without input, in idle steps too
    ],
)
def test_what_stock_neurons_are_not_proven_for_stays_an_own_neuron(
    changes: dict[str, Any], bound: int
) -> None:
    assert stock_lif(memoryless(np.random.default_rng(0), **changes), bound) is None


@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
def test_no_value_leaves_its_proven_range(layout: str) -> None:
    network = random_network(RandomShape(layout=layout, n_layer=2, n_embd=16, vocabulary_size=12))
    ranges = proven_ranges(network)
    tokens = np.random.default_rng(1).integers(0, 12, 200).tolist()
    with Emulator().open(network, trace=list(network.by_name)) as session:
        session.score(tokens)
        for layer in network.layers:
            low, high = ranges[layer.name]
            values = session.trace(layer.name)
            assert low <= values.min() <= values.max() <= high, layer.name
            assert high <= layer.output.high


def test_products_and_squares_are_one_population_each() -> None:
    """Whatever their inputs' width: nothing is left for stock products, which need scales."""
    network = random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=12))
    elements = decompose(network).elements
    for kind, program in (("product", "scaled_product"), ("squared_relu", "squared_relu")):
        for layer in network.layers:
            if layer.kind == kind:
                owned = [e.program for e in elements.values() if e.layer == layer.name]
                assert owned == [program]


def _changed(network: Network, name: str, **changes: Any) -> Network:
    layers = tuple(
        dataclasses.replace(layer, **changes) if layer.name == name else layer
        for layer in network.layers
    )
    return dataclasses.replace(network, layers=layers)


def test_networks_without_a_fine_graph_are_refused_with_every_reason() -> None:
    network = random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=12))
    assert fine_problems(network) == []
    residual: Any = network["blocks.0.srffn.residual"]
    network = _changed(network, residual.name, shift=np.full(16, 40, np.int32))
    with pytest.raises(InputError) as caught:
        FineSession(network)
    message = str(caught.value)
    assert "blocks.0.srffn.residual: shifts up to 40, at most 30" in message
