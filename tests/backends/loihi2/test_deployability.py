"""The deployability report: nothing left out, counted against the weights themselves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spikegpt_neuro.backends.loihi2 import deployability as module
from spikegpt_neuro.backends.loihi2.deployability import deployability
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.network.layers import LAYER_KINDS, Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network

NETWORK = random_network(RandomShape(n_layer=2, n_embd=16, vocabulary_size=12))


def test_every_kind_of_layer_has_a_statement() -> None:
    assert set(module._NEEDS) == set(LAYER_KINDS)


def test_report_covers_every_layer_and_weight() -> None:
    report = deployability(NETWORK, load_profile("loihi2"))
    assert sum(kind.layers for kind in report.kinds) == len(NETWORK.layers)
    dense = [layer for layer in NETWORK.layers if isinstance(layer, Dense)]
    assert [synapses.name for synapses in report.synapses] == [layer.name for layer in dense]
    for synapses, layer in zip(report.synapses, dense, strict=True):
        assert synapses.odd_weights == sum(int(w) % 2 for w in layer.weight.reshape(-1))
        # doubled weights are even and in range, so the hardware's truncation changes nothing
        doubled = 2 * layer.weight.astype(np.int64)
        assert doubled.min() >= -256
        assert doubled.max() <= 254
        assert layer.bound < 1 << (layer.accumulator_bits - 1 - synapses.headroom_bits)
        assert layer.bound >= 1 << (layer.accumulator_bits - 2 - synapses.headroom_bits)
    needs = {kind.kind: kind.need for kind in report.kinds}
    assert needs["dense"] == "stock"
    assert needs["delay"] == "routing"
    assert needs["wkv"] == "microcode"
    assert "all accumulators proven; fits" in report.verdict
    assert report.to_dict()["verdict"] == report.verdict


def test_an_unproven_accumulator_shows_in_the_verdict() -> None:
    layers = [
        dataclasses.replace(layer, bound=1 << 24)  # type: ignore[call-arg]
        if layer.name == "head.projection" else layer
        for layer in NETWORK.layers
    ]  # fmt: skip
    changed = dataclasses.replace(NETWORK, layers=tuple(layers))
    report = deployability(changed, load_profile("loihi2"))
    assert "1 accumulators not proven" in report.verdict
    assert report.synapses[-1].headroom_bits == -2


def test_an_unknown_kind_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(module._NEEDS, "wkv")
    with pytest.raises(InputError, match="wkv"):
        deployability(NETWORK, load_profile("loihi2"))
