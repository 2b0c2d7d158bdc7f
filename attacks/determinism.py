"""``python -m attacks determinism``: the same bytes under every circumstance that must not matter.

A *work* runs the commands that write and say something (export to 8 and to 4 bits, score, simulate,
a chain of SLAYER's neurons, map, energy) in a folder of its own, and is known by the SHA-256 of
every file and result. It is repeated under each of ``attacks.circumstances``: other hash seeds,
thread counts, processor generations; and with other Pythons. Every digest must be the first one's,
but for those that a rule of ``circumstances.KNOWN`` names. All works read the networks that were
exported first, so that a difference of an export is seen where it is, and only there. ``--network``
leaves the exports out, for Pythons without PyTorch. ``--json FILE``: what FILE has already is not
done again. ``in_effect`` says what the libraries chose under each circumstance of processors.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attacks.circumstances import CIRCUMSTANCES, PROCESSORS, environment, in_effect, known
from attacks.faults.commands import VOLATILE, result
from attacks.formats import EXAMPLE, _make_netx

EXPORT = ("--vocab", "v.json", "--calibration", "t.txt")
EXPORTS = {
    "export": ("export", "m.pth", "m.net", *EXPORT),
    "export-4": ("export", "m.pth", "m4.net", "--weight-bits", "4", *EXPORT),
}


def work(
    folder: Path, python: str, circumstance: Mapping[str, str], *, export: bool
) -> dict[str, str]:
    """Digests of what the commands write and say in ``folder``, which has their inputs."""
    around = environment(circumstance)
    threads = around.pop("THREADS")
    runs: dict[str, tuple[str, ...]] = {
        **(EXPORTS if export else {}),
        "score": ("score", "n.net", "t.txt", "--threads", threads),
        "simulate": (
            "simulate", "n.net", "--prompt", "In the", "--tokens", "40", "--temperature", "1",
            "--trace", "trace.npz", "--state", "state.npz", "--threads", threads,
        ),
        "chain": ("simulate", "chain.net", "--raster", "raster.npy", "--output", "o.npy"),
        "map": ("map", "n.net"),
        "energy": (
            "energy", "n.net", "--text", "t.txt", "--tokens", "60", "--date", "2026-01-01",
            "--output", "e.json", "--output", "e.html", "--output", "e.parts.csv",
        ),
    }  # fmt: skip
    if (folder / "n4.net").exists():
        runs["score-4"] = ("score", "n4.net", "t.txt", "--threads", threads)
    for name, arguments in runs.items():
        _run(folder, python, around, name, arguments)
    found = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        if path.suffix == ".out":
            content = json.dumps(result(path)).encode()
        found[path.name] = hashlib.sha256(content).hexdigest()
    return found


def _run(
    folder: Path, python: str, around: Mapping[str, str], name: str, arguments: Sequence[str]
) -> None:
    with (folder / f"{name}.out").open("wb") as out:
        subprocess.run(
            [python, "-m", "spikegpt_neuro.cli.main", *arguments, "--json"],
            cwd=folder, env=around, stdout=out, check=True,
        )  # fmt: skip


def _here(folder: Path, name: str, arguments: Sequence[str]) -> None:
    _run(folder, sys.executable, environment({}), name, arguments)
    (folder / f"{name}.out").unlink()


def _lay_out(folder: Path, network: Path | None) -> None:
    """The works' inputs, with the exports of this interpreter where no network is given."""
    text = (EXAMPLE / "kjv-valid.txt").read_text("utf-8")
    (folder / "t.txt").write_text(text[:1500], "utf-8")
    _make_netx(folder / "chain.net")
    np.save(folder / "raster.npy", np.eye(5, dtype=np.int64)[[0, 3, 1, 4] * 50])
    if network is not None:
        shutil.copy(network, folder / "n.net")
        # what reads stock NetX needs PyTorch, too
        _here(folder, "import", ("netx", "import", "chain.net", "own.net"))
        (folder / "own.net").replace(folder / "chain.net")
        return
    shutil.copy(EXAMPLE / "kjv-4x192.pth", folder / "m.pth")
    shutil.copy(EXAMPLE / "kjv-4x192.vocab.json", folder / "v.json")
    for name, arguments in EXPORTS.items():
        _here(folder, name, arguments)
    (folder / "m.net").rename(folder / "n.net")
    (folder / "m4.net").rename(folder / "n4.net")


def compare(
    names: Sequence[str], pythons: Sequence[str], network: Path | None = None,
    kept: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Which files and results differ from the first work's, by circumstance.

    ``bad``: the circumstances under which some do that no rule names. ``network``: what is read,
    instead of exports of the example's checkpoint. ``kept``: where the result is kept while it
    grows, and gone on from.
    """
    done: dict[str, Any] = {
        "left_out": sorted(VOLATILE), "digests": {}, "circumstances": {}, "in_effect": {},
    }  # fmt: skip
    if kept is not None and kept.exists():
        done = json.loads(kept.read_text("utf-8"))
    rows: dict[str, list[str]] = done["circumstances"]
    here = str(Path(sys.executable))
    cases = [(name, here, CIRCUMSTANCES[name]) for name in names]
    processors = [name for name in names if name in PROCESSORS]
    asked = [names[0], *processors] if processors else []
    cases += [(f"Python {_version(python)}", python, {}) for python in pythons]
    with tempfile.TemporaryDirectory() as inputs:
        _lay_out(Path(inputs), network)
        for name, python, circumstance in cases:
            if name in rows:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "work"
                shutil.copytree(inputs, folder)
                digests = work(folder, python, circumstance, export=network is None)
            wanted = done["digests"] = done["digests"] or digests
            rows[name] = sorted(
                key for key in wanted.keys() | digests.keys() if wanted.get(key) != digests.get(key)
            )
            done["bad"] = [name for name, differ in rows.items() if known(name, differ) != differ]
            if name in asked:
                done["in_effect"][name] = in_effect(python, circumstance)
            print(f"{name}: {', '.join(rows[name]) or 'the same'}", file=sys.stderr, flush=True)
            if kept is not None:
                kept.write_text(json.dumps(done, indent=1) + "\n", "utf-8")
    return done


def _version(python: str) -> str:
    command = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main(arguments: list[str]) -> int:
    """Entry point; exit code 1 if anything differs that no rule names."""
    parser = argparse.ArgumentParser(prog="python -m attacks determinism", description=__doc__)
    parser.add_argument("--circumstances", nargs="*", default=list(CIRCUMSTANCES))
    parser.add_argument("--pythons", nargs="*", default=[], help="interpreters with the package")
    parser.add_argument("--network", type=Path, help="instead of exporting the example; no PyTorch")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    found = compare(options.circumstances, options.pythons, options.network, options.json)
    print(json.dumps(found, indent=1))
    return 1 if found["bad"] else 0
