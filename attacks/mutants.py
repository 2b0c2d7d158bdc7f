"""``python -m attacks mutants``: would the tests notice? A sample of mutants (cosmic-ray).

Each changes one operator, number, comparison or condition of a module, in a copy of the project;
the tests named for that module run on it. A mutant that they pass *survived*. ``AREAS`` says which
modules stand for an area and which tests are run: a selection that takes seconds, so that a
survivor is a weakness of those tests, not always of all.

Left out, because nothing that is computed depends on them: removed decorators (compilation), ``|``
(annotations, but for one bit operation), and what stands outside of functions' bodies in text.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("spikegpt_neuro", "converters", "hardware_profiles", "tests", "attacks", "examples")
LEFT_OUT = ("RemoveDecorator", "_BitOr_", "VariableReplacer", "VariableInserter")
PYTEST = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider")
TIMEOUT = 600.0
"""Seconds on the clock of a busy machine; a mutant that takes longer was noticed."""
AREAS: dict[str, dict[str, tuple[str, ...]]] = {
    "arithmetic": {
        "spikegpt_neuro/arithmetic/fixed_point.py": ("tests/arithmetic/test_fixed_point.py",),
        "spikegpt_neuro/arithmetic/lif.py": ("tests/arithmetic/test_lif.py",),
        "spikegpt_neuro/arithmetic/packed.py": ("tests/arithmetic/test_packed.py",),
    },
    "network": {
        "spikegpt_neuro/network/container.py": ("tests/network/test_file.py",),
        "spikegpt_neuro/network/file.py": ("tests/network/test_file.py",),
        "spikegpt_neuro/network/assembly.py": ("tests/network/test_file.py",),
    },
    "converters": {
        "converters/rounding.py": ("tests/converters/test_rounding.py",),
        "converters/budget.py": ("tests/converters/test_budget.py",),
        "converters/quantisers.py": ("tests/converters/test_quantisers.py",),
    },
    "energy": {
        "spikegpt_neuro/energy/parts.py": ("tests/energy/test_parts.py",),
        "spikegpt_neuro/energy/pricing.py": ("tests/energy/test_report.py",),
        "spikegpt_neuro/energy/timing.py": ("tests/energy/test_report.py",),
    },
    "mapping": {
        "spikegpt_neuro/mapping/capacity.py": ("tests/mapping/test_capacity.py",),
        "spikegpt_neuro/mapping/rules.py": ("tests/mapping/test_rules.py",),
        "spikegpt_neuro/mapping/partition.py": ("tests/mapping/test_mapping.py",),
    },
}


def copy(folder: Path) -> None:
    """The project in ``folder``, where Python finds it whole before any installed one."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "docs", "Makefile"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    for name in ("converters", "hardware_profiles"):
        (folder / "spikegpt_neuro" / name).symlink_to(folder / name)


def sample(modules: Sequence[str], count: int, seed: int) -> tuple[int, list[Any]]:
    """How many mutants there are in the modules of the current folder, and ``count`` of them."""
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db

    with (
        tempfile.TemporaryDirectory() as folder,
        use_db(str(Path(folder) / "work.sqlite"), WorkDB.Mode.create) as work,
    ):
        init([Path(module) for module in modules], work, {})
        found = sorted(
            (
                item.mutations[0]
                for item in work.work_items
                if not any(part in item.mutations[0].operator_name for part in LEFT_OUT)
            ),
            key=lambda m: (str(m.module_path), m.start_pos, m.operator_name, m.occurrence),
        )
    return len(found), random.Random(seed).sample(found, min(count, len(found)))


def run(areas: Sequence[str], count: int, seed: int, until: float) -> dict[str, Any]:
    """``count`` mutants of each area; by area how many were killed, and the survivors' changes."""
    from cosmic_ray.mutating import mutate_and_test
    from cosmic_ray.work_item import TestOutcome

    rows: dict[str, Any] = {}
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        copy(Path(scratch))
        os.chdir(scratch)
        os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        try:
            for area in areas:
                tests = AREAS[area]
                possible, chosen = sample(list(tests), count, seed)
                row: dict[str, Any] = {
                    "possible": possible, "tried": 0, "killed": 0, "survivors": [],
                    "tests": sorted({test for named in tests.values() for test in named}),
                }  # fmt: skip
                rows[area] = row
                for test in row["tests"]:
                    subprocess.run([*PYTEST, test], check=True)
                for mutation in chosen:
                    if time.monotonic() > until:
                        break
                    command = " ".join([*PYTEST, *tests[str(mutation.module_path)]])
                    result = mutate_and_test([mutation], command, TIMEOUT)
                    row["tried"] += 1
                    survived = result.test_outcome == TestOutcome.SURVIVED
                    row["killed"] += not survived
                    if survived:
                        row["survivors"].append(result.diff)
                    print(
                        f"{area}: {mutation.module_path.name}:{mutation.start_pos[0]} "
                        f"{mutation.operator_name}: {'SURVIVED' if survived else 'killed'}",
                        file=sys.stderr, flush=True,
                    )  # fmt: skip
        finally:
            os.chdir(before)
    return {"seed": seed, "areas": rows}


def main(arguments: list[str]) -> int:
    """Entry point; exit code 1 if a mutant survived."""
    parser = argparse.ArgumentParser(prog="python -m attacks mutants", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--count", type=int, default=20, help="mutants of each area")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e6, help="begin none after that time")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    until = time.monotonic() + 60 * options.minutes
    found = run(options.areas or list(AREAS), options.count, options.seed, until)
    text = json.dumps(found, indent=1)
    if options.json is not None:
        options.json.write_text(text + "\n", "utf-8")
    print(text)
    return 1 if any(row["survivors"] for row in found["areas"].values()) else 0
