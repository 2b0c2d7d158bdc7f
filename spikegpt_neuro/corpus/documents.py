"""The documents of a corpus, in a fixed order, grouped into shards of similar size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from spikegpt_neuro.errors import InputError

SUFFIXES = (".txt", ".text", ".md")
"""Files of a folder that are taken for documents; a file named directly always is."""
SHARD_BYTES = 1 << 18
"""Documents are grouped up to this size: a task then lasts seconds, not milliseconds."""


@dataclass(frozen=True)
class Document:
    """One text file. ``name``: as shown and sorted; ``size`` in bytes."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True)
class Shard:
    """Documents that one task scores."""

    index: int
    documents: tuple[Document, ...]


def find_documents(paths: Iterable[str | Path]) -> list[Document]:
    """Documents of files and folders (searched through), in the order of their names.

    Raises InputError listing every path that is missing, empty, or named twice.
    """
    problems = []
    found: dict[Path, Document] = {}
    for given in map(Path, paths):
        if given.is_dir():
            inside = sorted(p for p in given.rglob("*") if p.suffix in SUFFIXES and p.is_file())
            if not inside:
                problems.append(f"{given}: no {', '.join(SUFFIXES)} files in this folder")
            candidates = [(str(given / p.relative_to(given)), p) for p in inside]
        elif given.is_file():
            candidates = [(str(given), given)]
        else:
            problems.append(f"{given}: does not exist")
            continue
        for name, path in candidates:
            size = path.stat().st_size
            if size == 0:
                problems.append(f"{name}: is empty")
            elif path.resolve() in found:
                problems.append(f"{name}: is named twice")
            else:
                found[path.resolve()] = Document(name, path, size)
    if problems:
        raise InputError(f"these documents cannot be scored ({len(problems)} problems):", problems)
    return sorted(found.values(), key=lambda document: document.name)


def make_shards(documents: Iterable[Document]) -> list[Shard]:
    """Group documents in their order; depends on names and sizes only, never on the workers."""
    groups: list[list[Document]] = []
    filled = SHARD_BYTES
    for document in documents:
        if filled + document.size > SHARD_BYTES:
            groups.append([])
            filled = 0
        groups[-1].append(document)
        filled += document.size
    return [Shard(index, tuple(group)) for index, group in enumerate(groups)]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
