"""Neurons with trained parameters: float model and export compute the fork's function."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.converters.checkpoint import read_checkpoint
from spikegpt_neuro.converters.export import export_checkpoint, float_configuration
from spikegpt_neuro.converters.export_report import ExportOptions
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model import lif as lif_module
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.passage import Passage
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.network.layers import Lif, VariedLif

BLOCKS, SIZE, TOKENS = 2, 32, 20
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def released(ffn_pre: bool = False) -> SpikeGPT:
    torch.manual_seed(0)
    model = SpikeGPT(SpikeGPTConfiguration("upstream", BLOCKS, SIZE, TOKENS, ffn_pre=ffn_pre))
    initialise(model)
    for name, parameter in model.named_parameters():
        if name.endswith(("output.weight", "value.weight", "key.weight", "receptance.weight")):
            torch.nn.init.normal_(parameter, std=0.6)
    return model.eval()


def parametric(values: dict[str, Tensor], where: str) -> Step:
    """SpikingJelly 0.0.0.0.14, ``ParametricLIFNode``: ``v += (x - v) sigmoid(w)``, hard reset."""
    w, threshold = values[f"{where}.w"], values.get(f"{where}.v_threshold", torch.tensor(1.0))

    def step(v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        h = v + (x - v) * torch.sigmoid(w)
        s = (h >= threshold).float()
        return s, h * (1 - s)

    return step


def learnable(values: dict[str, Tensor], where: str) -> Step:
    """SpikeRuGPT's ``LearnableLIFNode``: ``v = v / tau + x``, a spike subtracts the threshold."""
    tau = 1 + torch.nn.functional.softplus(values[f"{where}.log_tau"])
    threshold = torch.nn.functional.softplus(values[f"{where}.log_threshold"])

    def step(v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        h = v / tau + x
        s = (h >= threshold).float()
        return s, h - s * threshold

    return step


def drawn(kind: str) -> dict[str, Tensor]:
    """Parameters of every population; decays are multiples of 1/4096, as the integers hold them."""
    generator = torch.Generator().manual_seed(3)
    values = {}
    for block in range(BLOCKS):
        for which in (1, 2):
            where = f"blocks.{block}.lif{which}"
            channels = (SIZE,) if kind.endswith("of channels") else ()
            decay = torch.randint(800, 3600, channels, generator=generator).double() / 4096
            if kind.startswith("parametric"):
                values[f"{where}.w"] = torch.logit(decay).float()
                values[f"{where}.v_threshold"] = torch.rand(SIZE, generator=generator) + 0.5
                values[f"{where}.v"] = torch.zeros(3, SIZE)
            else:
                softplus = 1 / (1 - decay) - 1
                values[f"{where}.log_tau"] = torch.log(torch.expm1(softplus)).float()
                values[f"{where}.log_threshold"] = torch.rand((), generator=generator)
    return values


def forks_logits(
    model: SpikeGPT, make: Callable[..., Step], values: Any, tokens: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> Tensor:  # fmt: skip
    """The released model with the fork's neurons in place of its own."""

    def run(self: Passage, name: str, current: Tensor, neuron: Any) -> Tensor:
        block, part = name.split(".")[1:3]
        step = make(values, f"blocks.{block}.lif{2 if part == 'srffn' else 1}")
        v = torch.zeros_like(current[:, 0])
        spikes = []
        for x in current.unbind(1):
            s, v = step(v, x)
            spikes.append(s)
        return torch.stack(spikes, 1)

    with monkeypatch.context() as patch:
        patch.setattr(Passage, "lif", run)
        with torch.no_grad():
            return model(tokens)[0]


@pytest.mark.parametrize("ffn_pre", [False, True])
@pytest.mark.parametrize(
    "kind",
    ["parametric", "learnable", "parametric, of channels", "learnable, of channels"],
)
def test_neurons_with_parameters_of_their_own(
    kind: str, ffn_pre: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, values = released(ffn_pre), drawn(kind)
    torch.save({**model.state_dict(), **values}, tmp_path / "fork.pth")
    tokens = torch.randint(TOKENS, (1, 200), generator=torch.Generator().manual_seed(1))
    expected = forks_logits(model, globals()[kind.split(",")[0]], values, tokens, monkeypatch)
    with torch.no_grad():
        assert not torch.allclose(model(tokens)[0], expected, atol=0.1)

    read = read_checkpoint(tmp_path / "fork.pth")
    assert "4 populations of neurons" in " ".join(read.notes)
    own = SpikeGPT(float_configuration(read)).eval()
    own.load_state_dict(dict(read.tensors))
    with torch.no_grad():
        found = own(tokens)[0]
    # a spike at the threshold may round the other way; later tokens then differ
    same = torch.isclose(found, expected, atol=1e-3).all(-1).float().mean()
    assert same > 0.97

    options = ExportOptions(embedding="binary")
    export_checkpoint(read, tmp_path / "fork.net", calibration=tokens[0].tolist(), options=options)
    network = read_network(tmp_path / "fork.net")
    wanted = VariedLif if kind.endswith("of channels") else Lif
    neurons = [layer for layer in network.layers if isinstance(layer, wanted)]
    configuration = float_configuration(read)
    for layer, decay in zip(neurons, configuration.branch_decays, strict=True):
        assert np.array_equal(layer.voltage_decay, decay)
    assert {layer.soft_reset for layer in neurons} == {int(kind.startswith("learnable"))}
    with Emulator().open(network) as session:
        integers = torch.from_numpy(session.score(tokens[0].tolist())) * network.logit_scale
    error = (integers - found[0]).abs().mean(-1)
    assert error[:2].min() < 0.01 * found.std()
    assert error.median() < 0.25 * found.std()  # spikes that quantisation moved add up


def test_the_integers_leak_as_the_fork_does(tmp_path: Path) -> None:
    """A decay is held in 12 bits: nearest, and exact where it is a multiple of 1/4096."""
    values = drawn("parametric")
    torch.save({**released().state_dict(), **values}, tmp_path / "fork.pth")
    decays = read_checkpoint(tmp_path / "fork.pth").architecture.known["branch_decays"]
    names = [f"blocks.{block}.lif{which}.w" for block in range(BLOCKS) for which in (1, 2)]
    assert [torch.sigmoid(values[name]).item() * 4096 for name in names] == pytest.approx(
        decays, abs=1e-3
    )


def test_buffers_of_the_released_neuron_change_nothing(tmp_path: Path) -> None:
    state = released().state_dict()
    buffers = {"blocks.0.att.lif.v": torch.zeros(()), "blocks.1.lif2.v_threshold": torch.ones(())}
    torch.save({**state, **buffers}, tmp_path / "m.pth")
    read = read_checkpoint(tmp_path / "m.pth")
    assert read.architecture.known == {"layout": "upstream"}
    assert all(torch.equal(read.tensors[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"blocks.0.lif1.w": torch.tensor(float("nan"))}, r"blocks\.0\.lif1\.w: not finite"),
        ({"blocks.1.lif2.tau": torch.tensor(0.5)}, r"blocks\.1\.lif2\.tau: 0\.5, must be at least"),
        ({"blocks.0.lif1.v_threshold": torch.tensor(0.0)}, "threshold: 0, must be above 0"),
        ({"blocks.0.lif1.v_reset": torch.tensor(0.1)}, "v_reset: must be 0"),
        ({"blocks.0.lif1.v_threshold": torch.ones(7)}, r"v_threshold: 7 values, must be one"),
        ({"blocks.0.lif2.w": torch.zeros(0)}, r"lif2\.w: 0 values, must be one"),
        ({"blocks.0.lif1.log_tau": torch.tensor(1.0)}, "some spikes subtract"),
        ({"blocks.0.lif1.tau": torch.tensor(2.0), "blocks.0.lif1.w": torch.tensor(0.0)}, "several"),
        ({"blocks.0.lif1.beta": torch.tensor(2.0)}, r"blocks\.0\.lif1\.beta: unexpected"),
        ({"blocks.0.lif1.tau": torch.tensor(2)}, "must be real numbers"),
    ],
)
def test_neurons_that_cannot_be_held_are_named(
    tensors: dict[str, Tensor], named: str, tmp_path: Path
) -> None:
    torch.save({**released().state_dict(), **tensors}, tmp_path / "m.pth")
    with pytest.raises(InputError, match=named):
        read_checkpoint(tmp_path / "m.pth")


def test_a_memory_of_one_tenth_is_not_the_released_neuron() -> None:
    configuration = SpikeGPTConfiguration("upstream", 1, 8, 8, branch_decays=(400, 2048))
    assert lif_module.upstream_neuron(configuration, 0, 0).decay_4096 == 400
    assert lif_module.upstream_neuron(configuration, 0, 1) == lif_module.UPSTREAM_NEURON
    assert SpikeGPTConfiguration.from_dict(configuration.to_dict()) == configuration
    with pytest.raises(InputError, match="branch_decays has 1 values; must be none or 2"):
        SpikeGPTConfiguration("upstream", 1, 8, 8, branch_decays=(400,))
    own = SpikeGPTConfiguration("upstream", 1, 2, 8, branch_decays=(400, (1, 4096)))
    assert lif_module.upstream_neuron(own, 0, 1).keep.tolist() == [1 - 1 / 4096, 0]
    stored = json.loads(json.dumps(own.to_dict()))
    assert SpikeGPTConfiguration.from_dict(stored) == own
    for decays, named in (
        ((400, (1, 2, 3)), r"\[1\] has 3 values"),
        ((True, (1, 2)), r"\[0\]: must"),
    ):
        with pytest.raises(InputError, match=named):
            SpikeGPTConfiguration("upstream", 1, 2, 8, branch_decays=decays)
    assert "branch_decays" not in SpikeGPTConfiguration("upstream", 1, 8, 8).to_dict()
    assert np.isclose(lif_module.upstream_neuron(configuration, 0, 0).keep, 1 - 400 / 4096)
