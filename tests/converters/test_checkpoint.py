"""Checkpoints: accepted forms give the same tensors; everything malformed gives one clear error."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spikegpt_neuro.converters.checkpoint import Architecture, read_checkpoint
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT

EXAMPLE = Path(__file__).parents[2] / "examples/kjv-4x192/kjv-4x192.pth"
SMALL = Architecture("upstream", n_layer=2, n_embd=8, vocabulary_size=11, n_hidden=32)


def state_dict(architecture: Architecture = SMALL) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(shape, generator=generator)
        for name, shape in architecture.shapes().items()
    }


def saved(path: Path, content: object, **options: object) -> Path:
    torch.save(content, path, **options)
    return path


def problems_of(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)
    return caught.value


def test_the_example_checkpoint() -> None:
    checkpoint = read_checkpoint(EXAMPLE)
    assert checkpoint.architecture == Architecture("upstream", 4, 192, 63, 768, ffn_pre=False)
    assert checkpoint.architecture.parameters == 1_950_336
    assert (checkpoint.format, checkpoint.dtypes) == ("torch", ("float32",))
    assert len(checkpoint.sha256) == 64
    checkpoint.check_values()
    assert len(checkpoint.tensors) == 78


@pytest.mark.parametrize(
    "architecture",
    [
        SMALL,
        Architecture("upstream", 1, 4, 3, 16, ffn_pre=True),
        Architecture("upstream", 3, 6, 300, 7, ffn_pre=True),
        Architecture("upstream", 12, 4, 2, 16),
    ],
)
def test_architecture_is_inferred(tmp_path: Path, architecture: Architecture) -> None:
    path = saved(tmp_path / "model.pth", state_dict(architecture))
    assert read_checkpoint(path).architecture == architecture


def wrappers(tensors: dict[str, torch.Tensor]) -> dict[str, object]:
    prefixed = {f"module.{name}": tensor for name, tensor in tensors.items()}
    return {
        "plain": tensors,
        "state_dict": {"state_dict": tensors, "epoch": 3},
        "model": {"model": tensors, "optimizer": {"lr": 0.1}},
        "prefix": prefixed,
        "both": {"model": {"state_dict": prefixed}},
        "own": {
            "format": "spikegpt-neuro",
            "configuration": {"layout": "upstream", "n_layer": 2, "n_embd": 8},
            "state_dict": tensors,
        },
        "parameters": {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()},
        "flat mix": {n: t.reshape(-1) if "time_mix" in n else t for n, t in tensors.items()},
    }


@pytest.mark.parametrize("form", list(wrappers({})))
@pytest.mark.parametrize("zipped", [True, False])
def test_accepted_forms_hold_the_same(tmp_path: Path, form: str, zipped: bool) -> None:
    expected = state_dict()
    path = saved(
        tmp_path / "model.pt", wrappers(expected)[form], _use_new_zipfile_serialization=zipped
    )
    checkpoint = read_checkpoint(path)
    assert set(checkpoint.tensors) == set(expected)
    for name, tensor in expected.items():
        assert checkpoint.tensors[name].dtype == torch.float32
        assert torch.equal(checkpoint.tensors[name], tensor)
        assert np.array_equal(checkpoint.array(name), tensor.numpy())


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_every_float_type_becomes_float32(tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in state_dict().items()}
    path = tmp_path / f"model{suffix}"
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.dtypes == (str(dtype).removeprefix("torch."),)
    for name, tensor in tensors.items():
        assert torch.equal(checkpoint.tensors[name], tensor.to(torch.float32))


def test_the_kind_is_found_by_content_not_by_suffix(tmp_path: Path) -> None:
    save_file(state_dict(), tmp_path / "model.pth")
    assert read_checkpoint(tmp_path / "model.pth").format == "safetensors"


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    tensors = state_dict()
    del tensors["ln_out.bias"], tensors["blocks.1.att.key.weight"]
    tensors["blocks.0.extra"] = torch.zeros(1)
    tensors["blocks.0.ln1.weight"] = torch.zeros(9)
    tensors["head.weight"] = tensors["head.weight"].to(torch.int64)
    tensors["blocks.1.ffn.key.weight"][2, 3] = float("nan")
    error = problems_of(saved(tmp_path / "model.pth", tensors))
    assert error.problems == (
        "blocks.1.att.key.weight: missing",
        "ln_out.bias: missing",
        "blocks.0.extra: unexpected",
        "blocks.0.ln1.weight: shape [9], must be [8]",
        "head.weight: type int64, must be float16, bfloat16, float32, float64",
        "blocks.1.ffn.key.weight: 1 NaN and 0 infinite values",
    )


def test_a_gap_in_the_blocks_is_named(tmp_path: Path) -> None:
    tensors = {
        name.replace("blocks.1.", "blocks.40000."): tensor for name, tensor in state_dict().items()
    }
    error = problems_of(saved(tmp_path / "model.pth", tensors))
    assert any("block 40000 is there" in problem for problem in error.problems)


def test_values_that_are_not_finite_are_listed(tmp_path: Path) -> None:
    tensors = {name: tensor.to(torch.float64) for name, tensor in state_dict().items()}
    tensors["ln_out.bias"][3] = float("nan")
    tensors["head.weight"][0, 1] = float("-inf")
    tensors["emb.weight"][0, 0] = 1e300  # finite, but not in float32
    checkpoint = read_checkpoint(saved(tmp_path / "model.pth", tensors))
    checkpoint.check_values(["blocks.0.ln1.weight"])
    with pytest.raises(InputError) as caught:
        checkpoint.check_values()
    assert caught.value.problems == (
        "emb.weight: 0 NaN and 1 infinite values",
        "ln_out.bias: 1 NaN and 0 infinite values",
        "head.weight: 0 NaN and 1 infinite values",
    )


def test_a_copy_head_is_refused_with_a_reason(tmp_path: Path) -> None:
    tensors = {**state_dict(), "head_q.weight": torch.zeros(4, 8)}
    assert "copy head" in str(problems_of(saved(tmp_path / "model.pth", tensors)))


def test_the_configuration_must_agree_with_the_tensors(tmp_path: Path) -> None:
    content = {
        "format": "spikegpt-neuro",
        "configuration": {"n_layer": 7},
        "state_dict": state_dict(),
    }
    error = problems_of(saved(tmp_path / "model.pth", content))
    assert error.problems == ("the configuration says n_layer = 7, the tensors 2",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"PK\x03\x04",
        b"PK\x03\x04" + bytes(500),
        b"\x80\x02",
        b"\x80\x05" + bytes(100),
        b"not a checkpoint, but a text of some length",
        struct.pack("<Q", 40) + b"{" + b" " * 10,
        struct.pack("<Q", 10) + b'{"a": 1} ' + bytes(20),
        struct.pack("<Q", 1 << 60) + b"{" + bytes(20),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    problems_of(path)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    assert "does not exist" in str(problems_of(tmp_path / "none.pth"))
    assert "folder" in str(problems_of(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    assert "regular" in str(problems_of(tmp_path / "pipe"))


@pytest.mark.parametrize("suffix", [".pth", ".legacy", ".safetensors"])
def test_truncated_anywhere(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".safetensors":
        save_file(state_dict(), whole)
    else:
        saved(whole, state_dict(), _use_new_zipfile_serialization=suffix == ".pth")
    content = whole.read_bytes()
    cut = tmp_path / "cut"
    for length in {*range(0, len(content), len(content) // 40), len(content) - 1}:
        cut.write_bytes(content[:length])
        problems_of(cut)


def test_any_other_content_is_refused(tmp_path: Path) -> None:
    for number, content in enumerate(
        [
            [1, 2], 3, "text", {}, torch.zeros(3), {"state_dict": {}}, {"a": 1},
            {1: torch.zeros(2)},
            {"fc.weight": torch.zeros(2, 2)}, {"format": "spikegpt-neuro"},
            {"emb.weight": torch.zeros(0, 4)}, {"emb.weight": torch.zeros(4)},
        ]
    ):  # fmt: skip
        problems_of(saved(tmp_path / f"{number}.pth", content))


class _Touch:
    """Unpickling this creates a file: the sign that code ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_never_runs(tmp_path: Path, zipped: bool) -> None:
    sign = tmp_path / "executed"
    content = {**state_dict(), "surprise": _Touch(sign)}
    path = saved(tmp_path / "model.pth", content, _use_new_zipfile_serialization=zipped)
    error = problems_of(path)
    assert "never" in str(error) and "mkdir" in str(error)
    assert not sign.exists()


