"""``python -m attacks mutants``: would the tests notice? A sample of mutants (cosmic-ray).

Each changes one operator, number, comparison or condition of a module, in a copy of the project;
the tests named for that module run on it. A mutant that they pass *survived*. ``AREAS`` says which
modules stand for an area and which tests are run: a selection that takes seconds, so that a
survivor is a weakness of those tests, not always of all. ``--again FILE`` tries the survivors in a
result once more, against the tests as they are by then, and writes what it finds into that file.

Left out, because nothing that is computed depends on them: removed decorators (compilation), ``|``
(annotations, but for one bit operation), and what stands outside of functions' bodies in text.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / "build/mutants"
COPIED = ("spikegpt_neuro", "converters", "hardware_profiles", "tests", "attacks", "examples")
LEFT_OUT = ("RemoveDecorator", "_BitOr_", "VariableReplacer", "VariableInserter")
LIBRARIES = ("numpy", "numba", "h5py", "networkx", "scipy.sparse", "torch", "typer", "rich.table")
"""Loaded once: half of a short test's time is theirs."""
PATIENCE = 5.0
"""A mutant that takes so many times what its tests take without one (and half a minute) does not
end, and was noticed."""
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
        "spikegpt_neuro/mapping/demand.py": ("tests/mapping/test_capacity.py",),
        "spikegpt_neuro/mapping/cores.py": ("tests/mapping/test_rules.py",),
        "spikegpt_neuro/mapping/partition.py": (
            "tests/mapping/test_mapping.py",
            "tests/mapping/test_convolutions.py",
            "--deselect=tests/mapping/test_mapping.py::test_chips_of_the_published_models",
        ),
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


@contextmanager
def copied() -> Iterator[None]:
    """Be in a copy of the project, so that no mutant is ever in the tree.

    Always at the same place, for which numba finds kernels again that an earlier run compiled.
    """
    before = Path.cwd()
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    copy(SCRATCH)
    os.chdir(SCRATCH)
    os.environ |= {
        "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        "NUMBA_CACHE_DIR": f"{SCRATCH}-kernels",
    }  # fmt: skip
    sys.dont_write_bytecode = True
    for library in LIBRARIES:
        importlib.import_module(library)
    try:
        yield
    finally:
        os.chdir(before)
        shutil.rmtree(SCRATCH)


def mutations(modules: Sequence[str]) -> list[Any]:
    """All mutants of the modules of the current folder, in one order."""
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db

    with (
        tempfile.TemporaryDirectory() as folder,
        use_db(str(Path(folder) / "work.sqlite"), WorkDB.Mode.create) as work,
    ):
        init([Path(module) for module in modules], work, {})
        found = (
            item.mutations[0]
            for item in work.work_items
            if not any(part in item.mutations[0].operator_name for part in LEFT_OUT)
        )
        return sorted(
            found, key=lambda m: (str(m.module_path), m.start_pos, m.operator_name, m.occurrence)
        )


def identity(mutation: Any) -> dict[str, Any]:
    """What a mutant is found again by, as long as its module does not change."""
    return {
        "module": str(mutation.module_path), "line": mutation.start_pos[0],
        "operator": mutation.operator_name, "occurrence": mutation.occurrence,
        **mutation.operator_args,
    }  # fmt: skip


def passes(tests: Sequence[str], limit: float = math.inf) -> bool:
    """Whether tests pass on the current folder's copy; not, if they take over ``limit`` seconds.

    In a fork of this process, which has the libraries loaded, but no module of the project.
    """
    begin = time.monotonic()
    process = os.fork()
    if not process:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.path.insert(0, str(Path.cwd()))
        os._exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests]))
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() - begin > limit:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return False
        time.sleep(0.05)
    return ended[1] == 0


