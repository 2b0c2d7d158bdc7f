"""The textual form: golden for one small network of each layout, and sensitive to every integer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.text import network_text

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("layout", ["upstream", "rwkv", "spike-driven"])
def test_golden_text(layout: str) -> None:
    """Written once by ``network_text``; a change of it is a change of every exported network."""
    shape = RandomShape(layout, n_layer=1, n_embd=8, vocabulary_size=5, seed=3)
    assert network_text(random_network(shape)) == (GOLDEN / f"{layout}.txt").read_text()


def test_one_integer_changes_one_line() -> None:
    network = random_network(RandomShape(n_layer=1, n_embd=8, vocabulary_size=5))
    layers = list(network.layers)
    place = next(i for i, layer in enumerate(layers) if isinstance(layer, Dense))
    dense = layers[place]
    assert isinstance(dense, Dense)
    weight = np.array(dense.weight)
    weight[2, 3] += 1 if weight[2, 3] < 127 else -1
    layers[place] = dataclasses.replace(dense, weight=weight)
    changed = dataclasses.replace(network, layers=tuple(layers), contents=None)
    before, after = (network_text(n).splitlines() for n in (network, changed))
    differing = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert differing == [place + 1]
