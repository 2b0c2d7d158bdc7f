"""Our networks in NeuroBench: its figures and our own counters of the same run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.connections import Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.neurobench import (
    BitsPerToken,
    FloatModel,
    IntegerModel,
    NextTokens,
    counted,
    measure,
)
from spikegpt_neuro.scoring import score_tokens

ROOT = Path(__file__).parents[2]
CONTEXT = 16
LAYOUTS: dict[str, dict[str, Any]] = {
    "upstream": {"layout": "upstream"},
    "rwkv": {"layout": "rwkv"},
    "binary": {"layout": "spike-driven", "levels": 1},
    "graded": {"layout": "spike-driven", "levels": 3},
}


def text(count: int = 3 * CONTEXT + 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).integers(0, 50, count))


@pytest.mark.parametrize("name", LAYOUTS)
def test_its_figures_are_our_counts(name: str) -> None:
    network = random_network(RandomShape(**LAYOUTS[name], n_layer=2, n_embd=32))
    with IntegerModel(network) as model:
        found = measure(model, text(), CONTEXT, batch=3)
        own = counted(model)
    assert model.windows == 3
    assert found["Footprint"] == own.footprint
    assert found["ConnectionSparsity"] == pytest.approx(own.connection_sparsity, abs=5e-5)
    # NeuroBench's is weighted by batches, which rounds once more
    assert found["ActivationSparsity"] == pytest.approx(own.activation_sparsity, rel=1e-12)
    operations = found["SynapticOperations"]
    assert operations["Dense"] == own.dense
    both = operations["Effective_MACs"] + operations["Effective_ACs"]
    assert both == own.effective_macs + own.effective_acs > 0
    # NeuroBench decides window by window whether operands were all 0 and +-1, we once for all
    assert operations["Effective_ACs"] >= own.effective_acs
    if name == "binary":
        assert own.effective_acs > 0
    if name == "rwkv":
        assert found["ActivationSparsity"] == 0.0


def test_weights_of_few_bits_are_packed_only_in_our_count() -> None:
    network = random_network(RandomShape(layout="upstream", n_layer=1, n_embd=128, weight_bits=2))
    with IntegerModel(network) as model:
        found = measure(model, text(), CONTEXT)
        own = counted(model)
    weights = sum(np.asarray(x.weight).size for x in network.layers if isinstance(x, Dense))
    assert 0.7 * weights < found["Footprint"] - own.footprint < weights


def test_bits_are_those_of_score() -> None:
    network = random_network(RandomShape(layout="upstream", n_layer=1, n_embd=32))
    tokens = text()
    with IntegerModel(network) as model:
        found = measure(model, tokens, CONTEXT, batch=2)["BitsPerToken"]
    with Emulator().open_model(network) as session:
        scoring = score_tokens(
            session, tokens.numpy(), logit_scale=network.logit_scale,
            vocabulary_size=network.info.vocabulary_size, context=CONTEXT, limit=3 * CONTEXT,
        )  # fmt: skip
    assert found == pytest.approx(scoring.bits_per_token, rel=1e-12)


def test_lava_gives_the_same_figures() -> None:
    network = random_network(RandomShape(layout="spike-driven", n_layer=1, n_embd=16))
    results = []
    for backend in ("emulator", "lava"):
        with IntegerModel(network, backend) as model:
            results.append((measure(model, text(CONTEXT + 1), CONTEXT), counted(model)))
    assert results[0] == results[1]


def test_the_float_model() -> None:
    torch.manual_seed(1)
    model = SpikeGPT(SpikeGPTConfiguration("upstream", 2, 16, 50))
    initialise(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    spikes: list[torch.Tensor] = []

    def see(name: str, value: torch.Tensor) -> None:
        if name.endswith(".lif"):
            spikes.append(value)

    with torch.inference_mode():
        for window, _ in NextTokens(text(), CONTEXT):
            model(window[None], observe=see)
    found = measure(FloatModel(model), text(), CONTEXT, batch=3)
    assert found["ParameterCount"] == sum(p.numel() for p in model.parameters())
    assert found["Footprint"] == 4 * found["ParameterCount"]
    zeros = sum(int((s == 0).sum()) for s in spikes) / sum(s.numel() for s in spikes)
    assert 0 < zeros < 1
    assert found["ActivationSparsity"] == pytest.approx(zeros, abs=1e-3)  # sums in another order
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    products = sum(m.weight.numel() for m in linear)
    assert found["SynapticOperations"]["Dense"] == CONTEXT * products


def test_a_module_that_differs_from_the_backend_is_seen() -> None:
    network = random_network(RandomShape(layout="upstream", n_layer=1, n_embd=16))
    with IntegerModel(network) as model, torch.no_grad():
        weight = model.net.projections["head/projection"].weight
        weight[0, :] = 99
        with pytest.raises(RuntimeError, match=r"head\.projection"):
            measure(model, text(), CONTEXT)

    class Silent(Emulator):
        def traceable(self, network: Network) -> tuple[str, ...]:
            return tuple(network.by_name)[:3]

    with pytest.raises(InputError, match=r"shows too little[\s\S]*head\.projection"):
        IntegerModel(network, Silent())


def test_windows_and_their_targets() -> None:
    windows = NextTokens(torch.arange(11), 4)
    assert [(a.tolist(), b.tolist()) for a, b in windows] == [
        ([0, 1, 2, 3], [1, 2, 3, 4]), ([4, 5, 6, 7], [5, 6, 7, 8]),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no window of 11"):
        NextTokens(torch.arange(11), 11)
    metric = BitsPerToken()
    even = torch.zeros(2, 3, 8)
    assert metric(None, even, (even, torch.zeros(2, 3, dtype=torch.int64))) == pytest.approx(3.0)
    metric.reset()
    assert metric.compute() == 0.0


def test_the_task_stands_alone() -> None:
    # so that it can be handed to NeuroBench as it is
    path = ROOT / "spikegpt_neuro" / "neurobench" / "task.py"
    assert "spikegpt_neuro" not in path.read_text()
    spec = importlib.util.spec_from_file_location("task", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert len(module.NextTokens(torch.arange(9), 4)) == 2


def test_without_neurobench_it_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['neurobench'] = None\n"
        "try:\n"
        "    import spikegpt_neuro.neurobench\n"
        "except Exception as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install --no-deps neurobench==2.3.0" in done.stdout
