"""``python -m attacks determinism``: the same bytes under every circumstance that must not matter.

A *work* runs the commands that write and say something (export, score, simulate, energy) in a
folder of its own, and is known by the SHA-256 of every file and result. It is repeated with other
hash seeds, thread counts, processor generations and Pythons; every digest must be the first one's.
``--network`` begins with a network instead of an export, for Pythons without PyTorch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attacks.faults.commands import VOLATILE, result
from attacks.formats import EXAMPLE

NO_AVX512 = ",".join(
    f"-avx512{part}"
    for part in ("f", "bw", "cd", "dq", "vl", "vnni", "ifma", "vbmi", "vbmi2", "bitalg", "bf16")
)
CIRCUMSTANCES: dict[str, dict[str, str]] = {
    "as it is": {},
    "hash seed 0": {"PYTHONHASHSEED": "0"},
    "hash seed 1": {"PYTHONHASHSEED": "1"},
    "hash seed random": {"PYTHONHASHSEED": "random"},
    "2 threads": {"THREADS": "2", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
    "a generic processor": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "Haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
    "no AVX-512": {"NUMBA_CPU_FEATURES": NO_AVX512},
    "another locale and time zone": {"LC_ALL": "C", "TZ": "Asia/Kathmandu"},
}
"""By name: changes of the environment; THREADS is the commands' ``--threads``."""
SUITE = ("as it is", "hash seed 0", "hash seed 1", "2 threads", "another locale and time zone")
"""Those that need no kernel compiled anew."""


def work(
    folder: Path, python: str, circumstance: Mapping[str, str], *, export: bool
) -> dict[str, str]:
    """Digests of what the commands write and say in ``folder``, which has their inputs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **circumstance}
    threads = environment.pop("THREADS", "1")
    runs: dict[str, list[str]] = {
        "score": ["score", "m.net", "t.txt", "--threads", threads],
        "simulate": [
            "simulate", "m.net", "--prompt", "In the", "--tokens", "40", "--temperature", "1",
            "--trace", "trace.npz", "--state", "state.npz", "--threads", threads,
        ],
        "energy": [
            "energy", "m.net", "--text", "t.txt", "--tokens", "60", "--date", "2026-01-01",
            "--output", "e.json", "--output", "e.html", "--output", "e.parts.csv",
        ],
    }  # fmt: skip
    if export:
        begin = ["export", "m.pth", "m.net", "--vocab", "v.json", "--calibration", "t.txt"]
        runs = {"export": begin, **runs}
    for name, arguments in runs.items():
        with (folder / f"{name}.out").open("wb") as out:
            subprocess.run(
                [python, "-m", "spikegpt_neuro.cli.main", *arguments, "--json"],
                cwd=folder, env=environment, stdout=out, check=True,
            )  # fmt: skip
    found = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        if path.suffix == ".out":
            content = json.dumps(result(path)).encode()
        found[path.name] = hashlib.sha256(content).hexdigest()
    return found


def _lay_out(folder: Path, small: Path | None) -> None:
    text = (EXAMPLE / "kjv-valid.txt").read_text("utf-8")
    (folder / "t.txt").write_text(text[:1500], "utf-8")
    if small is not None:
        shutil.copy(small, folder / "m.net")
        return
    shutil.copy(EXAMPLE / "kjv-4x192.pth", folder / "m.pth")
    shutil.copy(EXAMPLE / "kjv-4x192.vocab.json", folder / "v.json")


def compare(
    names: Sequence[str], pythons: Sequence[str], network: Path | None = None
) -> dict[str, Any]:
    """Which files and results differ from the first work's, by circumstance.

    ``network``: begin with it, instead of with the export of the example's checkpoint.
    """
    wanted: dict[str, str] = {}
    rows: dict[str, list[str]] = {}
    here = str(Path(sys.executable))
    cases = [(name, here, CIRCUMSTANCES[name]) for name in names]
    cases += [(f"Python {python}", python, {}) for python in pythons]
    for name, python, circumstance in cases:
        with tempfile.TemporaryDirectory() as found:
            folder = Path(found)
            _lay_out(folder, network)
            digests = work(folder, python, circumstance, export=network is None)
        wanted = wanted or digests
        rows[name] = sorted(
            key for key in wanted.keys() | digests.keys() if wanted.get(key) != digests.get(key)
        )
        print(f"{name}: {', '.join(rows[name]) or 'the same'}", file=sys.stderr, flush=True)
    return {
        "compared": sorted(wanted), "left_out": sorted(VOLATILE), "circumstances": rows,
        "bad": [name for name, differ in rows.items() if differ],
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Entry point; exit code 1 if anything differs."""
    parser = argparse.ArgumentParser(prog="python -m attacks determinism", description=__doc__)
    parser.add_argument("--circumstances", nargs="*", default=list(CIRCUMSTANCES))
    parser.add_argument("--pythons", nargs="*", default=[], help="interpreters with the package")
    parser.add_argument("--network", type=Path, help="instead of exporting the example; no PyTorch")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    found = compare(options.circumstances, options.pythons, options.network)
    text = json.dumps(found, indent=1)
    if options.json is not None:
        options.json.write_text(text + "\n", "utf-8")
    print(text)
    return 1 if found["bad"] else 0
