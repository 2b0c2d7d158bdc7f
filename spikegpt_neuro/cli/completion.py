"""What the shell offers with Tab where an option takes one of few words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

Completer = Callable[[str], list[str]]


def profiles(incomplete: str) -> list[str]:
    """Names of hardware profiles, and .toml files of the user's with the folders to them."""
    from spikegpt_neuro.hardware_profiles import list_profiles

    return [*_beginning(incomplete, list_profiles()), *_files(incomplete, ".toml")]


def backends(incomplete: str) -> list[str]:
    """Names of the installed backends; after a comma, of the next one."""
    from spikegpt_neuro.backends import backend_names

    return _last_of_several(incomplete, backend_names())


def compared(incomplete: str) -> list[str]:
    """What ``verify`` compares: the installed backends, ``float`` and ``netx``."""
    from spikegpt_neuro.backends import backend_names

    return _last_of_several(incomplete, [*backend_names(), "float", "netx"])


def packings(incomplete: str) -> list[str]:
    """How densely cores are filled."""
    from spikegpt_neuro.mapping import PACKINGS

    return _beginning(incomplete, PACKINGS)


def words(*known: str) -> Completer:
    """A completer of those words."""

    def complete(incomplete: str) -> list[str]:
        return _beginning(incomplete, known)

    return complete


def _beginning(incomplete: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if name.startswith(incomplete)]


def _last_of_several(incomplete: str, known: Iterable[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [before + comma + name for name in _beginning(last, known) if name not in taken]


def _files(incomplete: str, suffix: str) -> list[str]:
    """Files with that suffix, and folders, whose path begins with ``incomplete``."""
    folder = Path(incomplete if incomplete.endswith("/") else Path(incomplete).parent)
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    found = [f"{path}/" if path.is_dir() else str(path) for path in entries]
    offered = [name for name in found if name.endswith((suffix, "/"))]
    # folders only once a path is begun: otherwise they would hide the names
    return [
        name
        for name in offered
        if name.startswith(incomplete) and (incomplete or name.endswith(suffix))
    ]
