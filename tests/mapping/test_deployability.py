"""The deployability report: nothing left out, counted against the weights themselves."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from spikegpt_neuro.decomposition.neuron_programs import OWN_NEURONS, programs_of
from spikegpt_neuro.decomposition.stock_plan import STOCK_FORMS
from spikegpt_neuro.errors import IncompleteKind
from spikegpt_neuro.hardware_profiles import list_profiles, load_profile
from spikegpt_neuro.mapping.deployability import deployability
from spikegpt_neuro.network import LAYER_KINDS, Chain, ChainInfo, Network, Port
from spikegpt_neuro.network.layers import Dense, Lif, Residual, VariedLif
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.slayer_layers import (
    Cuba,
    LeakyIntegrator,
    NetxDense,
    RasterInput,
    RecurrentCuba,
)

NETWORK = random_network(RandomShape(n_layer=2, n_embd=16, vocabulary_size=12))
LOIHI2 = [load_profile("loihi2")]


def voltage_chain() -> Chain:
    raster = RasterInput("in", (), Port(2, "binary", 1, False, 1.0))
    synapse = NetxDense(
        "a", ("in",), Port(2, "accumulator", 32, True, 1.0), np.eye(2, dtype=np.int16)
    )
    port = Port(2, "graded", 24, True, 1.0)
    voltage = LeakyIntegrator("b", ("a",), port, np.zeros(2, np.int32), 4096, 100)
    return Chain(ChainInfo(), (raster, synapse, voltage))


def with_own_decays(layer: Lif) -> VariedLif:
    values = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    return VariedLif(**{**values, "voltage_decay": np.arange(layer.output.size, dtype=np.int32)})


def test_every_kind_of_layer_has_a_statement() -> None:
    told = {name for name, kind in LAYER_KINDS.items() if STOCK_FORMS.takes(kind)}
    shapes = (
        RandomShape(n_layer=1, n_embd=8, vocabulary_size=5, ffn_pre=True),
        RandomShape("spike-driven", n_layer=1, n_embd=8, vocabulary_size=5, levels=3),
    )
    for shape in shapes:
        kinds = deployability(random_network(shape), LOIHI2).kinds
        assert all(kind.need in ("stock", "own", "routing", "host") for kind in kinds)
        told |= {kind.kind for kind in kinds}
    told |= {kind.kind for kind in deployability(voltage_chain(), LOIHI2).kinds}
    layers = [with_own_decays(x) if isinstance(x, Lif) else x for x in NETWORK.layers]
    varied = dataclasses.replace(NETWORK, layers=tuple(layers))
    told |= {kind.kind for kind in deployability(varied, LOIHI2).kinds}
    assert told | {"real_embedding"} == set(LAYER_KINDS)


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
        assert NETWORK.bound(layer) < 1 << (layer.accumulator_bits - 1 - synapses.headroom_bits)
        assert NETWORK.bound(layer) >= 1 << (layer.accumulator_bits - 2 - synapses.headroom_bits)
    needs = {kind.kind: kind for kind in report.kinds}
    assert (needs["dense"].need, needs["dense"].processes) == (
        "stock", ("lava.proc.dense.Dense",),
    )  # fmt: skip
    (evidence,) = needs["dense"].evidence
    assert evidence.startswith("lava.proc.dense.Dense: PilotNet LIF")
    assert (needs["delay"].need, needs["delay"].processes) == ("own", ("hold",))
    assert (needs["binary_embedding"].need, needs["binary_embedding"].processes) == ("host", ())
    assert (needs["wkv"].need, needs["wkv"].processes) == ("own", ("wkv",))
    assert set(needs["layer_norm"].processes) == {
        "normalise", "reciprocal_root", "lava.proc.sparse.Sparse",
    }  # fmt: skip
    # the programs are those of the fine graph, but for the embedding's synapses
    everything = programs_of(NETWORK)
    assert set(report.programs) == set(everything)
    for name, use in everything.items():
        on_host = 1 if name == "dense" else 0
        assert report.programs[name].processes == use.processes - on_host
    assert everything["dense"].neurons - report.programs["dense"].neurons == 16
    values = json.loads(json.dumps(report.to_dict()))["programs"]
    assert {name for name, entry in values.items() if not entry["stock"]} == (
        set(everything) & set(OWN_NEURONS)
    )
    wkv, entry = values["wkv"], OWN_NEURONS["wkv"]
    assert wkv["states"][0] == {
        "name": "numerator", "bits": 32, "signed": True, "meaning": "weighted sum of values",
    }  # fmt: skip
    assert (wkv["state_bits"], wkv["payload_bits"], wkv["widest_intermediate_bits"]) == (77, 16, 48)
    assert (wkv["equation"], wkv["operations"]) == (entry.equation, entry.operations)
    assert wkv["neurons"] == 2 * 16
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
    return Chain(ChainInfo(), layers)


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
        dataclasses.replace(layer, accumulator_bits=14)  # type: ignore[call-arg]
        if layer.name == "head.projection" else layer
        for layer in NETWORK.layers
    ]  # fmt: skip
    changed = dataclasses.replace(NETWORK, layers=tuple(layers))
    report = deployability(changed, LOIHI2)
    assert "1 accumulators not proven" in report.verdicts[0].sentence
    assert report.synapses[-1].headroom_bits == -4  # sums up to 77,089 need 18 bits


def test_an_unknown_kind_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {kind: form for kind, form in STOCK_FORMS._entries.items() if kind is not Cuba}
    monkeypatch.setattr(STOCK_FORMS, "_entries", entries)
    weight = np.ones((2, 2), np.int16)
    with pytest.raises(IncompleteKind, match="'cuba' is not known to stock Lava processes"):
        deployability(chain(weight[:, [0, 0, 1]], weight), LOIHI2)


def test_a_network_without_a_fine_graph_is_told_why() -> None:
    layers = tuple(
        dataclasses.replace(layer, shift=np.full_like(layer.shift, 31))
        if isinstance(layer, Residual) else layer
        for layer in NETWORK.layers
    )  # fmt: skip
    report = deployability(dataclasses.replace(NETWORK, layers=layers), LOIHI2)
    assert {kind.need for kind in report.kinds} == {"host", "none"}
    assert (report.programs, len(report.synapses) > 0) == ({}, True)
    (verdict,) = report.verdicts
    assert not verdict.fits
    assert all("shifts up to 31, at most 30" in violation for violation in verdict.violations)


def test_memoryless_binary_neurons_and_hard_token_shifts_need_no_program() -> None:
    shape = RandomShape("spike-driven", n_layer=1, n_embd=8, vocabulary_size=5, levels=1)
    network = random_network(shape)
    needs = {kind.kind: kind for kind in deployability(network, LOIHI2).kinds}
    assert (needs["token_shift"].need, needs["token_shift"].processes) == ("routing", ())
    assert "lava.proc.sparse.Sparse" in needs["dense"].processes
    layers = tuple(
        dataclasses.replace(layer, voltage_decay=4096) if isinstance(layer, Lif) else layer
        for layer in network.layers
    )
    memoryless = dataclasses.replace(network, layers=layers)
    (before,) = [k for k in deployability(network, LOIHI2).kinds if k.kind == "lif"]
    (after,) = [k for k in deployability(memoryless, LOIHI2).kinds if k.kind == "lif"]
    assert "leaky_lif" in before.processes
    assert "leaky_lif" not in after.processes
    assert "lava.proc.lif.LIFReset" in after.processes


def test_a_chain_says_which_of_its_layers_have_no_stock_process() -> None:
    report = deployability(voltage_chain(), LOIHI2)
    assert {kind.kind: kind.need for kind in report.kinds}["leaky_integrator"] == "own"
    assert "needs neuron programs for leaky_integrator" in report.verdicts[0].sentence
