"""What this machine has of a Loihi 2: the SDK, a host, a board, a chip generation. Never raises."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from spikegpt_neuro.backends.base import Availability

GENERATIONS = ("N3B2", "N3B3", "N3C1", "N3D1")
"""Values of LOIHI_GEN that are Loihi 2; ``lava.utils.loihi`` also knows N2A2, a Loihi 1."""
DEFAULT_GENERATION = "N3B3"
"""What ``lava.utils.loihi`` assumes."""
SDK_MODULE = "lava.utils.loihi2_profiler"
"""The module by which ``lava.utils.loihi.is_installed`` knows lava-loihi."""
IMPORT_SECONDS, COMMAND_SECONDS = 60.0, 5.0

ADVICE = (
    "Loihi 2 needs Intel's lava-loihi package (members of the Intel Neuromorphic Research "
    "Community get it from Intel) and a board: set NXSDKHOST to the board's host for Ethernet, or "
    "run where SLURM offers a Loihi partition (PARTITION or BOARD chooses one), and LOIHI_GEN to "
    f"one of {', '.join(GENERATIONS)}. Without them use --backend emulator, or lava where Lava is "
    "installed; both compute the same integers."
)


@dataclass(frozen=True)
class Host:
    """A way to a board, from the variables lava-nc itself reads.

    ``kind``: ``ethernet`` (NXSDKHOST) or ``slurm`` (sinfo is on the path and NOSLURM not set).
    """

    kind: Literal["ethernet", "slurm"]
    address: str
    binary: str
    partition: str
    board: str
    generation: str

    def __str__(self) -> str:
        if self.kind == "ethernet":
            return f"host {self.address}, {self.generation}"
        where = self.board or self.partition
        return f"SLURM {where or 'default partition'}, {self.generation}"


def find_host() -> Host | None:
    """The host the environment names; NXSDKHOST goes before SLURM. None if there is none."""
    environment = os.environ
    address = environment.get("NXSDKHOST", "")
    if not address and (environment.get("NOSLURM") or shutil.which("sinfo") is None):
        return None
    return Host(
        "ethernet" if address else "slurm", address, environment.get("HOST_BINARY", ""),
        environment.get("PARTITION", ""), environment.get("BOARD", ""),
        environment.get("LOIHI_GEN", "") or DEFAULT_GENERATION,
    )  # fmt: skip


def sdk_found() -> bool:
    """Whether lava-loihi could be imported; looks only, and takes a broken parent for a no."""
    try:
        return importlib.util.find_spec(SDK_MODULE) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def sdk_version() -> str:
    """Version of the installed lava-loihi, or ``of unknown version``."""
    try:
        return version("lava-loihi")
    except PackageNotFoundError:
        return "of unknown version"


def _import_problem() -> str:
    """Why lava-loihi cannot be imported, or nothing. Tried in a process of its own: a native part
    may end the process, or wait for something."""
    program = (
        "from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava\n"
        "prepare_lava()\n"
        f"import {SDK_MODULE}, lava.magma.core.model.nc.model, lava.magma.core.model.c.model\n"
        "import lava.proc.embedded_io.spike"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=IMPORT_SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"the import ended with exit code {done.returncode}"


@dataclass(frozen=True)
class _Nodes:
    """SLURM's answer: name, partition and state of each node; ``problem`` if there was none."""

    rows: tuple[tuple[str, str, str], ...] = ()
    problem: str = ""

    def usable(self, partition: str, board: str) -> int:
        """Nodes that are up and match; SLURM marks the default partition with a star."""
        return sum(
            "down" not in state
            and "drain" not in state
            and board in ("", name)
            and partition in ("", of.rstrip("*"))
            for name, of, state in self.rows
        )


def _slurm_nodes() -> _Nodes:
    """Ask ``sinfo -N``, as ``lava.utils.slurm`` does; its own call raises where sinfo is absent."""
    try:
        done = subprocess.run(
            ["sinfo", "-N"], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return _Nodes(problem=str(error))
    fields = [line.split() for line in done.stdout.splitlines()[1:]]
    return _Nodes(tuple((row[0], row[2], row[3]) for row in fields if len(row) >= 4))


def probe(*, importing: bool = True) -> Availability:
    """Look for everything a run needs. ``importing``: also try to import lava-loihi.

    Stock Lava's own probes are not called: ``slurm.is_available`` raises FileNotFoundError where
    SLURM is not installed, and ``Loihi2.is_loihi2_available`` sets environment variables.
    """
    missing = []
    found = sdk_found()
    details = {"lava-loihi": sdk_version()} if found else {}
    probed = [f"lava-loihi (module {SDK_MODULE}): {'found' if found else 'not found'}"]
    if not found:
        missing.append("lava-loihi")
    elif importing:
        problem = _import_problem()
        probed.append(f"import of lava-loihi: {problem or 'works'}")
        if problem:
            missing.append(f"a lava-loihi that can be imported ({problem})")
    host, slurm = find_host(), shutil.which("sinfo")
    probed.append(f"Ethernet host (NXSDKHOST): {os.environ.get('NXSDKHOST') or 'not set'}")
    probed.append(f"SLURM (command sinfo): {slurm or 'not found'}")
    if host is None:
        missing.append("a Loihi 2 host")
    elif host.kind == "slurm":
        nodes = _slurm_nodes()
        usable = nodes.usable(host.partition, host.board)
        wanted = ", ".join(
            f"{name} {value}"
            for name, value in (("partition", host.partition), ("board", host.board))
            if value
        )
        probed.append(
            f"boards ({wanted or 'any'}): {nodes.problem or f'{usable} of {len(nodes.rows)} up'}"
        )
        if not usable:
            missing.append(f"a Loihi 2 board that is up ({wanted or 'any partition'})")
    else:
        probed.append("board: its host is asked when a session opens")
    generation = os.environ.get("LOIHI_GEN", "")
    probed.append(f"chip generation (LOIHI_GEN): {generation or 'not set'}")
    if generation and generation not in GENERATIONS:
        missing.append(
            f"a Loihi 2 generation (LOIHI_GEN is {generation}, Loihi 2 is {', '.join(GENERATIONS)})"
        )
    return Availability(
        not missing, tuple(probed), tuple(missing), ADVICE if missing else "", details
    )
