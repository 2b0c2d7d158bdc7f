"""Prices foreseen from measured networks."""

from __future__ import annotations

import pytest

from spikegpt_neuro.converters.spike_levels import Clip
from spikegpt_neuro.fitting.prices import Saved, level_savings, unit_prices
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Lif
from spikegpt_neuro.network.random_networks import RandomShape, random_network


def test_prices_that_made_the_joules_are_found() -> None:
    measured = [
        Saved(size, work, 2e-13 * size + 3e-11 * work) for size, work in ((1e6, 2e4), (9e5, 6e4))
    ]
    assert unit_prices(measured) == pytest.approx((2e-13, 3e-11))


def test_no_price_is_negative() -> None:
    byte, operation = unit_prices([Saved(1e6, 0.0, -1e-6), Saved(1e6, 1e4, 1e-6)])
    assert byte == 0
    assert operation > 0


def test_savings_are_shared_by_neurons() -> None:
    network = random_network(
        RandomShape("spike-driven", 1, 16, 12, levels=7, voltage_decay=4096)
    )  # fmt: skip
    populations = {layer.name: layer for layer in network.layers if isinstance(layer, Lif)}
    options = {
        name: [Clip(levels, 1.0, 0.0) for levels in (3, 5, 7)]
        for name, layer in populations.items()
        if layer.levels > 1
    }

    def joules(made: LanguageModel) -> float:
        return float(sum(
            layer.levels * layer.output.size for layer in made.layers if isinstance(layer, Lif)
        ))  # fmt: skip

    found = level_savings(network, options, joules)
    for name, saved in found.items():
        size = populations[name].output.size
        assert saved == pytest.approx([4 * size, 2 * size, 0.0])
