"""The backend ``lava``: lava-nc's CPU runtime as the reference."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from spikegpt_neuro.backends.base import Availability, Session
from spikegpt_neuro.backends.lava.compatibility import INSTALL_ADVICE, prepare_lava
from spikegpt_neuro.network import Network


class LavaBackend:
    """Lava process graph on the CPU, fused granularity."""

    name = "lava"

    def available(self) -> Availability:
        """Looks for lava-nc without importing it."""
        try:
            details = {"lava-nc": version("lava-nc")}
        except PackageNotFoundError:
            details = {}
        if importlib.util.find_spec("lava") is None:
            return Availability(False, ("lava-nc",), ("lava-nc",), INSTALL_ADVICE, details)
        return Availability(True, ("lava-nc",), details=details)

    def open(self, network: Network, *, trace: Iterable[str] = ()) -> Session:
        """See ``Backend.open``."""
        prepare_lava()
        from spikegpt_neuro.backends.lava.fused import FusedSession

        return FusedSession(network, trace=trace)


class LavaFineBackend(LavaBackend):
    """Lava process graph on the CPU, fine granularity: the graph a chip gets."""

    name = "lava-fine"

    def open(self, network: Network, *, trace: Iterable[str] = ()) -> Session:
        """See ``Backend.open``."""
        prepare_lava()
        from spikegpt_neuro.backends.lava.fine import FineSession

        return FineSession(network, trace=trace)
