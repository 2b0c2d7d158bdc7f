"""``doctor``: what is installed here, and what each missing piece costs the user."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer
from rich.console import RenderableType

from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption, Stopwatch
from spikegpt_neuro.reports.tables import table
from spikegpt_neuro.version import __version__


@dataclass(frozen=True)
class Piece:
    """Something the package can use. ``needed``: nothing works without it."""

    name: str
    found: str
    needed: bool
    without_it: str


_PACKAGES = (
    # distribution, needed, what its absence costs
    ("numpy", True, "nothing works"),
    ("numba", True, "nothing executes: the emulator is compiled with it"),
    ("h5py", True, "model.net cannot be read or written"),
    ("networkx", True, "networks cannot be built"),
    ("torch", True, "no export, no training, no comparison with the float model"),
    ("safetensors", True, "no .safetensors checkpoints"),
    ("tokenizers", True, "no Hugging Face tokenizer files"),
    ("lava-nc", False, "no --backend lava, so no second opinion on the emulator's integers"),
    ("lava-dl", False, "no training with SLAYER blocks, no check with stock NetX"),
    ("lava-loihi", False, "no run on a Loihi 2 board (Intel gives it to INRC members)"),
    ("distributed", False, "scoring on one machine only (extra: cluster)"),
    ("nir", False, "no exchange in the NIR format (extra: nir)"),
    ("matplotlib", False, "no plots in reports"),
)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _pieces() -> list[Piece]:
    pieces = [Piece("Python", platform.python_version(), True, "")]
    pieces += [Piece(name, _version_of(name), needed, cost) for name, needed, cost in _PACKAGES]
    return pieces


def _backends() -> list[dict[str, object]]:
    """Availability of every installed backend, as plain values."""
    from spikegpt_neuro.backends import backend_names, get_backend
    from spikegpt_neuro.errors import Unavailable

    found: list[dict[str, object]] = []
    for name in backend_names():
        try:
            found.append({"name": name, **asdict(get_backend(name).available())})
        except Unavailable as error:
            found.append(
                {
                    "name": name,
                    "ok": False,
                    "probed": [],
                    "missing": [error.summary],
                    "advice": error.advice,
                }
            )
    return found


def doctor(
    warm_up: Annotated[
        bool,
        typer.Option(
            "--warm-up", help="Compile the emulator's kernels into the cache now, not on first use."
        ),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what is installed, and what each missing piece costs you.

    Exit code 3 if something is missing that nothing works without.
    """
    output = Output(as_json=as_json, quiet=quiet)
    pieces = _pieces()
    missing = [piece for piece in pieces if piece.needed and not piece.found]
    backends = [] if missing else _backends()
    seconds = None
    if warm_up and not missing:
        from spikegpt_neuro.backends.emulator import warm_up as compile_kernels

        output.note("Compiling the emulator's kernels ...")
        watch = Stopwatch()
        compile_kernels()
        seconds = watch.seconds
    shown = table("piece|found|without it")
    for piece in pieces:
        shown.add_row(
            piece.name, piece.found or "missing", piece.without_it if not piece.found else ""
        )
    listed = table("backend|state|what to do")
    for backend in backends:
        gaps = ", ".join(str(gap) for gap in backend["missing"])  # type: ignore[attr-defined]
        state = "ready" if backend["ok"] else f"not here: {gaps}"
        listed.add_row(str(backend["name"]), state, str(backend["advice"]))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{platform.system()} {platform.machine()}, {cores} processors, {sys.executable}"
    lines: list[RenderableType] = [
        f"spikegpt-neuro {__version__} on {machine}",
        "",
        shown,
        "",
        listed,
    ]
    if seconds is not None:
        lines += ["", f"The emulator's kernels are compiled ({seconds:.1f} s)."]
    output.result(
        {
            "version": __version__, "machine": machine, "processors": cores,
            "pieces": [asdict(piece) for piece in pieces], "backends": backends,
            "warm_up_seconds": seconds, "ok": not missing,
        },
        *lines,
    )  # fmt: skip
    if missing:
        raise typer.Exit(3)
