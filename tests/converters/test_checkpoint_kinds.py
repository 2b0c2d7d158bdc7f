"""Files people have: what is read, and the one sentence about what is not."""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from spikegpt_neuro.converters.checkpoint import Checkpoint, read_checkpoint
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.vocabulary import byte_tokenizer, parse_vocabulary


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return SpikeGPT(SpikeGPTConfiguration("upstream", 2, 32, 20)).state_dict()


def same(found: Checkpoint, state: dict[str, Tensor]) -> bool:
    return set(found.tensors) == set(state) and all(
        torch.equal(found.tensors[name], value.reshape(found.tensors[name].shape))
        for name, value in state.items()
    )


def test_values_of_classes_beside_a_state_dict(state: dict[str, Tensor], tmp_path: Path) -> None:
    """They are never made: what stands for them takes anything and keeps nothing."""
    beside = {
        "best_val_loss": np.float64(1.25), "step": np.int64(3), "losses": np.arange(5.0),
        "args": argparse.Namespace(n_layer=2), "path": Path("runs"),
        "name": np.str_("run"), "rng": np.random.get_state(),
        "when": datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1))),
    }  # fmt: skip
    for old in (False, True):
        path = tmp_path / f"{old}.pt"
        torch.save({"model": state, **beside}, path, _use_new_zipfile_serialization=not old)
        assert same(read_checkpoint(path), state)
    torch.save({**state, "loss": np.float64(1.25)}, tmp_path / "inside.pt")
    with pytest.raises(InputError, match="loss: is Beside, must be a tensor"):
        read_checkpoint(tmp_path / "inside.pt")
    torch.save({"model": state, "hook": print}, tmp_path / "code.pt")
    with pytest.raises(InputError, match="asks for print"):
        read_checkpoint(tmp_path / "code.pt")


