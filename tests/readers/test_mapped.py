"""A mapped file that is written into is noticed; one that is replaced or removed goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spikegpt_neuro.errors import RunFailed
from spikegpt_neuro.readers.mapped import Bytes, check_unchanged, map_file


def _mapped(path: Path) -> Bytes:
    path.write_bytes(bytes(range(256)) * 64)
    os.utime(path, ns=(1, 1))
    with path.open("rb") as stream:
        return map_file(path, stream)


def test_written_into(tmp_path: Path) -> None:
    path = tmp_path / "file"
    part = _mapped(path)[10:20].reshape(2, 5)
    check_unchanged()
    with path.open("r+b") as stream:
        stream.write(b"x")
    with pytest.raises(RunFailed, match="file: changed while in use"):
        check_unchanged()
    del part  # nothing looks into it any more
    check_unchanged()


def test_replaced_or_removed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    held = _mapped(path)
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "new").replace(path)
    check_unchanged()
    path.unlink()
    check_unchanged()
    assert held[255] == 255
