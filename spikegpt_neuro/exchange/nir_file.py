"""Opening a NIR file: its HDF5 is parsed in a process of its own, its nodes are made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange.nir_format import import_package
from spikegpt_neuro.readers.guard import parsing
from spikegpt_neuro.readers.hdf5 import Hdf5Group, Unreadable, read_hdf5

_WHAT = "a NIR graph"


def read_graph(path: str | Path) -> Any:
    """The ``nir.NIRGraph`` in ``path``, as ``nir.read(path, type_check=False)`` gives it.

    Raises ``InputError`` for everything that is not a whole NIR graph; what its nodes and edges
    say is the importer's to judge.
    """
    nir = import_package()
    node = read_hdf5(path, _WHAT).get("node")
    if not isinstance(node, Hdf5Group):
        raise InputError(f"{path} is HDF5, but holds no /node: it is not {_WHAT}.")
    problems: list[str] = []
    content = _plain(node, "node", problems)
    if problems:
        raise InputError(f"{path} cannot be read as {_WHAT} ({len(problems)} problems):", problems)
    with parsing(path, _WHAT):
        return nir.dict2NIRNode({**content, "type_check": False})


def _plain(group: Hdf5Group, where: str, problems: list[str]) -> dict[str, Any]:
    """Nested dictionaries of arrays, numbers and texts, as the package's own reader makes them."""
    found: dict[str, Any] = {}
    for name, member in group.members.items():
        if isinstance(member, Hdf5Group):
            found[name] = _plain(member, f"{where}/{name}", problems)
        elif isinstance(member, Unreadable):
            problems.append(f"{where}/{name}: {member.problem}")
        else:
            value: Any = member[()]
            try:
                found[name] = value.decode("utf-8") if isinstance(value, bytes) else value
            except UnicodeDecodeError:
                problems.append(f"{where}/{name}: is not UTF-8 text")
    return found