def survives(mutation: Any, tests: Sequence[str], seconds: float) -> str | None:
    """Its change, if the tests pass with it. ``seconds``: what they take without it."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    with use_mutation(mutation.module_path, operator, mutation.occurrence) as (before, after):
        if after is None:
            raise RuntimeError(f"{identity(mutation)}: there is no such mutant")
        survived = passes(tests, 30 + PATIENCE * seconds)
    print(
        f"{mutation.module_path}:{mutation.start_pos[0]} {mutation.operator_name}: "
        f"{'SURVIVED' if survived else 'killed'}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    lines = (code.splitlines() for code in (before, after))
    return "\n".join(difflib.unified_diff(*lines, n=2, lineterm="")) if survived else None


def run(
    areas: Sequence[str], count: int, seed: int, until: float, kept: Path | None
) -> dict[str, Any]:
    """``count`` mutants of each area; by area how many were killed, and the survivors' changes.

    ``kept``: where the result is kept while it grows, and gone on from.
    """
    done: dict[str, Any] = {"seed": seed, "areas": {}}
    if kept is not None and kept.exists():
        done = json.loads(kept.read_text("utf-8"))
    with copied():
        for area in areas:
            tests = AREAS[area]
            possible = mutations(list(tests))
            chosen = random.Random(done["seed"]).sample(possible, min(count, len(possible)))
            begun: dict[str, Any] = {
                "possible": len(possible), "tried": 0, "killed": 0, "survivors": [],
                "tests": sorted({test for named in tests.values() for test in named}),
            }  # fmt: skip
            row = done["areas"].setdefault(area, begun)
            if "seconds" not in row:  # they must pass without a mutant
                begin = time.monotonic()
                if not passes(row["tests"]):
                    raise SystemExit(f"{area}: these tests fail as it is: {row['tests']}")
                row["seconds"] = round(time.monotonic() - begin, 1)
                _keep(done, kept)
            for mutation in chosen[row["tried"] :]:
                if time.monotonic() > until:
                    break
                diff = survives(mutation, tests[str(mutation.module_path)], row["seconds"])
                row["tried"] += 1
                row["killed"] += diff is None
                if diff is not None:
                    row["survivors"].append({**identity(mutation), "diff": diff})
                _keep(done, kept)
    return done


def _keep(done: dict[str, Any], kept: Path | None) -> None:
    if kept is not None:
        kept.write_text(json.dumps(done, indent=1) + "\n", "utf-8")


def again(found: dict[str, Any]) -> None:
    """Try a result's survivors once more; those now noticed become its ``killed_later``.

    SystemExit where a line that was changed is no more in its module.
    """
    with copied():
        for area, row in found["areas"].items():
            survivors, row["survivors"] = row["survivors"], []
            for survivor in survivors:
                module = Path(survivor["module"])
                source = module.read_text("utf-8")
                module.write_text(_changed(source, survivor), "utf-8")
                noticed = not passes(AREAS[area][str(module)], 30 + PATIENCE * row["seconds"])
                module.write_text(source, "utf-8")
                print(f"{module}:{survivor['line']}: {noticed=}", file=sys.stderr, flush=True)
                if noticed:
                    row.setdefault("killed_later", []).append(survivor)
                else:
                    row["survivors"].append(survivor)


def _changed(source: str, survivor: dict[str, Any]) -> str:
    """A module with a survivor's change, at the place of these lines nearest to where it was."""
    diff = [line for line in survivor["diff"].splitlines() if line[:3] not in ("---", "+++")]
    old, new = ([line[1:] for line in diff if line[:1] == sign] for sign in "-+")
    lines = source.split("\n")
    places = [i for i in range(len(lines)) if lines[i : i + len(old)] == old]
    if not places:
        raise SystemExit(f"{survivor['module']} has no line {old} any more; try new mutants")
    place = min(places, key=lambda i: abs(i + 1 - survivor["line"]))
    return "\n".join([*lines[:place], *new, *lines[place + len(old) :]])


def main(arguments: list[str]) -> int:
    """Entry point; exit code 1 if a mutant survived."""
    parser = argparse.ArgumentParser(prog="python -m attacks mutants", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--count", type=int, default=20, help="mutants of each area")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e6, help="begin none after that time")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument(
        "--again", type=Path, metavar="FILE", help="only its survivors; rewrites it"
    )
    options = parser.parse_args(arguments)
    if options.again is not None:
        found = json.loads(options.again.read_text("utf-8"))
        again(found)
        options.again.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        return 1 if any(row["survivors"] for row in found["areas"].values()) else 0
    until = time.monotonic() + 60 * options.minutes
    kept = None if options.json is None else options.json.absolute()
    found = run(options.areas or list(AREAS), options.count, options.seed, until, kept)
    print(json.dumps(found, indent=1))
    return 1 if any(row["survivors"] for row in found["areas"].values()) else 0
