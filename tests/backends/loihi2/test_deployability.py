"""The deployability report: nothing left out, counted against the weights themselves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spikegpt_neuro.backends.loihi2 import deployability as module
from spikegpt_neuro.backends.loihi2.deployability import deployability
from spikegpt_neuro.backends.loihi2.specification import SPECIFICATIONS
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import list_profiles, load_profile
from spikegpt_neuro.network import Network, NetworkInfo, Port
from spikegpt_neuro.network.layers import LAYER_KINDS, Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.slayer_layers import Cuba, NetxDense, RasterInput, RecurrentCuba

NETWORK = random_network(RandomShape(n_layer=2, n_embd=16, vocabulary_size=12))
LOIHI2 = [load_profile("loihi2")]


def test_every_kind_of_layer_has_a_statement() -> None:
    assert set(SPECIFICATIONS) == set(LAYER_KINDS)
    for kind, specification in SPECIFICATIONS.items():
        assert specification.kind == kind
        assert specification.summary
        program = specification.need == "microcode"
        assert bool(specification.update) == program
        assert (specification.widest_bits > 0) == program
        assert bool(specification.evidence) == (specification.need == "stock")


def test_specified_state_and_operations_are_those_of_the_layers() -> None:
    for kind, specification in SPECIFICATIONS.items():
        layer = LAYER_KINDS[kind]
        assert specification.operations == dict(layer.operations_per_channel)
        if specification.need == "microcode":
            assert len(specification.state) == layer.state_words_per_channel
            # per-channel arrays that are not weights are the program's parameters
            arrays = [n for n, spec in layer.array_specs().items() if spec.dtype == "int32"]
            assert len(specification.parameters) == len(arrays), kind
            assert set(specification.operations) <= {"add", "multiply", "shift", "compare", "table"}
            assert ("table" in specification.operations) <= bool(specification.tables)


def test_report_covers_every_layer_and_weight() -> None:
    report = deployability(NETWORK, LOIHI2)
    assert sum(kind.layers for kind in report.kinds) == len(NETWORK.layers)
    dense = [layer for layer in NETWORK.layers if isinstance(layer, Dense)]
    assert [synapses.name for synapses in report.synapses] == [layer.name for layer in dense]
    for synapses, layer in zip(report.synapses, dense, strict=True):
        assert synapses.odd_weights == sum(int(w) % 2 for w in layer.weight.reshape(-1))
        assert (synapses.sign_mode, synapses.passed) == ("mixed", "doubled, exponent -1")
        assert synapses.weight_bits == 8
        # doubled weights are even and in range, so the hardware's truncation changes nothing
        doubled = 2 * layer.weight.astype(np.int64)
        assert doubled.min() >= -256
        assert doubled.max() <= 254
        assert layer.bound < 1 << (layer.accumulator_bits - 1 - synapses.headroom_bits)
        assert layer.bound >= 1 << (layer.accumulator_bits - 2 - synapses.headroom_bits)
    needs = {kind.kind: kind for kind in report.kinds}
    assert needs["dense"].need == "stock"
    assert needs["delay"].need == "routing"
    assert needs["binary_embedding"].need == "host"
    assert needs["wkv"].need == "microcode"
    assert (needs["wkv"].state_words, needs["wkv"].state_bits) == (3, 32)
    values = report.to_dict()
    assert set(values["specifications"]) == {
        kind.kind for kind in report.kinds if kind.need == "microcode"
    }
    assert values["specifications"]["wkv"]["state"][0] == ("numerator", 32, 0)
    (verdict,) = report.verdicts
    assert "all accumulators proven; fits" in verdict.sentence
    assert verdict.fits


def test_a_verdict_for_every_profile() -> None:
    profiles = [load_profile(name) for name in list_profiles()]
    verdicts = {v.profile: v for v in deployability(NETWORK, profiles).verdicts}
    assert list(verdicts) == list(list_profiles())
    assert verdicts["loihi2"].fits
    assert not verdicts["truenorth"].fits
    assert any("graded_spikes" in violation for violation in verdicts["truenorth"].violations)
    assert verdicts["cmos45-int8"].sentence == "cmos45-int8: has no limits: nothing to fit"


def chain(weight: np.ndarray, back: np.ndarray) -> Network:
    spikes = Port(2, "binary", 1, False, 1.0)
    zero = np.zeros(2, np.int32)
    layers = (
        RasterInput("input.raster", (), dataclasses.replace(spikes, size=3)),
        NetxDense("b.synapse", ("input.raster",), Port(2, "accumulator", 32, True, 1.0), weight),
        RecurrentCuba("b.neuron", ("b.synapse",), spikes, zero, 1024, 300, 90, back),
        NetxDense("c.synapse", ("b.neuron",), Port(2, "accumulator", 32, True, 1.0), back),
        Cuba("c.neuron", ("c.synapse",), spikes, zero, 1024, 300, 90),
    )
    return Network(NetworkInfo("chain", 0, 3, 2), layers)


def test_chains_are_stock_and_their_signs_and_sums_are_told() -> None:
    weight = np.array([[1, 3, 255], [0, 2, 4]], np.int16)
    back = np.array([[-4, 5], [0, 2]], np.int16)
    report = deployability(chain(weight, back), LOIHI2)
    assert {kind.need for kind in report.kinds} == {"host", "stock"}
    first, recurrent, last = report.synapses
    assert (first.sign_mode, first.weight_bits, first.bound, first.passed) == (
        "excitatory", 8, 259, "as they are",
    )  # fmt: skip
    assert (recurrent.kind, recurrent.sign_mode, recurrent.bound, recurrent.odd_weights) == (
        "recurrent_cuba", "mixed", 9, 1,
    )  # fmt: skip
    assert (last.passed, last.headroom_bits) == ("doubled, exponent -1", 24 - 1 - 4)
    assert "stock throughout" in report.verdicts[0].sentence


def test_an_unproven_accumulator_shows_in_the_verdict() -> None:
    layers = [
        dataclasses.replace(layer, bound=1 << 24)  # type: ignore[call-arg]
        if layer.name == "head.projection" else layer
        for layer in NETWORK.layers
    ]  # fmt: skip
    changed = dataclasses.replace(NETWORK, layers=tuple(layers))
    report = deployability(changed, LOIHI2)
    assert "1 accumulators not proven" in report.verdicts[0].sentence
    assert report.synapses[-1].headroom_bits == -2


def test_an_unknown_kind_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {kind: value for kind, value in SPECIFICATIONS.items() if kind != "wkv"}
    monkeypatch.setattr(module, "SPECIFICATIONS", known)
    with pytest.raises(InputError, match="wkv"):
        deployability(NETWORK, LOIHI2)
