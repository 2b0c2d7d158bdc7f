"""Random networks are as active as they were asked to be, and hold what every network must."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.network.layers import Dense, Lif
from spikegpt_neuro.network.random_networks import RandomShape, random_network


def _shares(shape: RandomShape, names: list[str]) -> dict[str, float]:
    """Share of non-zero values of layers, over 400 tokens."""
    network = random_network(shape)
    tokens = np.random.default_rng(0).integers(0, shape.vocabulary_size, 400).tolist()
    with Emulator().open(network, trace=names) as session:
        session.score(tokens)
        assert session.counters.total("overflows") == 0
        return {name: float((session.trace(name)[50:] != 0).mean()) for name in names}


@pytest.mark.parametrize("firing", [0.1, 0.3])
@pytest.mark.parametrize(("layout", "levels"), [("upstream", 1), ("spike-driven", 3)])
def test_neurons_fire_as_often_as_asked(layout: str, levels: int, firing: float) -> None:
    shape = RandomShape(layout, 2, 64, 40, levels=levels, firing=firing)
    names = [f"blocks.1.{part}.lif" for part in ("srwkv", "srffn")]
    for name, share in _shares(shape, names).items():
        assert firing / 2 < share < firing + 0.2, name
    network = random_network(shape)
    payload = ("binary", 1) if levels == 1 else ("graded", 2)
    for layer in network.layers:
        if isinstance(layer, Lif):
            assert layer.levels == levels
            assert (layer.output.payload, layer.output.bits) == payload


@pytest.mark.parametrize("density", [0.1, 0.4])
@pytest.mark.parametrize("layout", ["upstream", "rwkv"])
def test_squares_are_as_dense_as_asked(layout: str, density: float) -> None:
    shape = RandomShape(layout, 2, 64, 40, square_density=density)
    names = [f"blocks.{i}.srffn.square" for i in range(2)]
    for name, share in _shares(shape, names).items():
        assert density / 2 < share < 1.5 * density, name


def test_operands_and_weights_spread_as_said() -> None:
    """Operands of 30 units of an 8-bit payload, mixed of two tokens; weights of 35."""
    network = random_network(RandomShape("upstream", 2, 64, 40))
    name = "blocks.1.srwkv.shift_key"
    with Emulator().open(network, trace=[name]) as session:
        session.score(np.random.default_rng(0).integers(0, 40, 300).tolist())
        operands: Any = session.trace(name)[50:]
    assert 0.6 * 30 < operands.std() < 1.1 * 30
    for layer in network.layers:
        if isinstance(layer, Dense):
            weight = np.asarray(layer.weight)
            assert weight.std() == pytest.approx(35, rel=0.15)
            assert abs(weight.astype(int)).max() <= 127


def test_layouts_end_blocks_in_spikes_or_in_numbers() -> None:
    for layout, last in (("upstream", "lif"), ("rwkv", "product"), ("spike-driven", "")):
        network = random_network(RandomShape(layout, 1, 16, 12))
        residual = network["blocks.0.srffn.residual"]
        if last:
            assert residual.inputs == ("blocks.0.srwkv.residual", f"blocks.0.srffn.{last}")
        assert any(isinstance(x, Lif) for x in network.layers) == (layout != "rwkv")
        assert (network.layers[-1].output.size, network.layers[-1].output.bits) == (12, 32)
