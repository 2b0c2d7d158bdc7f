"""Files that are mapped while they are used, and how it is noticed that someone writes into them.

A mapped file is read when a value is needed, perhaps long after its checksums were compared. A file
that is *replaced* (as this package, package managers and most editors do) stays what it was for who
has mapped it. One that is written into (``cp`` over it, a download that begins again) changes under
a run: commands call ``check_unchanged`` before anything computed is shown or written.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import RunFailed

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Status:
    path: Path
    device: int
    inode: int
    size: int
    written: int
    """Nanoseconds."""


_mapped: dict[int, _Status] = {}
"""Of the maps that arrays still look into, by the map's ``id``."""


def map_file(path: Path, stream: BinaryIO) -> Bytes:
    """The whole of an open file, uint8, read-only, as a plain array.

    A plain array over the map: its slices are made five times faster than a memmap's.
    """
    mapped = np.memmap(stream, np.uint8, mode="r")
    status = os.fstat(stream.fileno())
    _mapped[id(mapped)] = _Status(
        path.absolute(), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    )
    weakref.finalize(mapped, _mapped.pop, id(mapped), None).atexit = False
    return np.asarray(mapped)


def check_unchanged() -> None:
    """Raise ``RunFailed``, naming the files, if one that is still mapped was written into."""
    changed = sorted({str(status.path) for status in _mapped.values() if _was_changed(status)})
    if changed:
        raise RunFailed(
            f"{', '.join(changed)}: changed while in use; what was computed of it is not given. "
            "Run it again; write new files beside old ones and rename them."
        )


def _was_changed(status: _Status) -> bool:
    try:
        now = os.stat(status.path)
    except OSError:  # removed: the map keeps what was there
        return False
    if (now.st_dev, now.st_ino) != (status.device, status.inode):  # another file in its place
        return False
    return (now.st_size, now.st_mtime_ns) != (status.size, status.written)
