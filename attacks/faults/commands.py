"""The commands that are disturbed: what they read, what they write, and what is right after."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attacks.faults.clients import PORT, STATE
from attacks.formats import EXAMPLE, _make_netx

Same = Callable[[Path, Path], bool]
VOLATILE = {"seconds", "tokens_per_second", "time_steps_per_second"}
"""Measured values of a ``--json`` result: all others must be equal."""


def same_bytes(found: Path, wanted: Path) -> bool:
    """Whether two files have the same content."""
    return found.read_bytes() == wanted.read_bytes()


@dataclass(frozen=True)
class Command:
    """``arguments`` of ``spikegpt-neuro``, in a folder with ``inputs``; results lie in ``out``.

    ``outputs``: each is written whole or not at all. ``kept``: patterns of what may be there after
    a fault, to go on from or because it is a log. ``again``: arguments that go on after a fault;
    by default the same ones. ``collisions``: an output's name and the input it is replaced by in
    the trials where they are one file. ``fresh``: needs an interpreter of its own. ``torch``:
    imports PyTorch. ``served``: it serves, and ``attacks.faults.clients`` asks it and ends it.
    """

    name: str
    arguments: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    again: tuple[str, ...] | None = None
    collisions: tuple[tuple[str, str], ...] = ()
    share: float = 1.0
    fresh: bool = False
    torch: bool = False
    served: bool = False
    prepared: tuple[tuple[str, str], ...] = field(default=())
    """(input, output): what lies at an output's place before, a part of the command's work."""


TRAIN = (
    "train", "t.txt", "-o", "out/m.pt", "--layers", "1", "--width", "16", "--steps", "12",
    "--batch", "1", "--context", "12", "--save-every", "1", "--evaluate-every", "4", "--force",
    "--json",
)  # fmt: skip
EXPORT = ("export", "m.pt", "out/m.net", "--calibration", "t.txt", "--force", "--json")
SIMULATE = (
    "simulate", "m.net", "--tokens", "60", "--temperature", "1", "--seed", "3", "--json",
)  # fmt: skip
SCORE = ("score", "m.net", "t.txt", "--json")
ENERGY = (
    "energy", "m.net", "--text", "t.txt", "--tokens", "60", "--date", "2026-01-01", "--force",
    "--profile", "loihi2", "--output", "out/e.json", "--output", "out/e.html", "--output",
    "out/e.parts.csv", "--json",
)  # fmt: skip
SERVE = (
    "serve", "m.net", "--port", PORT, "--sessions-folder", "out", "--grace-seconds", "0.2",
    "--json",
)  # fmt: skip
COMMANDS = {
    command.name: command
    for command in (
        Command(
            "export", EXPORT, ("m.pt", "t.txt"), ("out/m.net",),
            collisions=(("out/m.net", "m.pt"), ("out/m.net", "t.txt")), torch=True,
        ),
        Command(
            "train", TRAIN, ("t.txt",), ("out/m.pt",), kept=("out/m.pt.resume", "out/m.csv"),
            again=(*TRAIN, "--resume"), collisions=(("out/m.pt", "t.txt"),), torch=True,
        ),
        Command(
            "fit",
            ("fit", "m.net", "out/f.net", "--text", "t.txt", "--cores", "30", "--work", "out/work",
             "--force", "--json"),
            ("m.net", "t.txt"), ("out/f.net", "out/f.net.front.csv", "out/f.net.front.svg"),
            kept=("out/work", "out/work/*"),
            collisions=(("out/f.net", "m.net"), ("out/f.net", "t.txt")), share=0.65, torch=True,
        ),
        Command(
            "simulate", (*SIMULATE, "--state", "out/s.npz", "--trace", "out/trace.npz"),
            ("m.net", "s.npz"), ("out/s.npz", "out/trace.npz"), prepared=(("s.npz", "out/s.npz"),),
            collisions=(("out/trace.npz", "m.net"), ("out/s.npz", "m.net")), share=4,
        ),
        Command("score", SCORE, ("m.net", "t.txt"), share=2),
        Command(
            "energy", ENERGY, ("m.net", "t.txt"), ("out/e.json", "out/e.html", "out/e.parts.csv"),
            collisions=(("out/e.json", "m.net"), ("out/e.html", "t.txt")), share=3,
        ),
        Command(
            "corpus", ("score", "m.net", "texts", "--results", "out/results", "--json"),
            ("m.net", "texts"), kept=("out/results", "out/results/*.json"), share=3,
        ),
        Command(
            "chain",
            ("simulate", "chain.net", "--raster", "raster.npy", "--output", "out/o.npy", "--force",
             "--json"),
            ("chain.net", "raster.npy"), ("out/o.npy",),
            collisions=(("out/o.npy", "raster.npy"), ("out/o.npy", "chain.net")), share=3,
        ),
        Command(
            "verify",
            ("verify", "m.net", "--text", "t.txt", "--tokens", "200", "--backends",
             "emulator,lava", "--json"),
            ("m.net", "t.txt"), fresh=True,
        ),
        Command(
            "workers",
            ("score", "m.net", "texts", "--results", "out/results", "--workers", "2", "--json"),
            ("m.net", "texts"), kept=("out/results", "out/results/*.json"), fresh=True,
        ),
        Command("serve", SERVE, ("m.net",), kept=(STATE,), share=2, served=True),
    )
}  # fmt: skip


def make_inputs(folder: Path, run: Callable[[Path, list[str]], None]) -> None:
    """Write every command's inputs; ``run`` executes a command in a folder."""
    text = (EXAMPLE / "kjv-train.txt").read_text("utf-8")
    (folder / "t.txt").write_text(text[:600], "utf-8")
    (folder / "texts").mkdir()
    for i in range(4):
        (folder / f"texts/{i}.txt").write_text(text[:200] + text[1000 * i : 1000 * i + 300])
    (folder / "out").mkdir()
    run(folder, list(TRAIN))
    (folder / "out/m.pt").rename(folder / "m.pt")
    run(folder, list(EXPORT))
    (folder / "out/m.net").rename(folder / "m.net")
    run(folder, [*SIMULATE, "--prompt-tokens", "1,2,3", "--state", "s.npz"])
    _make_netx(folder / "chain.net")
    np.save(folder / "raster.npy", np.eye(5, dtype=np.int64)[[0, 3, 1, 4] * 900])
    shutil.rmtree(folder / "out")


def other_inputs(folder: Path) -> None:
    """Change ``folder``'s inputs, so that a command's earlier output differs from the right one."""
    text = (folder / "t.txt").read_text("utf-8")
    (folder / "t.txt").write_text(text[::-1], "utf-8")
    np.save(folder / "raster.npy", np.eye(5, dtype=np.int64)[[1, 2, 0, 4] * 700])


def result(path: Path) -> Any:
    """A ``--json`` result without what is measured; None where the file holds no whole value."""
    try:
        return _steady(json.loads(path.read_text("utf-8")))
    except ValueError:
        return None


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(part) for key, part in value.items() if key not in VOLATILE}
    return [_steady(part) for part in value] if isinstance(value, list) else value
