"""The bytes of a ``model.net``: a header of our own before HDF5, an index, and a hash of each part.

HDF5 allows 512 bytes of another's at a file's beginning. They hold the place and SHA-256 of an
index (JSON, itself a dataset), which names every array with its place and SHA-256; a last SHA-256
covers everything between (HDF5's own structure). So each byte of the file is covered by a hash, and
reading never enters the HDF5 library: its file is for other programs, stock NetX among them.

Header, little-endian: 16 bytes ``MAGIC``; uint32 format version; uint32 zero; uint64 length of the
file; uint64 offset and uint64 length of the index; 32 bytes SHA-256 of the index; 32 bytes SHA-256
of the structure; zeros; from byte 480 SHA-256 of bytes 0..479.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers.mapped import Bytes, map_file

MAGIC = b"spikegpt-neuro\r\n"
HEADER_BYTES = 512
ADVICE = "Copy or download it again, or export it again from its checkpoint."
_FIELDS = struct.Struct("<16sIIQQQ32s32s")
_HASHED = HEADER_BYTES - 32
_PIECE = 1 << 24


@dataclass(frozen=True)
class Region:
    """Bytes of a file: an array's. ``where`` names it in messages."""

    where: str
    offset: int
    length: int
    sha256: str


def damaged(path: Path, what: str, problems: Sequence[str] = ()) -> InputError:
    """The error of a file whose bytes are not those that were written."""
    return InputError(f"{path} is damaged: {what}", problems, ADVICE)


class Contents:
    """The arrays of an open file, and whether they are the bytes that were written.

    Opening a file reads its header, index and structure; its arrays are mapped. ``check`` hashes
    them, once, before the first answer is computed from them.
    """

    def __init__(self, path: Path, mapped: Bytes, regions: Sequence[Region]) -> None:
        self._path, self._mapped, self._regions = path, mapped, regions
        self._checked = False

    def check(self) -> None:
        """Hash every array; ``InputError`` lists those that differ from their SHA-256."""
        if self._checked:
            return
        wrong = [
            region.where
            for region in self._regions
            if hashlib.sha256(
                self._mapped[region.offset : region.offset + region.length].data
            ).hexdigest()
            != region.sha256
        ]
        if wrong:
            raise damaged(
                self._path,
                f"{len(wrong)} of its {len(self._regions)} arrays are not those that were written:",
                wrong,
            )
        self._checked = True


def seal(stream: BinaryIO, version: int, index: tuple[int, int], arrays: Iterable[Region]) -> None:
    """Write the header of the finished file ``stream``; ``index`` is its (offset, length)."""
    size = stream.seek(0, 2)
    stream.seek(index[0])
    text = hashlib.sha256(stream.read(index[1])).digest()
    structure = hashlib.sha256()
    for begin, end in _gaps([index, *((r.offset, r.length) for r in arrays)], size):
        stream.seek(begin)
        while begin < end:
            piece = stream.read(min(_PIECE, end - begin))
            structure.update(piece)
            begin += len(piece)
    fields = _FIELDS.pack(MAGIC, version, 0, size, *index, text, structure.digest())
    header = fields.ljust(_HASHED, b"\0")
    stream.seek(0)
    stream.write(header + hashlib.sha256(header).digest())
    stream.flush()


def _gaps(parts: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """What lies between the parts (offset, length) of a file; ValueError where they overlap."""
    gaps, end = [], HEADER_BYTES
    for offset, length in sorted(part for part in parts if part[1]):
        if offset < end:
            raise ValueError(f"two parts share byte {offset}")
        if offset > end:
            gaps.append((end, offset))
        end = offset + length
    if end > size:
        raise ValueError(f"a part ends at {end}")
    if end < size:
        gaps.append((end, size))
    return gaps


class Container:
    """An open file whose header and index are whole; ``check_structure`` says the same of the rest.

    ``mapped``: the whole file, uint8, read-only. ``index``: the index's bytes.
    """

    def __init__(self, path: Path, stream: BinaryIO, versions: Sequence[int]) -> None:
        self.path = path
        stream.seek(0)
        header = stream.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            raise damaged(path, f"it ends after {len(header)} bytes.")
        if hashlib.sha256(header[:_HASHED]).digest() != header[_HASHED:]:
            raise damaged(path, "its header does not have its own SHA-256.")
        fields = _FIELDS.unpack_from(header)
        _, self.version, _, size, offset, length, text, self._structure = fields
        if self.version not in versions:
            raise InputError(
                f"{path} has format version {self.version}; this release reads versions "
                f"{', '.join(map(str, versions))}.",
                advice="Read it with the release that wrote it, or export the checkpoint again.",
            )
        self.mapped: Bytes = map_file(path, stream)
        if self.mapped.size != size:
            raise damaged(path, f"it has {self.mapped.size} bytes, of {size} that were written.")
        self._index = (offset, length)
        if offset + length > size:
            raise damaged(path, "its index lies beyond its end.")
        self.index = self.mapped[offset : offset + length].tobytes()
        if hashlib.sha256(self.index).digest() != text:
            raise damaged(path, "its index does not have the SHA-256 of its header.")

    def check_structure(self, arrays: Iterable[Region]) -> None:
        """Everything between the arrays has its hash, and the arrays lie apart from each other."""
        try:
            gaps = _gaps([self._index, *((r.offset, r.length) for r in arrays)], self.mapped.size)
        except ValueError as error:
            raise damaged(self.path, f"its index is not true: {error}.") from error
        structure = hashlib.sha256()
        for begin, end in gaps:
            structure.update(self.mapped[begin:end].data)
        if structure.digest() != self._structure:
            raise damaged(self.path, "what lies between its arrays is not what was written.")


def has_header(stream: BinaryIO) -> bool:
    """Whether the file begins as one of ours of version 2 or later does."""
    stream.seek(0)
    return stream.read(len(MAGIC)) == MAGIC
