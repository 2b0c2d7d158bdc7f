"""What the fine graph relies on: proven ranges, inverted thresholds, halves, and their refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.arithmetic import elementwise
from spikegpt_neuro.arithmetic.formats import CURRENT_LIMIT
from spikegpt_neuro.arithmetic.lif import lif
from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.backends.lava.fine.session import FineSession
from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava
from spikegpt_neuro.decomposition.decomposition import decompose, fine_problems
from spikegpt_neuro.decomposition.elements import Element
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
        "offset": rng.integers(-1500, 1500, N).astype(np.int32),
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
        current = x.copy()
        if found.current_limit:
            elementwise.requantise(
                x, layer.multiplier, layer.shift, -found.current_limit, found.current_limit,
                current, np.zeros(2, np.int64),
            )  # fmt: skip
        model.a_in, model.s_out, model.time_step = Wire(current), Wire(), t + 1
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
    ("changes", "bound", "rescaled"),
    [
        ({}, CURRENT_LIMIT, False),
        ({"threshold": 2048, "bias": -7}, 30_000, False),
        ({"bias": 4095, "threshold": 100}, 5000, False),
        ({}, (1 << 23) - 1, True),  # wider than a stock neuron's input
        ({"multiplier": np.full(N, -20_000, np.int32)}, 100_000, True),
        ({"shift": np.arange(N, dtype=np.int32) % 8 + 10}, 100_000, True),  # biases too far apart
        ({"offset": np.arange(N, dtype=np.int32) * 100 - 7000}, (1 << 23) - 1, True),
    ],
)
def test_stock_neurons_send_what_the_layer_does(
    changes: dict[str, Any], bound: int, rescaled: bool
) -> None:
    rng = np.random.default_rng(bound)
    layer = memoryless(rng, **changes)
    found = stock_lif(layer, bound)
    assert found is not None
    assert (found.current_limit > 0) == rescaled
    inputs = sweep(layer, bound, rng)
    fired = 0
    for x, stock in zip(inputs, stock_spikes(layer, bound, inputs), strict=True):
        expected = expected_spikes(layer, x)
        np.testing.assert_array_equal(stock, expected)
        fired += int(expected.sum())
    assert fired > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"voltage_decay": 4095},
        {"levels": 3},  # graded spikes
        {"multiplier": np.full(N, -1, np.int32), "offset": np.arange(N, dtype=np.int32) * 1000},
    ],
)
def test_what_stock_neurons_are_not_proven_for_stays_an_own_neuron(changes: dict[str, Any]) -> None:
    assert stock_lif(memoryless(np.random.default_rng(0), **changes), 1 << 20) is None


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


def rescaled(element: Element, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    result = np.empty_like(a)
    given = element.parameters
    elementwise.token_shift(
        a, b, given["first"], given["second"], given["shift"], given["low"], given["high"], result,
        np.zeros(2, np.int64),
    )  # fmt: skip
    return result


def test_both_halves_of_a_wide_product_give_the_product() -> None:
    network = random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=12))
    name = "blocks.0.srffn.product"
    layer: Any = network[name]
    elements = decompose(network).elements
    assert f"{name}.upper" in elements
    rng = np.random.default_rng(2)
    limit = 1 << 30
    for edge in (None, limit - 1, 1 - limit, 0, 1 << 14, -(1 << 14), (1 << 14) - 1):
        value = rng.integers(1 - limit, limit, 16) if edge is None else np.full(16, edge)
        value = value.astype(np.int32)
        gate = rng.integers(0, 32_768, 16).astype(np.int32)
        zero = np.zeros_like(gate)
        upper = rescaled(elements[f"{name}.upper"], value, zero)
        lower = rescaled(elements[f"{name}.lower"], value, upper)
        for half in (upper, lower):
            assert np.abs(gate.astype(np.int64) * half).max() < 1 << 31
        found = rescaled(elements[name], gate * upper, gate * lower)
        expected = np.empty_like(found)
        elementwise.product(
            gate, value, layer.multiplier, layer.shift, layer.output.low, layer.output.high,
            expected, np.zeros(2, np.int64),
        )  # fmt: skip
        np.testing.assert_array_equal(found, expected)


def test_clipping_the_root_of_a_squared_relu_changes_nothing() -> None:
    network = random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=12))
    name = "blocks.0.srffn.square"
    layer: Any = network[name]
    elements = decompose(network).elements
    limit = elements[f"{name}.root"].parameters["high"]
    n = layer.output.size
    for start in (0, limit - n, limit, limit + n, (1 << 20) - n):
        x = np.arange(start, start + n, dtype=np.int64).clip(0).astype(np.int32)
        ones, zeros = np.ones(n, np.int32), np.zeros(n, np.int32)
        root = np.minimum(x, limit)
        assert int(root.max()) ** 2 < 1 << 31
        found = rescaled(elements[name], root * root, zeros)
        expected = np.empty_like(found)
        elementwise.squared_relu(
            x, ones, zeros, layer.square_shift, layer.output.high, expected, np.zeros(2, np.int64)
        )
        np.testing.assert_array_equal(found, expected)


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
    network = _changed(network, "blocks.0.srffn.square", square_shift=40)
    with pytest.raises(InputError) as caught:
        FineSession(network)
    message = str(caught.value)
    assert "blocks.0.srffn.residual: shifts up to 40, at most 30" in message
    assert "blocks.0.srffn.square: squares up to" in message
