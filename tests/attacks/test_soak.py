"""A short soak; ``python -m attacks soak`` generates millions."""

from __future__ import annotations

from pathlib import Path

from attacks.soak import soak
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network


def test_long_runs_and_many_sessions_are_what_they_are_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    write_network(random_network(RandomShape(n_layer=2, n_embd=16, vocabulary_size=23)), path)
    found = soak(path, tokens=4000, slices=3, sessions=32, each=40)
    assert found["bad"] == []
    assert found["slices_equal"] and found["distinct"] > 20
