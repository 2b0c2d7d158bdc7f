"""Foreign HDF5 as plain arrays: parsed by a process of its own, under limits.

Nothing of libhdf5 runs in this process: a damaged or hostile file can make it loop for ever (in
the global heap of variable-length texts, where Ctrl-C is not heard) or write past its buffers. A
child process parses and describes (``hdf5_child``); large arrays that lie in the file as they are
are mapped here, so that opening a good large file costs one description more, not one copy more.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError, Unavailable
from spikegpt_neuro.readers.guard import input_file
from spikegpt_neuro.readers.mapped import map_file

SECONDS = 2
"""Processor time of the child for a small file; more for a large one."""
BYTES_A_SECOND = 50 << 20
WALL = 12
"""Seconds on the clock for each second of processor time, on a machine that is busy."""
MEMORY = 2 << 30
"""Address space of the child beside what it reads."""
EXPANSION = 64
"""Bytes of values read for each byte of the file, beside ``SMALL``: compressed zeros are small."""
SMALL = 64 << 20
Array = npt.NDArray[Any]
_DTYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


@dataclass(frozen=True)
class Unreadable:
    """A member or attribute that is there and is not given: a link, a type that is not read."""

    problem: str


@dataclass(frozen=True)
class Hdf5Group:
    """A group: ``attributes`` are arrays (texts: dtype S), ``members`` groups or arrays.

    Arrays keep the file's dtype and shape, are read-only, and are mapped where the file holds them
    as they are. A scalar is an array of no dimensions. Like a mapping of its members.
    """

    attributes: Mapping[str, Array | Unreadable] = field(default_factory=dict)
    members: Mapping[str, Hdf5Group | Array | Unreadable] = field(default_factory=dict)

    def __contains__(self, name: object) -> bool:
        return name in self.members

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, name: str) -> Hdf5Group | Array | Unreadable:
        return self.members[name]

    def get(self, name: str) -> Hdf5Group | Array | Unreadable | None:
        """The member of that name, or None."""
        return self.members.get(name)


def is_hdf5(path: Path) -> bool:
    """Whether HDF5's signature stands where it may: at 0, 512, 1024, 2048, ..."""
    with path.open("rb") as stream:
        size, at = stream.seek(0, 2), 0
        while at < size:
            stream.seek(at)
            if stream.read(8) == b"\x89HDF\r\n\x1a\n":
                return True
            at = max(512, 2 * at)
    return False


def read_hdf5(path: str | Path, what: str = "HDF5") -> Hdf5Group:
    """Everything in an HDF5 file, as plain arrays.

    ``what`` names the format in messages. Raises ``InputError`` in bounded time and memory for
    anything that is not whole: not HDF5, truncated, damaged, links to other files aside (those are
    ``Unreadable`` members). Ctrl-C ends the reading at once.
    """
    checked = input_file(path, what)
    if not sys.executable:
        raise Unavailable("HDF5 files are read by a process of their own.", ["sys.executable"])
    with checked.open("rb") as stream:
        if not is_hdf5(checked):
            raise InputError(f"{path} is not an HDF5 file, so not {what}; it may be truncated.")
        size = os.fstat(stream.fileno()).st_size
        output = SMALL + EXPANSION * size
        with tempfile.TemporaryFile() as result:
            _describe(checked, what, stream, result, output)
            return _Plain(checked, what, stream, result).root()


def _describe(path: Path, what: str, stream: BinaryIO, result: BinaryIO, output: int) -> None:
    """Run the child on ``stream``; InputError if it does not come to its end."""
    size = os.fstat(stream.fileno()).st_size
    seconds = SECONDS + size // BYTES_A_SECOND
    memory = MEMORY + 2 * min(output, EXPANSION * SMALL) + size
    script = Path(__file__).with_name("hdf5_child.py")
    # plugins are code beside the file's own; threads of a BLAS would each reserve memory
    environment = {**os.environ, "HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(script), str(seconds), str(memory), str(output)],
        stdin=stream, stdout=result, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    with process:
        try:
            _, said = process.communicate(timeout=WALL * seconds)
            code = process.returncode
        except subprocess.TimeoutExpired:
            code, said = -1, b""
        finally:
            process.kill()
    if code < 0:
        raise InputError(
            f"{path} cannot be read as {what}: reading it did not end within {seconds} seconds and "
            "its memory, or broke the HDF5 library.",
            advice="The file is damaged; copy or download it again.",
        )
    if code:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        raise InputError(
            f"{path} cannot be read as {what}: {lines[-1][:300] if lines else f'exit {code}'}."
        )


class _Plain:
    """Turns a child's description into arrays, trusting none of it."""

    def __init__(self, path: Path, what: str, stream: BinaryIO, result: BinaryIO) -> None:
        self._path, self._what = path, what
        self._file, self._file_size = stream, os.fstat(stream.fileno()).st_size
        length = result.seek(0, 2)
        if length < 8:
            raise self._broken("no answer")
        result.seek(length - 8)
        text = int.from_bytes(result.read(8), "little")
        if text > length - 8:
            raise self._broken("no whole answer")
        result.seek(length - 8 - text)
        try:
            self._found = json.loads(result.read(text).decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            raise self._broken(str(error)) from error
        self._mapped = map_file(path, stream)
        values = length - 8 - text
        result.seek(0)
        self._values = np.frombuffer(result.read(values), np.uint8)

    def _broken(self, why: str) -> InputError:
        return InputError(
            f"{self._path} cannot be read as {self._what}: {why}.",
            advice="The file may be truncated or damaged; copy or download it again.",
        )

    def root(self) -> Hdf5Group:
        if "error" in self._found:
            raise self._broken(str(self._found["error"]).rstrip("."))
        try:
            root = self._member(self._found["root"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._broken(f"{type(error).__name__} in its description") from error
        if not isinstance(root, Hdf5Group):
            raise self._broken("it has no root group")
        return root

    def _member(self, found: dict[str, Any]) -> Hdf5Group | Array | Unreadable:
        if "problem" in found:
            return Unreadable(str(found["problem"]))
        if "members" in found:
            attributes = {name: self._value(value) for name, value in found["attributes"].items()}
            return Hdf5Group(
                attributes, {name: self._member(part) for name, part in found["members"].items()}
            )
        return self._value(found)

    def _value(self, found: dict[str, Any]) -> Array | Unreadable:
        if "problem" in found:
            return Unreadable(str(found["problem"]))
        code, shape = str(found["dtype"]), tuple(int(n) for n in found["shape"])
        known = code[1:] in _DTYPES or (code[1:2] == "S" and 1 <= int(code[2:]) <= SMALL)
        if not known or min(shape, default=0) < 0 or len(shape) > 32:
            raise ValueError(code)
        dtype = np.dtype(code)
        size = math.prod(shape) * dtype.itemsize
        source = self._mapped if "offset" in found else self._values
        begin = int(found["offset"] if "offset" in found else found["at"])
        if begin < 0 or begin + size > source.size:
            return Unreadable("its values lie beyond the end of the file")
        if not size:
            return np.zeros(shape, dtype)
        values = source[begin : begin + size]
        # small ones may lie at any byte
        aligned = values.view(dtype) if begin % dtype.alignment == 0 else values.copy().view(dtype)
        plain = aligned.reshape(shape)
        plain.flags.writeable = False
        return plain
