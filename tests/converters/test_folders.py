"""Hugging Face folders from end to end: configuration, weights in shards, tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from spikegpt_neuro.cli.program import app
from spikegpt_neuro.converters.checkpoint import read_checkpoint
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.vocabulary import byte_tokenizer

TEXT = "to be, or not to be:\tthat is the question\r\n" * 12
CONFIGURATION = {
    "architectures": ["RwkvForCausalLM"], "model_type": "rwkv", "num_hidden_layers": 2,
    "hidden_size": 32, "attention_hidden_size": 32, "intermediate_size": 128, "vocab_size": 256,
    "layer_norm_epsilon": 1e-05, "rescale_every": 6, "tie_word_embeddings": False,
}  # fmt: skip
NAMES = (
    ("emb.", "rwkv.embeddings."), ("ln_out.", "rwkv.ln_out."), (".ln0.", ".pre_ln."),
    (".att.", ".attention."), (".ffn.", ".feed_forward."), ("time_mix_k", "time_mix_key"),
    ("time_mix_v", "time_mix_value"), ("time_mix_r", "time_mix_receptance"),
    ("blocks.", "rwkv.blocks."),
)  # fmt: skip


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = SpikeGPT(SpikeGPTConfiguration("rwkv", 2, 32, 256, embedding="real"))
    initialise(model)
    return model.state_dict()


def write_folder(state: dict[str, Tensor], folder: Path, **other: Any) -> Path:
    """As ``save_pretrained`` of transformers' ``RwkvForCausalLM`` writes it, in two shards."""
    folder.mkdir()
    named = {}
    for name, value in state.items():
        for old, new in NAMES:
            name = name.replace(old, new)
        named[name] = value.contiguous().clone()
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    places = {name: files[i % 2] for i, name in enumerate(sorted(named))}
    for file in files:
        save_file({n: v for n, v in named.items() if places[n] == file}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({**CONFIGURATION, **other}))
    (folder / "tokenizer.json").write_text(byte_tokenizer())
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def run(*arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_folder_is_exported_and_scored(state: dict[str, Tensor], tmp_path: Path) -> None:
    """It gives the integers that its tensors give as a plain file with the vocabulary beside."""
    folder, text = write_folder(state, tmp_path / "model"), tmp_path / "text.txt"
    text.write_bytes(TEXT.encode())
    found = run("export", folder, tmp_path / "folder.net", "--calibration", text)
    assert found["layout"] == "rwkv" and found["n_layer"] == 2
    assert "vocabulary: tokenizer.json" in found["notes"]
    torch.save(state, tmp_path / "plain.pth")
    run(
        "export", tmp_path / "plain.pth", tmp_path / "plain.net", "--calibration", text,
        "--vocab", folder / "tokenizer.json", "--layout", "rwkv", "--embedding", "real",
    )  # fmt: skip
    one, other = (read_network(tmp_path / f"{name}.net") for name in ("folder", "plain"))
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        assert mine.name == theirs.name
        for name in mine.array_specs():
            assert np.array_equal(getattr(mine, name), getattr(theirs, name)), (mine.name, name)
    scored = run("score", tmp_path / "folder.net", text)
    assert scored["characters"] == len(TEXT) - 1
    assert scored == {**run("score", tmp_path / "plain.net", text), **_times(scored)}


def _times(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in ("seconds", "tokens_per_second")}


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("num_hidden_layers", 3, r"config.json says num_hidden_layers = 3, the tensors 2"),
        ("hidden_size", "x" * 99, r"config.json says hidden_size = 'x+, the tensors 32"),
        ("vocab_size", 50277, "vocab_size = 50277, the tensors 256"),
        ("intermediate_size", 64, "intermediate_size = 64, the tensors 128"),
        ("layer_norm_epsilon", 1e-6, "layer_norm_epsilon is 1e-06, must be 1e-05"),
    ],
)
def test_a_configuration_of_another_model(
    key: str, value: Any, named: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    folder = write_folder(state, tmp_path / "model", **{key: value})
    with pytest.raises(InputError, match=named):
        read_checkpoint(folder)


def test_a_tied_head(state: dict[str, Tensor], tmp_path: Path) -> None:
    """One tensor is stored where the configuration ties two."""
    part = {name: value for name, value in state.items() if name != "head.weight"}
    folder = write_folder(part, tmp_path / "tied", tie_word_embeddings=True)
    found = read_checkpoint(folder)
    assert torch.equal(found.tensors["head.weight"], state["emb.weight"])
    assert "head.weight is emb.weight (config.json: tie_word_embeddings)" in found.notes
    with pytest.raises(InputError, match=r"head\.weight: missing"):
        read_checkpoint(write_folder(part, tmp_path / "untied"))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1e999'])
def test_a_configuration_that_is_none(
    content: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    folder = write_folder(state, tmp_path / "model")
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json"):
        read_checkpoint(folder)
