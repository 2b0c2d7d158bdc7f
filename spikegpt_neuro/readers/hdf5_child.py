"""The process that parses a foreign HDF5 file: standard input to a plain description and values.

Run as a script by ``readers.hdf5``, never imported there. libhdf5 can loop for ever or write past
its buffers on damaged bytes; here that ends this process, and nothing else. It sets its own limits
before it reads the first byte: processor seconds, memory, bytes written, and no further files,
so that neither external links nor filter plugins can be opened.

    hdf5_child.py SECONDS MEMORY OUTPUT < FILE > RESULT

Result: all values one after the other, the description as JSON, and its length in 8 bytes. A group
is ``{"attributes": {}, "members": {}}``; values are ``{"dtype", "shape"}`` with ``"offset"`` in
the file, where they lie there as they are, or else ``"at"`` in the result; what cannot be given is
``{"problem": text}``.
"""

from __future__ import annotations

import codecs
import json
import sys
from typing import Any, BinaryIO

import h5py
import numpy as np

DEEPEST = 32
MOST_OBJECTS = 1 << 18
MOST_EXPANSION = 1100
"""Bytes of values a stored byte can stand for; gzip's most is 1,032."""
_PLAIN = "biuf"


def limit(seconds: int, memory: int, output: int, files: int | None = 3) -> None:
    """Limit this process; ``files``: how many it may have open, None for as many as it likes."""
    try:
        import resource
    except ImportError:  # no such limits on this system; the caller's clock remains
        return
    for encoding in ("ascii", "utf-8", "latin-1"):  # modules that could not be opened later
        codecs.lookup(encoding)
    for name, value in (
        ("RLIMIT_CORE", 0), ("RLIMIT_CPU", seconds), ("RLIMIT_AS", memory),
        ("RLIMIT_FSIZE", output), ("RLIMIT_NOFILE", files),
    ):  # fmt: skip
        number = getattr(resource, name, None)
        if number is None or value is None:
            continue
        hard = resource.getrlimit(number)[1]
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (soft, hard))


class _Description:
    """Describes one file; values that cannot be mapped go to ``result`` at once."""

    def __init__(self, stream: BinaryIO, result: BinaryIO, output: int) -> None:
        self._stream, self._result = stream, result
        self._left, self._written = output, 0
        self._objects = 0
        self._groups: set[Any] = set()

    def file(self) -> dict[str, Any]:
        with h5py.File(self._stream, "r") as file:
            return self._group(file, 0)

    def _group(self, group: Any, depth: int) -> dict[str, Any]:
        address = h5py.h5o.get_info(group.id).addr
        if address in self._groups:
            return {"problem": "this group has two names"}
        if depth > DEEPEST:
            return {"problem": "groups are nested too deeply"}
        self._groups.add(address)
        members = {name: self._member(group, name, depth) for name in group}
        return {"attributes": self._attributes(group), "members": members}

    def _member(self, group: Any, name: str, depth: int) -> dict[str, Any]:
        self._objects += 1
        if self._objects > MOST_OBJECTS:
            raise ValueError(f"more than {MOST_OBJECTS} objects")
        link = group.id.links.get_info(name.encode("utf-8", "surrogateescape"))
        if link.type != h5py.h5l.TYPE_HARD:
            return {"problem": "is a link; all must be in this file"}
        item = group[name]
        if isinstance(item, h5py.Group):
            return self._group(item, depth + 1)
        if not isinstance(item, h5py.Dataset):
            return {"problem": "is neither a group nor a dataset"}
        return self._dataset(item)

    def _attributes(self, group: Any) -> dict[str, Any]:
        found = {}
        for name in group.attrs:
            attribute = group.attrs.get_id(name)
            problem = self._unfit(attribute.dtype, attribute.shape)
            if problem:
                found[name] = {"problem": problem}
            else:
                found[name] = self._value(np.asarray(group.attrs[name]))
        return found

    def _dataset(self, dataset: Any) -> dict[str, Any]:
        storage = dataset.id.get_create_plist()
        layout = storage.get_layout()
        external = storage.get_external_count() > 0
        problem = self._unfit(dataset.dtype, dataset.shape)
        if layout == h5py.h5d.VIRTUAL or external:
            problem = "its values are in other files"
        if problem:
            return {"problem": problem}
        size = dataset.size * dataset.dtype.itemsize
        contiguous = layout == h5py.h5d.CONTIGUOUS
        if contiguous and dataset.dtype.kind in _PLAIN + "S" and size:
            offset = dataset.id.get_offset()
            if offset is not None:
                return {**_kind(dataset.dtype, dataset.shape), "offset": offset}
        # heap entries of texts are not counted as storage of the dataset
        if dataset.id.get_storage_size() * MOST_EXPANSION < size:
            return {"problem": f"declares {size} bytes that the file does not hold"}
        return self._value(np.asarray(dataset[()]))

    def _unfit(self, dtype: Any, shape: Any) -> str:
        """Why values of this type and shape are not read; empty if they are."""
        if shape is None:
            return "holds no values"
        if dtype.kind == "O" and h5py.check_string_dtype(dtype) is None:
            return "its values are of a type that is not read"
        if dtype.kind not in _PLAIN + "SO":
            return f"its values are of a type that is not read ({dtype})"
        size = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
        if size > self._left:
            return f"declares {size} bytes, more than is read"
        return ""

    def _value(self, values: Any) -> dict[str, Any]:
        if values.dtype.kind in "OU":  # texts of any length become texts of one length
            flat = [
                text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
                for text in values.reshape(-1)
            ]
            longest = max(map(len, flat), default=0)
            if longest * len(flat) > self._left:
                return {"problem": "its texts are longer than is read"}
            values = np.array(flat, f"S{max(1, longest)}").reshape(values.shape)
        values = np.ascontiguousarray(values).reshape(values.shape)
        at = self._written
        self._left -= values.nbytes
        if self._left < 0:
            raise ValueError("holds more than is read")
        self._result.write(values.tobytes())
        self._written += values.nbytes
        return {**_kind(values.dtype, values.shape), "at": at}


def _kind(dtype: Any, shape: Any) -> dict[str, Any]:
    return {"dtype": dtype.str, "shape": [int(n) for n in shape]}


def describe(stream: BinaryIO, result: BinaryIO, output: int) -> None:
    """Write the description of the HDF5 file ``stream`` and its values to ``result``."""
    try:
        found: dict[str, Any] = {"root": _Description(stream, result, output).file()}
    except Exception as error:  # libhdf5 and h5py raise nearly anything on damaged bytes
        lines = str(error).strip().splitlines()
        found = {"error": lines[0][:300] if lines else type(error).__name__}
    text = json.dumps(found).encode("utf-8", "surrogateescape")
    result.write(text)
    result.write(len(text).to_bytes(8, "little"))
    result.flush()


if __name__ == "__main__":
    limit(*map(int, sys.argv[1:4]))
    describe(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[3]))