def test_code_in_a_plain_pickle_never_runs(tmp_path: Path) -> None:
    sign = tmp_path / "executed"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pth"
        path.write_bytes(pickle.dumps({"emb.weight": _Touch(sign)}, protocol))
        problems_of(path)
    assert not sign.exists()


def repacked(source: Path, target: Path, compression: int, **changed: bytes) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            name = entry.filename.split("/")[-1]
            new.writestr(entry.filename, changed.get(name, old.read(entry)))
    return target


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    """A zip bomb is a compressed record: never unpacked, refused by its directory."""
    whole = saved(tmp_path / "whole.pth", state_dict())
    bomb = repacked(whole, tmp_path / "bomb.pth", zipfile.ZIP_DEFLATED, **{"0": bytes(64 << 20)})
    assert bomb.stat().st_size < 1 << 20
    assert "compressed" in str(problems_of(bomb))


def test_records_that_declare_more_than_the_file_holds(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pth", state_dict())
    content = bytearray(whole.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    struct.pack_into("<II", content, directory + 20, 0x7FFFFFF0, 0x7FFFFFF0)
    whole.write_bytes(content)
    assert "declare" in str(problems_of(whole))


def test_a_tensor_larger_than_its_storage(tmp_path: Path) -> None:
    tensors = state_dict()
    tensors["emb.weight"] = torch.zeros(1).expand(1 << 20, 1 << 20)
    tensors["head.weight"] = torch.zeros(1).expand(1 << 20, 1 << 20)
    error = problems_of(saved(tmp_path / "model.pth", tensors))
    assert any("emb.weight: declares" in problem for problem in error.problems)


def test_a_storage_larger_than_its_record(tmp_path: Path) -> None:
    """Mapped, it would silently show the bytes of its neighbours."""
    whole = saved(tmp_path / "whole.pth", state_dict())
    path = repacked(whole, tmp_path / "short.pth", zipfile.ZIP_STORED, **{"0": b"1234"})
    (problem,) = problems_of(path).problems
    assert "storages of 352 bytes" in problem


def test_a_safetensors_header_that_lies(tmp_path: Path) -> None:
    header = json.dumps(
        {"emb.weight": {"dtype": "F32", "shape": [1 << 30, 1 << 20], "data_offsets": [0, 1 << 52]}}
    ).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    problems_of(path)


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(3).to_sparse(),
        torch.zeros(3, dtype=torch.complex64),
        torch.empty(3, device="meta"),
        "text",
        None,
        5,
    ],
    ids=["sparse", "complex", "meta", "text", "none", "number"],
)
def test_entries_that_are_no_plain_tensors(tmp_path: Path, value: object) -> None:
    error = problems_of(saved(tmp_path / "model.pth", {**state_dict(), "head.weight": value}))
    assert any(problem.startswith("head.weight") for problem in error.problems)


