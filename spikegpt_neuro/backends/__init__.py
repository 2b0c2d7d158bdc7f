"""Ways to execute a network, found through the entry-point group ``spikegpt_neuro.backends``."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

from spikegpt_neuro.backends.base import Availability, Backend, Session
from spikegpt_neuro.errors import InputError, Unavailable

ENTRY_POINT_GROUP = "spikegpt_neuro.backends"

__all__ = [
    "ENTRY_POINT_GROUP", "Availability", "Backend", "Session", "backend_names", "get_backend",
]  # fmt: skip


def backend_names() -> list[str]:
    """Names of all installed backends, ours and other packages', sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


def get_backend(name: str) -> Backend:
    """The backend called ``name``; ``InputError`` lists the known ones for any other name.

    Nothing of a backend is imported before it is asked for. Raises ``Unavailable`` where its code
    cannot be loaded.
    """
    found = [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == name]
    if not found:
        raise InputError(
            f"there is no backend {name!r}.", [f"known: {known}" for known in backend_names()]
        )
    try:
        made = found[0].load()()
    except (ImportError, AttributeError) as error:
        raise Unavailable(
            f"the backend {name!r} ({found[0].value}) cannot be loaded: {error}",
            advice="Install it again, or what it says is missing.",
        ) from error
    return cast(Backend, made)
