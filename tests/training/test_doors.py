"""Settings that cannot be, finished runs, and damaged model and resume files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from spikegpt_neuro.cli.program import app
from spikegpt_neuro.converters.checkpoint import read_checkpoint
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.training import checkpoint

SMALL = [
    "--layers", "1", "--width", "16", "--context", "16", "--batch", "2", "--steps", "4",
    "--save-every", "2", "--evaluate-every", "4", "--quiet",
]  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be, that is the question. " * 20)
    return path


def _train(*arguments: str | Path) -> None:
    threads = torch.get_num_threads()
    try:
        CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=False)
    finally:
        torch.set_num_threads(threads)


def test_resuming_a_finished_run_ends_and_changes_no_file(tmp_path: Path, text: Path) -> None:
    output = tmp_path / "model.pt"
    _train(text, "--output", output, *SMALL)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert {path.name for path in files} == {"text.txt", "model.pt", "model.pt.resume", "model.csv"}
    _train(text, "--output", output, "--resume", *SMALL)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--layers", "0", "n_layer is 0"),
        ("--width", "0", "n_embd is 0"),
        ("--levels-hidden", "0", "levels_hidden is 0"),
        ("--recipe", "foo", "recipe is 'foo'; allowed: 'adam', 'muon'"),
        ("--mixed-precision", "fp7", "mixed_precision is 'fp7'"),
        ("--learning-rate", "nan", "adam is nan"),
        ("--clip", "0", "clip is 0.0"),
        ("--dropout", "1", "dropout is 1.0"),
        ("--warm-up", "-1", "warm_up is -1"),
        ("--seed", "-1", "seed"),
        ("--threads", "0", "threads is 0"),
    ],
)
def test_settings_that_cannot_be(
    option: str, value: str, expected: str, tmp_path: Path, text: Path
) -> None:
    with pytest.raises(InputError) as caught:
        _train(text, "--output", tmp_path / "model.pt", *SMALL, option, value)
    assert expected in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    found = SpikeGPT(SpikeGPTConfiguration("upstream", 1, 8, 11))
    initialise(found)
    checkpoint.save(tmp_path / "model.pt", checkpoint.model_content(found, ""))
    return tmp_path / "model.pt"


def test_a_flipped_byte_in_any_tensor_names_its_record(model: Path) -> None:
    content = model.read_bytes()
    with zipfile.ZipFile(model) as archive:
        records = [e for e in archive.infolist() if "/data/" in e.filename and e.file_size]
    assert len(records) > 15
    for record in records:
        header = content[record.header_offset : record.header_offset + 30]
        begin = record.header_offset + 30
        begin += int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        for place in (begin, begin + record.file_size - 1):
            damaged = bytearray(content)
            damaged[place] ^= 1
            model.write_bytes(damaged)
            for read in (read_checkpoint, checkpoint.load):
                with pytest.raises(InputError, match=f"record {record.filename}: .*CRC-32"):
                    read(model)


def test_all_wrong_values_of_a_configuration_are_listed(model: Path) -> None:
    content = checkpoint.load(model)
    content["configuration"] |= {
        "n_layer": "1", "n_embd": 8.0, "soft_reset": 1, "layout": "upstream", "decay_4096": None,
        "levels_input": 10**30, "branches": ["sequential"], "colour": 3,
    }  # fmt: skip
    checkpoint.save(model, content)
    with pytest.raises(InputError) as caught:
        read_checkpoint(model)
    said = str(caught.value)
    for name in ("n_layer", "n_embd", "soft_reset", "decay_4096", "levels_input", "branches"):
        assert f"{name} is " in said, name
    assert "unknown key 'colour'" in said
    with pytest.raises(InputError, match="soft_reset is 1; must be true or false"):
        checkpoint.load_model(model)
    with pytest.raises(InputError, match="n_layer is True; must be an integer"):
        SpikeGPTConfiguration("upstream", True, 8, 11)
