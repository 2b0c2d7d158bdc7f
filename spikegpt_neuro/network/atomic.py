"""Write a file or a folder so that its path holds the old content or the new, no third thing."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from spikegpt_neuro.errors import InputError

_PARTIAL = ".partial"
_LONGEST_NAME = 200
"""Of a path's name, as much as leaves room for what is added: names have at most 255 bytes."""
_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What a system says of a write without naming the file."""


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary stream to write to; on success it becomes ``path``, on any error nothing does.

    The new content is flushed to disk before the rename; of several writers the last one's file
    stays, whole. Where the system offers nameless files, even SIGKILL leaves nothing behind, but
    between naming and renaming; elsewhere a killed process can leave a hidden ``.partial`` sibling.
    The next write of the same path removes siblings that nobody writes.

    Raises ``InputError`` where ``path`` is no place for a file.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder.", advice="Name a file to write.")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a device or a pipe.", advice="Name a file to write.")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} does not exist.", advice="Create the folder first.")
    _remove_abandoned(path)
    partial: Path | None = None
    try:
        descriptor = _nameless_file(path.parent)
        if descriptor is None:
            descriptor, partial = _named_file(path)
        with open(descriptor, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
            if partial is None:
                _lock(descriptor)
                partial = _new_name(path)
                _give_name(descriptor, partial)
            os.replace(partial, path)
        _flush_folder(path.parent)
    except BaseException as error:
        if partial is not None:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None and error.errno in _WRITING:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def _nameless_file(folder: Path) -> int | None:
    """A file in ``folder`` without a name: it vanishes with the process, however that ends."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.open(folder, flag | os.O_RDWR, 0o666)
    except OSError:  # this file system has no nameless files
        return None


def _new_name(path: Path) -> Path:
    return path.with_name(f"{_prefix(path)}{secrets.token_hex(4)}{_PARTIAL}")


def _prefix(path: Path) -> str:
    kept = os.fsencode(path.name)[:_LONGEST_NAME].decode("utf-8", "ignore")
    return f".{kept}."


def _named_file(path: Path) -> tuple[int, Path]:
    """A new sibling of ``path``, locked: for as long as it is open, others leave it alone."""
    while True:
        partial = _new_name(path)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        _lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return descriptor, partial
        os.close(descriptor)  # removed as abandoned before it was locked


def _lock(descriptor: int) -> None:
    with suppress(OSError):  # a file system without locks; siblings are then never removed
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _remove_abandoned(path: Path) -> None:
    """Remove siblings that killed writers of ``path`` left: those that nobody has locked."""
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(_prefix(path)) and entry.name.endswith(_PARTIAL):
                with suppress(OSError), open(entry.path, "rb") as stream:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)


def _give_name(descriptor: int, path: Path) -> None:
    """Link a nameless file into its folder."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # the folder's descriptor makes Python call linkat, which can follow the link in /proc
        os.link(f"/proc/self/fd/{descriptor}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    with suppress(OSError):  # some systems cannot flush a folder; the rename stays atomic
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def replaced_folder(path: Path, *, known: Collection[str], overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder to fill with files; on success it becomes ``path``, on any error
    nothing does.

    A folder that is there is replaced where ``overwrite`` says so and it holds no file but those
    named in ``known``: nothing of anyone else's is removed. Linux exchanges the two folders in one
    step; elsewhere the old one is called ``.<name>.previous`` for the moment between two renames.
    A killed process can leave a hidden ``.partial`` sibling, which the next write of the same path
    replaces. Raises InputError where ``path`` cannot be replaced.
    """
    path = Path(os.path.realpath(path))
    check_replaceable(path, known=known, overwrite=overwrite)
    partial = path.with_name(f".{path.name}.partial")
    if partial.is_dir():
        shutil.rmtree(partial)
    partial.mkdir()
    try:
        yield partial
        for file in partial.iterdir():
            _flush_file(file)
        _flush_folder(partial)
        check_replaceable(path, known=known, overwrite=overwrite)
        if path.is_dir():
            _exchange(partial, path)
        else:
            os.rename(partial, path)
        _flush_folder(path.parent)
    finally:  # what was there before, or what was not finished
        shutil.rmtree(partial, ignore_errors=True)


def check_replaceable(path: Path, *, known: Collection[str], overwrite: bool) -> None:
    """Raise InputError unless ``replaced_folder`` may write ``path``."""
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} does not exist.", advice="Create the folder first.")
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise InputError(f"{path} is a file.", advice="Name a folder to write.")
    strangers = sorted(file.name for file in path.iterdir() if file.name not in known)
    if strangers:
        raise InputError(
            f"{path} holds files that are not of a model folder, so it is not replaced:",
            strangers[:20],
            "Name another folder.",
        )
    if not overwrite and any(path.iterdir()):
        raise InputError(f"{path} exists.", advice="Name another folder, or use --force.")


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders' names."""
    if _exchanged_at_once(new, old):
        return
    previous = old.with_name(f".{old.name}.previous")
    shutil.rmtree(previous, ignore_errors=True)
    os.rename(old, previous)
    try:
        os.rename(new, old)
    except BaseException:
        os.rename(previous, old)
        raise
    os.rename(previous, new)


def _exchanged_at_once(new: Path, old: Path) -> bool:
    """Linux's renameat2 with RENAME_EXCHANGE; False where system or file system lack it."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    current_folder, exchange = -100, 2
    names = os.fsencode(new), os.fsencode(old)
    return bool(rename(current_folder, names[0], current_folder, names[1], exchange) == 0)


def _flush_file(path: Path) -> None:
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())
