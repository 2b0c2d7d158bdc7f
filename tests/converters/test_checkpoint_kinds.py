"""Files people have: what is read, and the one sentence about what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from spikegpt_neuro.converters.checkpoint import Checkpoint, read_checkpoint
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return SpikeGPT(SpikeGPTConfiguration("upstream", 2, 32, 20)).state_dict()


def same(found: Checkpoint, state: dict[str, Tensor]) -> bool:
    return set(found.tensors) == set(state) and all(
        torch.equal(found.tensors[name], value.reshape(found.tensors[name].shape))
        for name, value in state.items()
    )


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
        ("blocks.0.att.key.lora_A", "LoRA"),
        ("base_model.model.blocks.0.att.key.lora_B.default.weight", "LoRA"),
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
