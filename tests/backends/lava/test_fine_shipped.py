"""The fine graph of the shipped models: which processes it is made of, and the emulator's integers.

In fall-through a token takes as many time steps as the graph is deep, so only a few tokens are run
here; see docs/backends.md for the commands that run more.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.decomposition.schedule import Schedule, schedule
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.verification import verify
from spikegpt_neuro.vocabulary import read_vocabulary

EXAMPLES = Path(__file__).parents[3] / "examples"
MODELS = {
    "upstream": "kjv-4x192/kjv-4x192.pth",
    "binary": "spike-driven-binary/binary.pt",
    "graded": "spike-driven-graded/graded.pt",
}


@pytest.fixture(scope="module")
def tokens() -> list[int]:
    vocabulary = read_vocabulary(EXAMPLES / "kjv-4x192" / "kjv-4x192.vocab.json")
    text = (EXAMPLES / "kjv-4x192" / "kjv-valid.txt").read_text(encoding="ascii")
    return [int(token) for token in vocabulary.encode(text[:4096])]


@pytest.fixture(scope="module")
def networks(tokens: list[int], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    folder = tmp_path_factory.mktemp("shipped")
    for name, checkpoint in MODELS.items():
        export_checkpoint(EXAMPLES / checkpoint, folder / f"{name}.net", calibration=tokens)
    return {name: read_network(folder / f"{name}.net") for name in MODELS}


def _programs(planned: Schedule) -> dict[str, Counter[str]]:
    return {stage.name: Counter(e.program for e in stage.elements) for stage in planned.stages}


@pytest.mark.parametrize(("name", "count"), [("upstream", 256), ("binary", 16), ("graded", 256)])
def test_pipelined(name: str, count: int, networks: dict[str, Network], tokens: list[int]) -> None:
    network = networks[name]
    result = verify(network, tokens[:count], Emulator(), get_backend("lava-fine"))
    assert result.equal, str(result.difference or result.counter_difference)
    assert result.values_compared == count * sum(x.output.size for x in network.layers)


def test_the_fused_graph_of_a_spike_driven_model(
    networks: dict[str, Network], tokens: list[int]
) -> None:
    """That of the upstream model is held against the emulator in test_fused.py."""
    result = verify(networks["graded"], tokens[:256], Emulator(), get_backend("lava"))
    assert result.equal, str(result.difference or result.counter_difference)


@pytest.mark.parametrize("name", ["upstream", "graded"])
def test_fall_through(name: str, networks: dict[str, Network], tokens: list[int]) -> None:
    network = networks[name]
    fine = get_backend("lava-fine")
    result = verify(network, tokens[:3], Emulator(), fine, fall_through=True)
    assert result.equal, str(result.difference or result.counter_difference)


def test_an_upstream_block_is_made_of_these_processes(networks: dict[str, Network]) -> None:
    planned = schedule(networks["upstream"])
    # two steps a norm, one a projection in a row, one for the spikes' way into the stream
    assert planned.depth == (1 + 2) + 4 * 2 * (2 + 2 + 1) + (2 + 1)
    found = _programs(planned)
    assert found["embedding"] == {"dense": 1, "layer_norm": 1}
    assert found["blocks.0.srwkv"] == {
        "layer_norm": 1, "hold": 1, "rescale": 3, "dense": 4, "wkv": 1, "sigmoid": 1,
        "scaled_product": 1, "leaky_lif": 1, "sparse": 1, "delay": 1, "graded": 1,
    }  # fmt: skip
    assert found["blocks.0.srffn"] == {
        "layer_norm": 1, "hold": 1, "rescale": 2, "dense": 3, "sigmoid": 1, "squared_relu": 1,
        "scaled_product": 1, "leaky_lif": 1, "sparse": 1, "delay": 2, "graded": 1,
    }  # fmt: skip
    stream = next(e for e in planned.elements if e.name == "blocks.0.srwkv.residual")
    assert stream.inputs == (
        ("blocks.0.srwkv/embedding.norm.delay_5", "blocks.0.srwkv.residual.gain"),
    )


@pytest.mark.parametrize("name", ["binary", "graded"])
def test_spikes_are_one_population_and_hard_shifts_are_wiring(
    name: str, networks: dict[str, Network]
) -> None:
    network = networks[name]
    planned = schedule(network)
    found = sum(_programs(planned).values(), Counter())
    assert found["lif"] + found["memoryless_lif"] == len(network.spiking_layers)
    shifts = {layer.name for layer in network.layers if layer.kind == "token_shift"}
    assert shifts
    assert not shifts & {element.name for element in planned.elements}
    halves = [e for e in planned.elements if e.name.startswith("blocks.0.srwkv.key.")]
    together = sum(e.parameters["weight"] * e.parameters["columns"] for e in halves)
    assert np.array_equal(together, network["blocks.0.srwkv.key"].weight)  # type: ignore[attr-defined]
