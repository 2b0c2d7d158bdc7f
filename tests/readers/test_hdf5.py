"""Foreign HDF5: good files come back as they are, bad ones end in one sentence, in bounded time."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers import hdf5
from spikegpt_neuro.readers.hdf5 import Hdf5Group, Unreadable, read_hdf5


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Every way values are stored that is read."""
    path = tmp_path / "good.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["text"] = "\u00e9"
        file.attrs["texts"] = ["a", "bcd"]
        file.attrs["number"] = np.int16(-7)
        group = file.create_group("a/b")
        group["contiguous"] = rng.integers(-99, 99, (70, 50)).astype(np.int16)
        group["big_endian"] = np.arange(5, dtype=">i4")
        group.create_dataset("packed", data=np.zeros((300, 300)), compression="gzip", shuffle=True)
        group.create_dataset("chunked", data=rng.random((9, 5), np.float32), chunks=(3, 3))
        group["scalar"] = 0.5
        group["flag"] = np.array([True, False])
        group["text"] = "relu"
        group["fixed"] = np.array([b"dense"], "S10")
        group["empty"] = np.zeros((0, 3), np.float32)
    return path


def test_values_come_back_as_they_are(good: Path) -> None:
    root = read_hdf5(good)
    assert root.attributes["text"][()].decode() == "\u00e9"  # type: ignore[index]
    assert root.attributes["texts"].tolist() == [b"a", b"bcd"]  # type: ignore[union-attr]
    assert root.attributes["number"] == np.int16(-7)
    group = root["a"]["b"]  # type: ignore[index]
    with h5py.File(good) as file:
        expected = file["a/b"]
        assert set(group) == set(expected)
        for name in set(expected) - {"text"}:
            value, other = group[name], expected[name]
            assert (value.shape, value.dtype) == (other.shape, other.dtype), name
            np.testing.assert_array_equal(value, other[()], err_msg=name)
            assert not value.flags.writeable or not value.size
    assert (group["text"][()], group["text"].shape) == (b"relu", ())
    assert not group["contiguous"].flags.owndata  # mapped, not copied


def test_what_leads_out_of_the_file_is_not_followed(tmp_path: Path) -> None:
    path, other = tmp_path / "links.h5", tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = np.arange(3)
    with h5py.File(path, "w") as file:
        file["soft"] = h5py.SoftLink("/x")
        file["outside"] = h5py.ExternalLink(str(other), "/x")
        layout = h5py.VirtualLayout((3,), "int64")
        layout[:] = h5py.VirtualSource(str(other), "x", (3,))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (4,), "int8", external=[("/etc/hostname", 0, 4)])
        file["reference"] = file.ref
        file["pair"] = np.zeros(2, [("a", "i4"), ("b", "f4")])
        file["nothing"] = h5py.Empty("f4")
        file["loop"] = file["/"]
    root = read_hdf5(path)
    problems = {name: member.problem for name, member in root.members.items()}  # type: ignore[union-attr]
    assert "link" in problems["soft"]
    assert "link" in problems["outside"]
    assert "other files" in problems["virtual"]
    assert "other files" in problems["raw"]
    assert "not read" in problems["reference"]
    assert "not read" in problems["pair"]
    assert problems["nothing"] == "holds no values"
    assert "two names" in problems["loop"]


@pytest.mark.parametrize("chunks", [None, (1 << 20,)])
def test_declared_sizes_are_bounded_by_what_the_file_holds(
    chunks: tuple[int] | None, tmp_path: Path
) -> None:
    path = tmp_path / "huge.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("values", (1 << 40,), "int64", chunks=chunks)
    began = time.monotonic()
    member = read_hdf5(path)["values"]
    assert isinstance(member, Unreadable)
    assert "declares" in member.problem or "beyond" in member.problem
    assert time.monotonic() - began < 8


def _hang(path: Path) -> None:
    """The first object of the global heap, where texts lie, says that it has 2**64 - 16 bytes."""
    content = bytearray(path.read_bytes())
    heap = content.find(b"GCOL")
    content[heap + 24 : heap + 32] = struct.pack("<Q", (1 << 64) - 16)
    path.write_bytes(content)


def test_a_library_that_hangs_is_ended(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "SECONDS", 1)
    _hang(good)
    with pytest.raises(InputError, match="did not end within 1 seconds"):
        read_hdf5(good)


def test_ctrl_c_ends_the_reading(good: Path) -> None:
    _hang(good)
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from spikegpt_neuro.readers import hdf5\n"
        "hdf5.SECONDS = 60\nprint('reading', flush=True)\n"
        f"hdf5.read_hdf5({str(good)!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"reading\n"
    time.sleep(1)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in said


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_truncated(share: float, good: Path) -> None:
    content = good.read_bytes()
    good.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"cannot be read|not an HDF5 file"):
        read_hdf5(good)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, why in ((tmp_path, "a folder"), (tmp_path / "no", "does not exist"),
                      (tmp_path / "pipe", "not a regular file")):  # fmt: skip
        with pytest.raises(InputError, match=why):
            read_hdf5(path)


def test_damaged_bytes_never_break_the_reader(good: Path) -> None:
    content = good.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(25):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), rng.integers(1, 9)):
            damaged[position] = rng.integers(256)
        good.write_bytes(damaged)
        try:
            assert isinstance(read_hdf5(good), Hdf5Group)
        except InputError:
            continue
