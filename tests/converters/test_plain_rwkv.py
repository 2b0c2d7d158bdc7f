"""Plain RWKV-4 beside SpikeGPT: the same names, told apart by what they predict, never guessed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.comparison.float_model import load_float_model
from spikegpt_neuro.converters.checkpoint import read_checkpoint
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.converters.export_report import ExportOptions
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.training.data import token_tensor
from spikegpt_neuro.training.loop import Trainer
from spikegpt_neuro.training.optimiser import Rates
from spikegpt_neuro.training.settings import TrainingSettings
from spikegpt_neuro.verification import verify

VOCABULARY = 12
TEXT = np.tile([1, 4, 7, 2, 9, 4, 4, 11, 0, 3], 400)
"""A text that a small model learns by heart in seconds."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """State dicts as their projects save them, without a word about the layout."""
    found = {}
    for layout in ("upstream", "rwkv"):
        folder = tmp_path_factory.mktemp(layout)
        torch.manual_seed(3)
        embedding = "real" if layout == "rwkv" else "binary"
        model = SpikeGPT(SpikeGPTConfiguration(layout, 2, 32, VOCABULARY, embedding=embedding))  # type: ignore[arg-type]
        initialise(model)
        settings = TrainingSettings(
            steps=60, batch=8, context=24, dropout=0.0, save_every=100, evaluate_every=100,
            rates=Rates(adam=1e-2, neuron_factor=3.0),
        )  # fmt: skip
        tokens = token_tensor(TEXT, VOCABULARY, 24, "text")
        Trainer(model, settings, tokens, None, folder / "own.pt", "{}").run()
        found[layout] = folder / "model.pth"
        torch.save(model.state_dict(), found[layout])
    return found


def notes_of(path: Path, output: Path, calibrated: bool, **options: str) -> tuple[str, str]:
    """The layout of the exported network, and all notes."""
    report = export_checkpoint(
        path, output, calibration=TEXT[:800].tolist() if calibrated else None,
        options=ExportOptions(**options),  # type: ignore[arg-type]
    )  # fmt: skip
    return report.info.layout, "\n".join(report.notes)


@pytest.mark.parametrize("layout", ["upstream", "rwkv"])
def test_the_calibration_text_tells_them_apart(
    layout: str, trained: dict[str, Path], tmp_path: Path
) -> None:
    found, notes = notes_of(trained[layout], tmp_path / "m.net", True)
    assert found == layout
    assert f"read as {layout} with" in notes
    # the command says by how much
    figures = dict(re.findall(r"(upstream|rwkv) with (?:real|binary) embedding ([0-9.]+)", notes))
    assert set(figures) == {"upstream", "rwkv"}
    # what was exported is what was trained: the text is known by heart
    network = read_network(tmp_path / "m.net")
    model = load_float_model(trained[layout], network)
    assert model.configuration.layout == layout
    with Emulator().open(network) as session:
        logits = session.score(TEXT[:100])
    with torch.no_grad():
        expected, _ = model(torch.from_numpy(TEXT[None, :100]))
    agreement = (logits.argmax(1) == expected[0].numpy().argmax(1))[20:].mean()
    assert agreement > 0.95
    assert (logits.argmax(1)[20:-1] == TEXT[21:100]).mean() > 0.9


def test_without_a_text_spikegpt_is_assumed_and_said(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    found, notes = notes_of(trained["rwkv"], tmp_path / "m.net", False)
    assert found == "upstream"
    assert "--layout rwkv" in notes


def test_a_model_that_predicts_nothing_is_not_told_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SpikeGPT(SpikeGPTConfiguration("rwkv", 2, 32, VOCABULARY, embedding="real"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    torch.save(model.state_dict(), tmp_path / "noise.pth")
    found, notes = notes_of(tmp_path / "noise.pth", tmp_path / "m.net", True)
    assert found == "upstream"
    assert "assumed to be a SpikeGPT" in notes


def test_the_option_decides(trained: dict[str, Path], tmp_path: Path) -> None:
    for calibrated in (False, True):
        found, notes = notes_of(trained["rwkv"], tmp_path / "m.net", calibrated, layout="rwkv")
        assert found == "rwkv"
        assert "assumed" not in notes
    with pytest.raises(InputError, match="not in spike-driven"):
        notes_of(trained["rwkv"], tmp_path / "m.net", False, layout="spike-driven")


def transformers_name(name: str) -> str:
    """The name that Hugging Face's RwkvForCausalLM gives a tensor of the released code."""
    for old, new in (
        ("emb.", "rwkv.embeddings."), ("ln_out.", "rwkv.ln_out."), (".ln0.", ".pre_ln."),
        (".att.", ".attention."), (".ffn.", ".feed_forward."), ("time_mix_k", "time_mix_key"),
        ("time_mix_v", "time_mix_value"), ("time_mix_r", "time_mix_receptance"),
        ("blocks.", "rwkv.blocks."),
    ):  # fmt: skip
        name = name.replace(old, new)
    return name


def test_transformers_names_say_rwkv(trained: dict[str, Path], tmp_path: Path) -> None:
    state = torch.load(trained["rwkv"], weights_only=True)
    torch.save({transformers_name(k): v for k, v in state.items()}, tmp_path / "hf.bin")
    assert read_checkpoint(tmp_path / "hf.bin").architecture.layout == "rwkv"
    found, notes = notes_of(tmp_path / "hf.bin", tmp_path / "hf.net", False)
    assert found == "rwkv"
    assert "transformers" in notes
    notes_of(trained["rwkv"], tmp_path / "own.net", False, layout="rwkv")
    same, other = read_network(tmp_path / "own.net"), read_network(tmp_path / "hf.net")
    with Emulator().open(same) as first, Emulator().open(other) as second:
        assert np.array_equal(first.score(TEXT[:50]), second.score(TEXT[:50]))


@pytest.mark.parametrize("backend", ["lava", "lava-fine"])
@pytest.mark.parametrize("ffn_pre", [False, True])
def test_all_backends_compute_the_same_integers(backend: str, ffn_pre: bool) -> None:
    shape = RandomShape("rwkv", n_layer=2, n_embd=16, vocabulary_size=12, ffn_pre=ffn_pre)
    network = random_network(shape)
    assert not network.spiking_layers
    result = verify(network, TEXT[:24].tolist(), Emulator(), get_backend(backend))
    assert result.equal, str(result.difference or result.counter_difference)
