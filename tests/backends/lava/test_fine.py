"""The fine Lava graph against the emulator and the fused graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.backends.lava.fine import FineSession
from spikegpt_neuro.backends.lava.schedule import available_at, delay_words, plan_neurons
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.verification import verify

TOKENS = np.random.default_rng(3).integers(0, 12, 48).tolist()


def upstream() -> Network:
    return random_network(RandomShape(n_layer=2, n_embd=16, vocabulary_size=12))


def spike_driven(folder: Path) -> Network:
    """A random spike-driven model with leaky graded neurons, exported."""
    torch.manual_seed(1)
    configuration = SpikeGPTConfiguration(
        "spike-driven", 2, 16, 12, decay_4096=3000, levels_hidden=1, levels_head=2
    )
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


@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
def test_pipelined_fine_graph_equals_emulator_and_fused_graph(layout: str, tmp_path: Path) -> None:
    network = upstream() if layout == "upstream" else spike_driven(tmp_path)
    fine = get_backend("lava-fine")
    for other in (Emulator(), get_backend("lava")):
        result = verify(network, TOKENS, other, fine)
        assert result.equal, str(result.difference or result.counter_difference)
        assert len(result.layers) == len(network.layers)


@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
def test_fall_through_reset_and_pipelined_give_the_same_integers(
    layout: str, tmp_path: Path
) -> None:
    network = upstream() if layout == "upstream" else spike_driven(tmp_path)
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


def test_levels_balance_every_way_through_the_graph() -> None:
    network = upstream()
    plans, arrival = plan_neurons(network), available_at(network)
    for layer in network.layers:
        for i, source in enumerate(s for s in layer.inputs if s != "token"):
            if isinstance(layer, Dense):
                assert arrival[layer.name] == arrival[source] + 1
            else:
                assert arrival[source] + plans[layer.name].delays[i] == plans[layer.name].level
    # an SRWKV has two dense layers on its longest way, an SRFFN two, the head one
    assert arrival["head.readout"] == 2 * (2 + 2) + 1
    # the residual stream waits for both parts of both blocks, the gate of each SRFFN for one step
    assert delay_words(plans, network) == 16 * (4 * 2 + 2 * 1)
    fed = [dense.name for plan in plans.values() for dense in plan.feeds]
    collected = [dense.name for plan in plans.values() for _, dense in plan.collects]
    dense = sorted(layer.name for layer in network.layers if isinstance(layer, Dense))
    assert sorted(fed) == sorted(collected) == dense
