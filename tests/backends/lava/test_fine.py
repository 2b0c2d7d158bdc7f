"""The fine Lava graph against the emulator and the fused graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.backends.lava.fine.session import FineSession
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.decomposition.schedule import arrivals, schedule
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.network.layers import Lif, VariedLif
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.verification import verify

TOKENS = np.random.default_rng(3).integers(0, 12, 48).tolist()
LAYOUTS = ("upstream", "leaky", "memoryless")


CHOICES: dict[str, dict[str, Any]] = {
    "leaky": {"decay_4096": 3000, "levels_hidden": 1, "levels_head": 2, "norm": "batch"},
    "memoryless": {"decay_4096": 4096, "embedding": "real"},
}


def with_own_decays(layer: Lif) -> VariedLif:
    values = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    decays = np.random.default_rng(5).integers(0, 4097, layer.output.size).astype(np.int32)
    return VariedLif(**{**values, "voltage_decay": decays})


def network_of(layout: str, folder: Path) -> Network:
    """Upstream; spike-driven with leaky graded neurons; spike-driven with memoryless ones."""
    if layout == "upstream":
        return random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=12))
    if layout == "ternary":
        return random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=12, weight_bits=2))
    if layout == "decays of channels":
        network = random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=12))
        layers = [with_own_decays(x) if isinstance(x, Lif) else x for x in network.layers]
        return dataclasses.replace(network, layers=tuple(layers))
    if layout == "4-bit spikes":
        return random_network(
            RandomShape("spike-driven", 1, 16, 12, firing=0.3, levels=3, weight_bits=4)
        )
    torch.manual_seed(1)
    configuration = SpikeGPTConfiguration("spike-driven", 1, 16, 12, **CHOICES[layout])
    model = SpikeGPT(configuration)
    initialise(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=1.0 if name == "emb.weight" else parameter.shape[1] ** -0.5)
    torch.save(
        {
            "format": "spikegpt-neuro",
            "configuration": configuration.to_dict(),
            "state_dict": model.state_dict(),
        },
        folder / "model.pth",
    )
    export_checkpoint(folder / "model.pth", folder / "model.net", calibration=TOKENS)
    return read_network(folder / "model.net")


@pytest.mark.parametrize("layout", [*LAYOUTS, "ternary", "4-bit spikes", "decays of channels"])
def test_pipelined_fine_graph_equals_emulator_and_fused_graph(layout: str, tmp_path: Path) -> None:
    network = network_of(layout, tmp_path)
    fine = get_backend("lava-fine")
    for other in (Emulator(), get_backend("lava")):
        result = verify(network, TOKENS, other, fine)
        assert result.equal, str(result.difference or result.counter_difference)
        assert result.values_compared == len(TOKENS) * sum(x.output.size for x in network.layers)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fall_through_reset_and_pipelined_give_the_same_integers(
    layout: str, tmp_path: Path
) -> None:
    network = network_of(layout, tmp_path)
    traced = network.spiking_layers
    with Emulator().open(network, trace=traced) as session:
        expected = session.score(TOKENS[:12])
        spikes = {name: session.trace(name)[-1] for name in traced}
        session.reset()
        session.score(TOKENS[:5])
        session.score(TOKENS[5:12])
        counts = session.counters
    with FineSession(network, trace=traced) as session:
        steps = np.stack([session.step(token) for token in TOKENS[:12]])
        assert np.array_equal(steps, expected)
        assert all(np.array_equal(session.trace(name)[0], spikes[name]) for name in traced)
        session.reset()
        # pipelined and fall-through pieces of one text follow each other
        mixed = np.concatenate([session.score(TOKENS[:5]), [session.step(TOKENS[5])]])
        assert np.array_equal(mixed, expected[:6])
        assert np.array_equal(session.score(TOKENS[6:12]), expected[6:])
        assert session.counters == counts


def test_a_changed_weight_is_found_in_either_mode(tmp_path: Path) -> None:
    """The comparison can fail: one weight of one layer differs, and that layer is named."""
    network = network_of("memoryless", tmp_path)
    changed = network["blocks.0.srffn.value"]
    weight = changed.weight.copy()  # type: ignore[attr-defined]
    weight[3] = -weight[3]
    layers = tuple(
        dataclasses.replace(layer, weight=weight) if layer is changed else layer  # type: ignore[call-arg]
        for layer in network.layers
    )
    other = dataclasses.replace(network, layers=layers)
    found = verify(
        network, TOKENS[:12], Emulator(), get_backend("lava-fine"), right_network=other,
        fall_through=True,
    )  # fmt: skip
    assert found.difference is not None
    assert (found.difference.layer, found.difference.index) == (changed.name, 3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_delays_balance_every_way_through_the_graph(layout: str, tmp_path: Path) -> None:
    network = network_of(layout, tmp_path)
    planned = schedule(network)
    elements = {element.name: element for element in planned.elements}
    arrival = arrivals(elements)
    delayed = 0
    for element in elements.values():
        arrived = {arrival[source] for port in element.inputs for source in port}
        assert len(arrived) == 1, element.name
        assert arrival[element.name] == arrived.pop() + element.latency
        delayed += element.latency * element.size if element.program == "delay" else 0
    assert planned.delay_words == delayed > 0
    assert planned.depth == arrival[network.layers[-1].name]
    for stage in planned.stages:
        for sources, step in stage.taps.values():
            assert {arrival[source] for source in sources} == {step}


def test_every_source_is_built_before_its_readers(tmp_path: Path) -> None:
    for layout in LAYOUTS:
        built = {TOKEN}
        for stage in schedule(network_of(layout, tmp_path)).stages:
            for element in stage.elements:
                assert {s for port in element.inputs for s in port} <= built
                built.add(element.name)
