"""Folders for what a command needs only while it runs.

A killed run (SIGKILL) cannot put its folder away. A lock on the folder, which the system gives back
when its owner is gone, says that nobody uses it, and the next run that needs one removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "spikegpt-neuro-run-"
_DEPTH = 4
"""Folders in each other that can be removed with the last descriptors."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder in ``parent`` (that of temporary files by default), gone with the block.

    Folders there that killed runs of this user left are removed first. Raises ``OSError``.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    _remove_abandoned(parent)
    path, lock = _owned(parent)
    spare = _spare_descriptors(lock)
    try:
        yield path
    finally:
        for descriptor in (*spare, lock):
            os.close(descriptor)
        shutil.rmtree(path, ignore_errors=True)


def _spare_descriptors(lock: int) -> list[int]:
    """Descriptors to give back before the folder is removed: that opens every folder in it, and a
    run can end because there are no more."""
    spare: list[int] = []
    with suppress(OSError):
        while len(spare) < _DEPTH:
            spare.append(os.dup(lock))
    return spare


def _owned(parent: Path) -> tuple[Path, int]:
    """A new folder and its lock's descriptor, which children that are forked share."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            lock = os.open(path, _FOLDER)
        except FileNotFoundError:  # removed before it could be locked, as below
            continue
        except BaseException:
            path.rmdir()
            raise
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody who cleans up was faster
            os.close(lock)
            continue
        except OSError:  # a file system without locks: nobody can take it for abandoned
            return path, lock
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(lock)):
                return path, lock
        os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    """Remove folders of this user's runs that nobody holds the lock of any more."""
    for path in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another's, in use, or removed meanwhile
            descriptor = os.open(path, _FOLDER)
            try:
                if os.fstat(descriptor).st_uid == os.getuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
            finally:
                os.close(descriptor)