def test_a_mask_without_its_copy_head(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({**state, "copy_mask": torch.ones(8, 8).tril()}, tmp_path / "m.pth")
    assert same(read_checkpoint(tmp_path / "m.pth"), state)


MYELIN = {
    "vocab_size": 20, "context_length": 64, "n_layer": 2, "n_embd": 32, "model_type": "rwkv",
    "attention": "rwkv", "lif_tau": 2.0, "lif_threshold": 1.0, "lif_reset": 0.0,
    "spike_embedding": True, "spiking": True, "spike_input": False,
}  # fmt: skip


def write_myelin(
    state: dict[str, Tensor], path: Path, vocabulary: Any = None, **other: Any
) -> Path:
    named = {
        name.replace("emb.", "embedding.").replace("ffnPre", "ffn_pre"): value
        for name, value in state.items()
    }
    content = {
        "format": "myelin.spike_language_checkpoint.v1", "config": {**MYELIN, **other},
        "vocabulary": vocabulary or {"type": "byte"}, "state_dict": named, "metadata": {"step": 7},
    }  # fmt: skip
    torch.save(content, path)
    return path


def test_myelins_checkpoint(state: dict[str, Tensor], tmp_path: Path) -> None:
    """Its neurons take the whole current: twice the released layout's, in the weights."""
    found = read_checkpoint(write_myelin(state, tmp_path / "m.pt"))
    assert found.architecture.known == {"layout": "upstream", "embedding": "binary"}
    for name, value in state.items():
        doubled = name.endswith(("att.output.weight", "ffn.value.weight"))
        assert torch.equal(found.tensors[name].reshape(value.shape), value * (1 + doubled)), name
    bytes_ = parse_vocabulary(found.vocabulary)
    assert bytes_.encode("aé").tolist() == [97, 0xC3, 0xA9]
    characters = {"type": "character", "tokens": list("abc")}
    found = read_checkpoint(write_myelin(state, tmp_path / "m.pt", characters))
    assert parse_vocabulary(found.vocabulary).encode("cab").tolist() == [2, 0, 1]


def test_myelins_own_neurons(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = write_myelin(state, tmp_path / "m.pt", lif_tau=1.25, lif_threshold=0.5)
    found = read_checkpoint(path)
    assert found.architecture.known["branch_decays"] == (3277,) * 4
    name = "blocks.1.ffn.value.weight"
    assert torch.equal(found.tensors[name], state[name] * 4)
    path = write_myelin(state, tmp_path / "m.pt", spiking=False)
    known = read_checkpoint(path).architecture
    assert (known.layout, known.known["embedding"]) == ("rwkv", "binary")


@pytest.mark.parametrize(
    ("key", "value"), [("attention", "vanilla"), ("spike_input", True), ("lif_tau", "x")]
)
def test_another_of_myelins_models_is_named(
    key: str, value: Any, state: dict[str, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"config: {key} is {value!r}"):
        read_checkpoint(write_myelin(state, tmp_path / "m.pt", **{key: value}))


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "module", "net"])
def test_tensors_beside_a_wrapped_state_dict(
    key: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    beside = {"iter_num": 5, "best_val_loss": torch.tensor(1.25), "step": torch.zeros(3)}
    torch.save({key: state, **beside}, tmp_path / "m.pt")
    found = read_checkpoint(tmp_path / "m.pt")
    assert same(found, state)
    assert found.notes == (f"state dict found under {key!r}",)


def write_shards(state: dict[str, Tensor], folder: Path) -> Path:
    names = sorted(state)
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    places = {name: files[i % 2] for i, name in enumerate(names)}
    for file in files:
        part = {name: state[name].contiguous() for name in names if places[name] == file}
        save_file(part, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def test_shards_and_folders(state: dict[str, Tensor], tmp_path: Path) -> None:
    index = write_shards(state, tmp_path)
    for path in (index, tmp_path):
        found = read_checkpoint(path)
        assert same(found, state)
        assert "2 shards" in found.notes[0]
    digests = {read_checkpoint(path).sha256 for path in (index, tmp_path)}
    assert len(digests) == 1
    whole = tmp_path / "whole"
    whole.mkdir()
    save_file({k: v.contiguous() for k, v in state.items()}, whole / "model.safetensors")
    assert same(read_checkpoint(whole), state)


def test_a_folder_with_its_tokenizer(state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "model.safetensors")
    assert not read_checkpoint(tmp_path).vocabulary
    (tmp_path / "tokenizer.json").write_text(byte_tokenizer())
    found = read_checkpoint(tmp_path)
    assert parse_vocabulary(found.vocabulary).encode("a").tolist() == [97]
    assert "vocabulary: tokenizer.json" in found.notes
    (tmp_path / "tokenizer.json").write_text("{}")
    found = read_checkpoint(tmp_path)
    assert not found.vocabulary and "tokenizer.json is not read" in found.notes[-1]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": "../x"}}', "{"]
)
def test_an_index_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(InputError):
        read_checkpoint(index)


def test_a_missing_shard_is_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    index = write_shards(state, tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-00002-of-00002.safetensors is missing"):
        read_checkpoint(index)


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ("blocks.0.att.x_r", "RWKV-7"),
        ("blocks.0.att.time_maa_w1", "RWKV-6"),
        ("blocks.0.att.ln_x.weight", "RWKV-5"),
    ],
)
def test_another_model_is_named(
    extra: str, sentence: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({**state, extra: torch.zeros(3)}, tmp_path / "m.pth")
    with pytest.raises(InputError) as raised:
        read_checkpoint(tmp_path / "m.pth")
    assert sentence in raised.value.summary
    assert raised.value.advice


def test_slayers_state_dict_is_named(tmp_path: Path) -> None:
    names = ["synapse.weight_g", "synapse.weight_v", "neuron.current_decay"]
    blocks = {f"blocks.{i}.{name}": torch.zeros(2) for i in range(2) for name in names}
    torch.save(blocks, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"SLAYER.*\n.*export_hdf5"):
        read_checkpoint(tmp_path / "m.pt")


def test_placeholders_of_zero_3_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    shapes = [{name: value.shape for name, value in state.items()}]
    empty = {name: torch.empty(0) for name in state}
    torch.save({"module": empty, "param_shapes": shapes, "ds_version": "0.14"}, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"ZeRO-3.*\n.*zero_to_fp32"):
        read_checkpoint(tmp_path / "m.pt")


def test_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 861000000\n"
    (tmp_path / "m.pth").write_text(text)
    with pytest.raises(InputError, match=r"Git LFS pointer.*\n.*git lfs pull"):
        read_checkpoint(tmp_path / "m.pth")
