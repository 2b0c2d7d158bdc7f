"""The backend ``loihi2``: probes for the SDK, a host and a board without raising."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable

from spikegpt_neuro.backends.base import Availability, Session
from spikegpt_neuro.errors import Unavailable
from spikegpt_neuro.network import Network

ADVICE = (
    "Loihi 2 needs Intel's lava-loihi package (members of the Intel Neuromorphic Research "
    "Community get it from Intel) and a board: set NXSDKHOST to the board's host for Ethernet, or "
    "run where SLURM offers a Loihi partition. Without them use --backend emulator or --backend "
    "lava; both compute the same integers."
)


def _find(module: str) -> bool:
    """Whether ``module`` could be imported; looks only, and takes a broken parent for a no."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        return False


class Loihi2Backend:
    """Loihi 2 through lava-loihi."""

    name = "loihi2"

    def available(self) -> Availability:
        """Looks for the SDK, a way to a host, and the chip generation; imports nothing of Lava.

        Stock Lava's own probes are not called: ``slurm.is_available`` raises FileNotFoundError
        where SLURM is not installed, and ``Loihi2.is_loihi2_available`` sets environment variables.
        """
        sdk = _find("lava.utils.loihi2_profiler")
        host = os.environ.get("NXSDKHOST", "")
        slurm = shutil.which("sinfo")
        generation = os.environ.get("LOIHI_GEN", "")
        probed = (
            f"lava-loihi (module lava.utils.loihi2_profiler): {'found' if sdk else 'not found'}",
            f"Ethernet host (NXSDKHOST): {host or 'not set'}",
            f"SLURM (command sinfo): {slurm or 'not found'}",
            f"chip generation (LOIHI_GEN): {generation or 'not set'}",
        )
        missing = []
        if not sdk:
            missing.append("lava-loihi")
        if not host and slurm is None:
            missing.append("a Loihi 2 host")
        if generation and not generation.startswith("N3"):
            missing.append(f"a Loihi 2 generation (LOIHI_GEN is {generation}, Loihi 2 is N3...)")
        return Availability(not missing, probed, tuple(missing), "" if not missing else ADVICE)

    def open(self, network: Network, *, trace: Iterable[str] = ()) -> Session:
        """Raises ``Unavailable``: saying what was probed and what to do, exit code 3."""
        availability = self.available()
        missing = ", ".join(availability.missing) or "this release's on-chip runner"
        raise Unavailable(
            f"the loihi2 backend cannot run here; missing: {missing}.", availability.probed,
            availability.advice or ADVICE,
        )  # fmt: skip
