"""``python -m attacks lines``: which lines of each package fast tests reach (coverage.py).

The tests of the folders named are run, in this process's Python and in the processes that they
start, and what they reach is kept in ``--data``; folders that were run before are not run again.
Then all of it together is counted by package. Bodies of compiled kernels are executed as machine
code, which cannot be traced, and would compute other things uncompiled (numpy's scalars do not wrap
as machine words do): they are left out and counted apart, as are methods that only declare a type.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "arithmetic", "converters", "energy", "events", "mapping", "network", "readers", "reports",
)  # fmt: skip
"""Tests, and packages that are counted."""
SETTINGS = """\
[run]
parallel = true
patch = subprocess
source =
    {root}/spikegpt_neuro
    {root}/converters
data_file = {data}/{name}
[report]
exclude_also =
    ^\\s*@(inline_)?kernel\\b
    ^\\s*@intrinsic\\b
    ^\\s*@abstractmethod
    ^\\s*if TYPE_CHECKING:
"""
"""A decorator that matches leaves its whole function out."""


def _coverage(data: Path, name: str, *arguments: str) -> None:
    """A command of coverage.py; its data files are named after ``name``."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = Path(scratch) / "settings"
        settings.write_text(SETTINGS.format(root=ROOT, data=data, name=name), "utf-8")
        command, *others = arguments
        subprocess.run(
            [sys.executable, "-m", "coverage", command, f"--rcfile={settings}", *others],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=sys.stderr, check=True,
        )  # fmt: skip


def run(folder: str, data: Path) -> None:
    """The tests of a folder, unless ``data`` has what they reached."""
    if any(data.glob(f"{folder}.*")):
        return
    with tempfile.TemporaryDirectory() as scratch:
        _coverage(
            Path(scratch), folder, "run", "-m", "pytest", "-q", "-p", "no:cacheprovider",
            f"tests/{folder}",
        )  # fmt: skip
        _coverage(Path(scratch), folder, "combine", scratch)
        (Path(scratch) / folder).rename(data / f"{folder}.lines")


def count(data: Path) -> dict[str, Any]:
    """Lines that can be traced and those reached, of the packages whose tests were run."""
    folders = sorted(path.stem for path in data.glob("*.lines"))
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "told.json"
        files = [str(path) for path in data.glob("*.lines")]
        _coverage(Path(scratch), "all", "combine", "--keep", *files)
        _coverage(Path(scratch), "all", "json", "-q", "-o", str(told))
        found = json.loads(told.read_text("utf-8"))["files"]
    rows = {one: {"lines": 0, "reached": 0, "left_out": 0} for one in FOLDERS if one in folders}
    for name, file in found.items():
        package = Path(name).parent.name
        if package in rows:
            for key, counted in (
                ("lines", "num_statements"), ("reached", "covered_lines"),
                ("left_out", "excluded_lines"),
            ):  # fmt: skip
                rows[package][key] += file["summary"][counted]
    return {"tests": folders, "packages": rows}


def main(arguments: list[str]) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m attacks lines", description=__doc__)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="of tests/; default: "
                        + ", ".join(FOLDERS))  # fmt: skip
    parser.add_argument("--data", type=Path, default=Path("build/lines"), metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    data: Path = options.data.absolute()
    data.mkdir(parents=True, exist_ok=True)
    for folder in options.folders or FOLDERS:
        run(folder, data)
    text = json.dumps(count(data), indent=1)
    if options.json is not None:
        options.json.write_text(text + "\n", "utf-8")
    print(text)
    return 0
