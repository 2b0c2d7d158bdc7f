"""Networks and runs that the energy tests share: real layers, run by the emulator."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.random_networks import RandomShape, random_network

Run = Callable[[str, int], tuple[Network, Counters]]
TOKENS = 40


@cache
def _run(layout: str, levels: int) -> tuple[Network, Counters]:
    network = random_network(RandomShape(layout=layout, levels=levels, n_layer=2, n_embd=32))
    tokens = np.random.default_rng(5).integers(0, network.info.vocabulary_size, TOKENS)
    with Emulator().open(network) as session:
        session.score(tokens.tolist())
        return network, session.counters


@pytest.fixture(scope="session")
def run() -> Run:
    """``run(layout, levels)``: a small network and its counters over 40 tokens."""
    return _run
