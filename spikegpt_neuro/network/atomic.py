"""Write a file so that its path holds the old content or the new one, never a third thing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from spikegpt_neuro.errors import InputError


def _anonymous_file(folder: Path) -> int | None:
    """A file in ``folder`` without a name: it vanishes with the process, however that ends."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.open(folder, flag | os.O_RDWR, 0o666)
    except OSError:  # this file system has no nameless files
        return None


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary stream to write to; on success it becomes ``path``, on any error nothing does.

    The new content is flushed to disk before the rename. Where the system offers nameless files,
    even SIGKILL leaves nothing behind; elsewhere a killed process can leave a hidden ``.partial``
    sibling, which the next write of the same path replaces.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder.", advice="Name a file to write.")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} does not exist.", advice="Create the folder first.")
    partial = path.with_name(f".{path.name}.partial")
    descriptor = _anonymous_file(path.parent)
    try:
        nameless = descriptor is not None
        with open(partial if descriptor is None else descriptor, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if nameless:
                partial.unlink(missing_ok=True)
                _give_name(stream.fileno(), partial)
        os.replace(partial, path)
        _flush_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


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
