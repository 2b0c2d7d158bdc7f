"""Clipped spikes: the gain is the best there is, and every backend computes the same integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.emulator import Emulator, EmulatorSession
from spikegpt_neuro.converters.spike_levels import (
    Clip,
    clip_of,
    clip_spikes,
    clips,
    graded_populations,
    largest_gains,
    mean_levels,
    readers,
)
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.generation import network_digest
from spikegpt_neuro.network.file import read_network, write_network
from spikegpt_neuro.network.layers import Lif
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.verification import verify

SHAPE = RandomShape(
    "spike-driven", 1, 16, 12, firing=0.5, levels=7, voltage_decay=4096, binary_embedding=False
)
SHIFTED = random_network(SHAPE)  # thresholds of 2**k
NETWORK = replace(
    SHIFTED,
    layers=tuple(
        replace(layer, threshold=3 * layer.threshold) if isinstance(layer, Lif) else layer
        for layer in SHIFTED.layers
    ),
)
TOKENS = np.random.default_rng(3).integers(0, 12, 40)
POPULATIONS = [f"blocks.0.{name}" for name in (
    "srwkv.lif", "srwkv.product_lif", "srffn.lif", "srffn.hidden_lif",
)]  # fmt: skip


def test_no_other_gain_changes_less() -> None:
    counts = np.array([900, 50, 30, 12, 7, 0, 3, 1])
    spikes = np.arange(8)
    for levels in range(1, 8):
        clip = clip_of(counts, levels)
        clipped = np.minimum(spikes, levels)

        def error(gain: float, clipped: np.ndarray = clipped) -> float:
            return float(counts @ (spikes - gain * clipped) ** 2 / (counts @ spikes**2))

        assert clip.error == pytest.approx(error(clip.gain))
        assert clip.error <= min(error(clip.gain * factor) for factor in (0.99, 1.01))
    assert clip == Clip(7, 1.0, 0.0)
    assert clip_of(np.array([40, 0, 0]), 1) == Clip(1, 1.0, 0.0)  # it never fires


def test_what_is_clipped() -> None:
    assert [layer.name for layer in graded_populations(NETWORK)] == POPULATIONS
    passing, taking = readers(NETWORK, "blocks.0.srwkv.lif") or ([], [])
    assert "blocks.0.srwkv.previous" in passing
    assert taking == [f"blocks.0.srwkv.{name}" for name in ("key", "value", "receptance")]
    found = clips(NETWORK, TOKENS[None, :])
    for name in POPULATIONS:
        assert [clip.levels for clip in found[name]] == [3, 4, 5, 6, 7]
        errors = [clip.error for clip in found[name]]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] == 0
    gains = largest_gains(NETWORK, found)
    assert gains["blocks.0.srwkv.key"] == max(c.gain for c in found["blocks.0.srwkv.lif"]) > 1
    leaky = random_network(RandomShape("spike-driven", 1, 16, 12, levels=3, voltage_decay=2048))
    upstream = random_network(RandomShape("upstream", 1, 16, 12))
    assert clips(leaky, TOKENS[None, :]) == clips(upstream, TOKENS[None, :]) == {}
    assert clips(SHIFTED, TOKENS[None, :]) == {}  # a shift counts any number of levels
    assert mean_levels(upstream) is None
    assert mean_levels(NETWORK) == 7


def test_spikes_are_cut_off_and_ports_carry_no_more() -> None:
    name = POPULATIONS[0]
    clip = clips(NETWORK, TOKENS[None, :])[name][0]
    clipped = clip_spikes(NETWORK, {name: clip})
    sent = []
    for network in (NETWORK, clipped):
        with EmulatorSession(network, trace=[name]) as session:
            session.score(TOKENS.tolist())
            sent.append(session.trace(name).copy())
    assert sent[0].max() > clip.levels  # else there was nothing to cut off
    assert np.array_equal(np.minimum(sent[0], clip.levels)[0], sent[1][0])
    passing, _ = readers(NETWORK, name) or ([], [])
    for layer in (name, *passing):
        assert (clipped[layer].output.payload, clipped[layer].output.bits) == ("graded", 2)
    binary = clip_spikes(NETWORK, {name: Clip(1, 2.0, 0.1)})
    assert (binary[name].output.payload, binary[name].output.bits) == ("binary", 1)
    before, after = NETWORK["blocks.0.srwkv.wkv"], binary["blocks.0.srwkv.wkv"]
    ratio = [
        layer.key_multiplier / 2.0**layer.key_shift  # type: ignore[attr-defined]
        for layer in (before, after)
    ]
    assert ratio[1] == pytest.approx(2 * ratio[0], rel=1e-4)


def test_what_cannot_be_clipped() -> None:
    for wrong in ("blocks.0.srwkv.key", "nothing"):
        with pytest.raises(InputError, match="no population"):
            clip_spikes(NETWORK, {wrong: Clip(1, 1.0, 0.0)})


def test_every_backend_computes_the_same_integers(tmp_path: Path) -> None:
    """Levels of 3, 5 and 1 (binary, a stock neuron where it can be) in one network, from a file."""
    found = clips(NETWORK, TOKENS[None, :])
    chosen = {POPULATIONS[0]: found[POPULATIONS[0]][0], POPULATIONS[1]: found[POPULATIONS[1]][2]}
    chosen[POPULATIONS[3]] = Clip(1, 1.5, 0.1)
    made = clip_spikes(NETWORK, chosen)
    write_network(made, tmp_path / "clipped.net")
    network = read_network(tmp_path / "clipped.net")
    assert network_digest(network) == network_digest(made)
    assert [x.levels for x in network.layers if isinstance(x, Lif)][:4] == [3, 5, 7, 1]
    for name in ("lava", "lava-fine"):
        result = verify(network, TOKENS[:24].tolist(), Emulator(), get_backend(name))
        assert result.equal, str(result.difference or result.counter_difference)
