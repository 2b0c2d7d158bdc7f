"""Arrays in numpy's files: ``.npy`` (rasters) and ``.npz`` (states), without pickles."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers.guard import input_file, parsing

Array = npt.NDArray[Any]
_MAGIC = b"\x93NUMPY"


def read_array(path: str | Path, what: str = "a .npy array") -> Array:
    """The array in a ``.npy`` file, mapped read-only: its size is that of the file.

    Raises ``InputError`` for anything else: several arrays (``.npz``), objects, truncated.
    """
    checked = input_file(path, what)
    with checked.open("rb") as stream:
        head = stream.read(len(_MAGIC))
    if head[:4] == b"PK\x03\x04":
        raise InputError(f"{path} holds several arrays; give a .npy file with one.")
    if head != _MAGIC:
        raise InputError(f"{path} is not {what}.", advice="Write it with numpy.save.")
    with parsing(path, what):
        return np.asarray(np.load(checked, mmap_mode="r", allow_pickle=False))


def read_arrays(
    path: str | Path, names: Sequence[str], what: str, *, largest: int
) -> dict[str, Array]:
    """The arrays of those names, no more and no fewer, in a ``.npz`` file of ``largest`` bytes.

    Every record's CRC-32 is checked. Raises ``InputError``.
    """
    checked = input_file(path, what, largest=largest)
    with parsing(path, what), zipfile.ZipFile(checked) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        expected = {f"{name}.npy" for name in names}
        if set(entries) != expected or len(archive.infolist()) != len(expected):
            raise InputError(
                f"{path} is not {what}: it holds {', '.join(sorted(entries)) or 'nothing'}."
            )
        if sum(entry.file_size for entry in entries.values()) > largest:
            raise InputError(f"{path} is too large for {what}.")
        return {name: _parsed(archive.read(f"{name}.npy")) for name in names}


def _parsed(content: bytes) -> Array:
    """The array in the bytes of a ``.npy`` file, of exactly their size."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = readers[version](stream)
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or size != len(content) - stream.tell():
        raise ValueError(f"an array of {dtype} {shape} does not have its bytes")
    values = np.frombuffer(content, dtype, offset=stream.tell())
    return values.reshape(shape, order="F" if fortran else "C")
