"""``python -m release.matrix PYTHON...``: the wheel installed as a user would, on each Python.

For every interpreter given: a new virtual environment outside the checkout, ``pip install WHEEL``,
``pip check``, the demo without Lava, the command that ``doctor`` then names for Lava, ``doctor``
again, and the demo with Lava. Packages come from wherever pip finds them: 1 to 7 GB each, depending
on the build of torch (``--constraint`` and ``--find-links`` are handed to pip). The environments
are removed again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from release.build import build

OWN_SETTINGS = ("NUMBA", "PYTHON", "VIRTUAL_ENV")


class Failed(Exception):
    """A step did not end well: what it was and what it printed last."""


class Trial:
    """One interpreter's environment, and what was found."""

    def __init__(self, python: str, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)
        }
        self._environment["PATH"] = f"{folder / 'venv/bin'}:{os.environ['PATH']}"
        self._run("new environment", python, "-m", "venv", "venv")
        self.found: dict[str, Any] = {"python": self._answer("import platform", "python_version()")}

    def _answer(self, imported: str, call: str) -> str:
        code = f"{imported}; print({imported.split()[-1]}.{call})"
        return self._run("python", "python", "-c", code).strip()

    def _run(self, step: str, *command: object) -> str:
        done = subprocess.run(
            list(map(str, command)), cwd=self._folder, env=self._environment, text=True,
            capture_output=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Failed(f"{step}: exit code {done.returncode}: {done.stderr[-800:]}")
        return done.stdout

    def install(self, wheel: Path, options: list[str]) -> None:
        """The wheel and its dependencies."""
        begin = time.perf_counter()
        self._run("install", "python", "-m", "pip", "install", "--quiet", wheel, *options)
        self._run("pip check", "python", "-m", "pip", "check")
        size = self._run("size", "du", "-sm", "venv").split()[0]
        self.found |= {
            "install_seconds": round(time.perf_counter() - begin),
            "megabytes": int(size),
            "torch": self._answer("import torch", "__version__"),
            "numpy": self._answer("import numpy", "__version__"),
        }

    def demo(self, *, lava: bool) -> None:
        """The demo; with Lava its second opinion must be given, without it must be left out."""
        begin = time.perf_counter()
        found = json.loads(self._run("demo", "spikegpt-neuro", "demo", "--json"))
        if found["verify"]["equal"] is not (True if lava else None):
            raise Failed(f"demo: verify says {found['verify']}")
        name = "demo_with_lava" if lava else "demo"
        self.found[f"{name}_seconds"] = round(time.perf_counter() - begin)
        self.found[f"{name}_bits_per_character"] = found["score"]["bits_per_character"]

    def add_lava(self) -> None:
        """What doctor advises, word for word; then doctor must import both."""
        before = self._pieces()["lava-nc"]
        self._run("lava", "sh", "-c", before["advice"])
        after = self._pieces()
        for name in ("lava-nc", "lava-dl"):
            if not after[name]["found"] or after[name]["problem"]:
                raise Failed(f"doctor: {after[name]}")
        self.found["lava"] = after["lava-nc"]["found"]

    def _pieces(self) -> dict[str, dict[str, Any]]:
        found = json.loads(self._run("doctor", "spikegpt-neuro", "doctor", "--json"))
        return {piece["name"]: piece for piece in found["pieces"]}


def try_python(python: str, wheel: Path, options: list[str]) -> dict[str, Any]:
    """Everything on one interpreter; ``failed`` says where it ended, if it did."""
    found: dict[str, Any] = {"python": python}
    with tempfile.TemporaryDirectory() as name:
        try:
            trial = Trial(python, Path(name))
            found = trial.found
            trial.install(wheel, options)
            trial.demo(lava=False)
            trial.add_lava()
            trial.demo(lava=True)
        except Failed as failed:
            found["failed"] = str(failed)
    return found


def main() -> None:
    """A line of JSON a Python; exit code 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", nargs="+", help="interpreters: a command or a path")
    parser.add_argument("--wheel", type=Path, help="this one instead of a new build")
    parser.add_argument("--constraint", type=Path, help="pip's")
    parser.add_argument("--find-links", help="pip's: a folder with a CPU build of torch")
    given = parser.parse_args()
    options = ["--constraint", str(given.constraint.absolute())] if given.constraint else []
    options += ["--find-links", given.find_links] if given.find_links else []
    failed = False
    with tempfile.TemporaryDirectory() as name:
        wheel = given.wheel.absolute() if given.wheel else build(Path(name))[1]
        for python in given.python:
            found = try_python(python, wheel, options)
            failed |= "failed" in found
            print(json.dumps(found), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