def test_the_spike_driven_layout_is_checked_against_its_configuration(tmp_path: Path) -> None:
    configuration = SpikeGPTConfiguration("spike-driven", 2, 8, 11, norm="batch")
    tensors = SpikeGPT(configuration).state_dict()
    content: dict[str, object] = {
        "format": "spikegpt-neuro",
        "configuration": configuration.to_dict(),
        "vocabulary": '{"0": "a"}',
    }
    path = saved(tmp_path / "model.pth", {**content, "state_dict": tensors})
    checkpoint = read_checkpoint(path)
    assert checkpoint.architecture.layout == "spike-driven"
    assert checkpoint.vocabulary == '{"0": "a"}'
    for name, tensor in tensors.items():
        assert torch.equal(checkpoint.tensors[name], tensor.to(torch.float32))
    tensors.pop("ln_out.bias")
    tensors["head.weight"] = torch.zeros(11, 9)
    error = problems_of(saved(path, {**content, "state_dict": tensors}))
    assert error.problems == (
        "ln_out.bias: missing",
        "head.weight: shape [11, 9], must be [11, 8]",
    )
    content["configuration"] = {**configuration.to_dict(), "layout": "other"}
    with pytest.raises(InputError, match="layout"):
        read_checkpoint(saved(path, {**content, "state_dict": tensors}))
