"""``doctor``: what is installed here, and what each missing piece costs the user."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.table import Table

from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption, Stopwatch
from spikegpt_neuro.reports.tables import table
from spikegpt_neuro.version import __version__

if TYPE_CHECKING:
    from spikegpt_neuro.cli.doctor_imports import Piece


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
    """Say what is installed and can be imported, and what each missing piece costs you.

    Every package is imported for real, each in a process of its own. Exit code 3 if something is
    missing or broken that nothing works without.
    """
    from spikegpt_neuro.cli.doctor_imports import ALONE, PACKAGES, Piece, try_all

    output = Output(as_json=as_json, quiet=quiet)
    with output.progress("importing") as progress:
        tried = try_all((*PACKAGES, *ALONE), progress)
    pieces = [Piece("Python", platform.python_version(), True, ""), *tried[: len(PACKAGES)]]
    alone = [piece for piece in tried[len(PACKAGES) :] if piece.found]
    broken = [piece for piece in pieces if piece.needed and not piece.works]
    backends = [] if broken else _backends()
    seconds = None
    if warm_up and not broken:
        from spikegpt_neuro.backends.emulator import warm_up as compile_kernels

        watch = Stopwatch()
        compile_kernels()
        seconds = watch.seconds
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{platform.system()} {platform.machine()}, {cores} processors, {sys.executable}"
    lines: list[RenderableType] = [
        f"spikegpt-neuro {__version__} on {machine}", "", _package_table(pieces), "",
        *_advice(pieces), _backend_table(backends),
    ]  # fmt: skip
    lines += [
        f"\n{piece.without_it}: {piece.problem}. {piece.advice}" for piece in alone if piece.problem
    ]
    if seconds is not None:
        lines += ["", f"The emulator's kernels are compiled ({seconds:.1f} s)."]
    output.result(
        {
            "version": __version__, "machine": machine, "processors": cores,
            "pieces": [asdict(piece) for piece in pieces],
            "without_this_package": [asdict(piece) for piece in alone], "backends": backends,
            "warm_up_seconds": seconds, "ok": not broken,
        },
        *lines,
    )  # fmt: skip
    if broken:
        raise typer.Exit(3)


def _package_table(pieces: list[Piece]) -> Table:
    shown = table("piece|version|import|without it")
    for piece in pieces:
        state = "works" if piece.works else "fails" if piece.found else ""
        shown.add_row(
            piece.name, piece.found or "missing", state, "" if piece.works else piece.without_it
        )
    return shown


def _advice(pieces: list[Piece]) -> list[RenderableType]:
    """A line for what is missing or fails: why, and what to do. lava-nc and -dl come together."""
    found: dict[str, list[str]] = {}
    for piece in pieces:
        if not piece.works:
            problem = f" ({piece.problem})" if piece.problem else ""
            found.setdefault(piece.advice, []).append(piece.name + problem)
    lines: list[RenderableType] = [
        f"{', '.join(names)}: {advice}" for advice, names in found.items()
    ]
    return [*lines, ""] if lines else lines


def _backend_table(backends: list[dict[str, object]]) -> Table:
    listed = table("backend|state|what to do")
    for backend in backends:
        gaps = ", ".join(str(gap) for gap in backend["missing"])  # type: ignore[attr-defined]
        state = "ready" if backend["ok"] else f"not here: {gaps}"
        listed.add_row(str(backend["name"]), state, str(backend["advice"]))
    return listed
