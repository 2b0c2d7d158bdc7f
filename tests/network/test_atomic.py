"""Files are replaced whole: by several writers, on file systems of any kind, on full disks."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import atomic
from spikegpt_neuro.network.atomic import replaced_file, replaced_folder


@pytest.fixture(params=["nameless", "named"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "named":
        monkeypatch.setattr(atomic, "_nameless_file", lambda folder: None)
    return str(request.param)


@pytest.mark.usefixtures("kind")
def test_of_two_writers_the_last_one_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replaced_file(path) as first:
        first.write(b"first" * 1000)
        with replaced_file(path) as second:
            second.write(b"second" * 1000)
            first.write(b"first" * 1000)
        assert path.read_bytes() == b"second" * 1000
    assert path.read_bytes() == b"first" * 2000
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("kind")
def test_many_writers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    failed: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for _ in range(30):
                with replaced_file(path) as stream:
                    stream.write(bytes([number]) * 5000)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failed
    content = path.read_bytes()
    assert content == content[:1] * 5000
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("kind")
def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    abandoned = tmp_path / ".file.00112233.partial"
    written = tmp_path / ".file.44556677.partial"
    others = tmp_path / ".other.00112233.partial"
    for path in (abandoned, written, others):
        path.write_bytes(b"half")
    with written.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with replaced_file(tmp_path / "file") as stream:
            stream.write(b"whole")
    assert not abandoned.exists()
    assert written.exists() and others.exists()


@pytest.mark.usefixtures("kind")
def test_a_full_disk_is_said_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left") as found, replaced_file(path) as stream:
        stream.write(b"new")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert found.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(InputError, match="device"), replaced_file(Path("/dev/null")):
        pass
    assert Path("/dev/null").is_char_device()


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    with replaced_file(path) as stream:
        stream.write(b"whole")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_of_two_writers_of_a_folder_the_last_one_stays_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with replaced_folder(folder, known=["a", "b"], overwrite=True) as first:
        (first / "a").write_bytes(b"first")
        with replaced_folder(folder, known=["a", "b"], overwrite=True) as second:
            (second / "b").write_bytes(b"second")
        assert [file.name for file in folder.iterdir()] == ["b"]
    assert [file.name for file in folder.iterdir()] == ["a"]
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize(("mask", "mode"), [(0, 0o666), (0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_has_the_mode_that_the_mask_leaves(mask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        with replaced_file(tmp_path / "file") as stream:
            stream.write(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o7777 == mode
