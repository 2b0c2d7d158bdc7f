"""``python -m attacks mutants``: would the tests notice? A sample of mutants (cosmic-ray).

Each changes one operator, number, comparison or condition of a module, in a copy of the project.
First the area's tests are run once, to see which of them execute which lines (``attacks.reach``);
then each mutant is tried on the quickest tests that execute its statement. One that they pass
*survived*, as did one that no test of the area executes: a weakness of those tests, not always of
all. ``--again FILE`` tries the survivors in a result once more, against the tests as they are by
then, and writes what it finds into that file.

Left out, because nothing that is computed depends on them: removed decorators (compilation), ``|``
(annotations, but for one bit operation), and what stands outside of functions' bodies in text.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import importlib
import importlib.util
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from attacks.reach import SECONDS, record, seeing

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / "build/mutants"
COPIED = ("spikegpt_neuro", "converters", "hardware_profiles", "tests", "attacks", "examples")
LEFT_OUT = ("RemoveDecorator", "_BitOr_", "VariableReplacer", "VariableInserter")
LIBRARIES = ("numpy", "numba", "h5py", "networkx", "scipy.sparse", "torch", "typer", "rich.table")
"""Loaded once: half of a short test's time is theirs."""
PATIENCE = 5.0
"""A mutant that takes so many times what its tests take without one (and half a minute) does not
end, and was noticed."""
AREAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "arithmetic": ("spikegpt_neuro/arithmetic", ("tests/arithmetic",)),
    "network": ("spikegpt_neuro/network", ("tests/network", "tests/chains/test_variants.py")),
    "converters": ("converters", ("tests/converters", "tests/chains/test_variants.py")),
    "energy": ("spikegpt_neuro/energy", ("tests/energy",)),
    "mapping": ("spikegpt_neuro/mapping", ("tests/mapping",)),
}  # fmt: skip
"""By name: the folder of its modules, and the tests that are looked at."""
QUICK = (
    "-m", "not slow and not browser",
    "-k", " and ".join(f"not {word}" for word in (
        "lava", "stock", "backend", "sanafe", "neurobench", "plain_rwkv", "trained", "killed",
        "example",
    )),
)  # fmt: skip
"""Which of them: none with a graph of Lava's, another simulator, training or a program started."""


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
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        "NUMBA_CACHE_DIR": f"{SCRATCH}-kernels",
    }  # fmt: skip
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False  # compiling all modules takes longer than most tests
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


def forked(task: Callable[[], int], limit: float = math.inf) -> int:
    """What ``task`` returns as an exit code; -1, if it takes over ``limit`` seconds.

    In a fork of this process, which has the libraries loaded, but no module of the project. What it
    says is kept until the next.
    """
    begin = time.monotonic()
    process = os.fork()
    if not process:
        os.setsid()
        said = os.open(f"{SCRATCH}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.path.insert(0, str(Path.cwd()))
        os._exit(task())
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() - begin > limit:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return -1
        time.sleep(0.05)
    return os.waitstatus_to_exitcode(ended[1])


def passes(tests: Sequence[str], limit: float = math.inf) -> bool:
    """Whether tests pass on the current folder's copy; not, if they take over ``limit`` seconds."""
    return not forked(lambda: pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests]), limit)


def reached(area: str) -> dict[str, Any]:
    """Which tests reach what of an area, as the copy is; kept until it changes.

    SystemExit, if they fail without a mutant.
    """
    tests = AREAS[area][1]
    digest = hashlib.sha256(area.encode())
    for name in ("spikegpt_neuro", "converters", "tests"):
        for path in sorted(Path(name).rglob("*.py")):
            digest.update(path.read_bytes())
    kept = Path(f"{SCRATCH}-{area}-{digest.hexdigest()[:16]}.json")
    if not kept.exists():
        print(f"{area}: running its tests once", file=sys.stderr, flush=True)
        if forked(lambda: record(modules(area), [*QUICK, *tests], kept)):
            kept.unlink(missing_ok=True)
            raise SystemExit(f"{area}: tests fail as it is; see {SCRATCH}.log")
    found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
    return found


def modules(area: str) -> list[str]:
    """The modules of an area, in the current folder."""
    return sorted(str(path) for path in Path(AREAS[area][0]).glob("*.py"))


def notices(module: str, line: int, tests: Sequence[str], seconds: float) -> bool:
    """Whether tests notice the change that was made there. ``seconds``: what they take without."""
    compiled = Path(importlib.util.cache_from_source(module))
    compiled.unlink(missing_ok=True)  # known by its second and size, which may be the same
    noticed = bool(tests) and not passes(tests, 60 + PATIENCE * seconds)
    compiled.unlink(missing_ok=True)
    print(
        f"{module}:{line}, {len(tests)} tests: {'killed' if noticed else 'SURVIVED'}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return noticed


def _seconds(found: dict[str, Any], tests: Sequence[str]) -> float:
    return sum(found["seconds"].get(test, SECONDS) for test in tests)


def survives(mutation: Any, found: dict[str, Any]) -> str | None:
    """Its change, if no test notices. ``found``: what the tests reach without it."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    with use_mutation(mutation.module_path, operator, mutation.occurrence) as (before, after):
        if after is None:
            raise RuntimeError(f"{identity(mutation)}: there is no such mutant")
        module, line = str(mutation.module_path), mutation.start_pos[0]
        tests = seeing(found, module, before, line)
        noticed = notices(module, line, tests, _seconds(found, tests))
    lines = (code.splitlines() for code in (before, after))
    return None if noticed else "\n".join(difflib.unified_diff(*lines, n=2, lineterm=""))


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
            possible = mutations(modules(area))
            chosen = random.Random(done["seed"]).sample(possible, len(possible))[:count]
            row = done["areas"].setdefault(
                area, {"possible": len(possible), "tried": 0, "killed": 0, "survivors": []}
            )
            found = reached(area)
            row["tests"] = len(found["seconds"])
            for mutation in chosen[row["tried"] :]:
                if time.monotonic() > until:
                    break
                diff = survives(mutation, found)
                row["tried"] += 1
                row["killed"] += diff is None
                if diff is not None:
                    row["survivors"].append({**identity(mutation), "diff": diff})
                _keep(done, kept)
    return done


def _keep(done: dict[str, Any], kept: Path | None) -> None:
    if kept is not None:
        kept.write_text(json.dumps(done, indent=1) + "\n", "utf-8")


def again(found: dict[str, Any], tests: Sequence[str] = ()) -> None:
    """Try a result's survivors once more; those now noticed become its ``killed_later``.

    ``tests``: these instead of all that execute the statement, which takes a run of all before.
    SystemExit where a line that was changed is no more in its module.
    """
    with copied():
        for area, row in found["areas"].items():
            survivors, row["survivors"] = row["survivors"], []
            reach = reached(area) if survivors and not tests else {"seconds": {}}
            for survivor in survivors:
                module = Path(survivor["module"])
                source = module.read_text("utf-8")
                changed, line = _changed(source, survivor)
                tried = list(tests) or seeing(reach, str(module), source, line)
                module.write_text(changed, "utf-8")
                noticed = notices(str(module), line, tried, _seconds(reach, tried))
                module.write_text(source, "utf-8")
                row.setdefault("killed_later" if noticed else "survivors", []).append(survivor)


def _changed(source: str, survivor: dict[str, Any]) -> tuple[str, int]:
    """A module with a survivor's change, at the place of these lines nearest to where it was.

    And the line of that place.
    """
    diff = [line for line in survivor["diff"].splitlines() if line[:3] not in ("---", "+++")]
    old, new = ([line[1:] for line in diff if line[:1] == sign] for sign in "-+")
    lines = source.split("\n")
    places = [i for i in range(len(lines)) if lines[i : i + len(old)] == old]
    if not places:
        raise SystemExit(f"{survivor['module']} has no line {old} any more; try new mutants")
    place = min(places, key=lambda i: abs(i + 1 - survivor["line"]))
    return "\n".join([*lines[:place], *new, *lines[place + len(old) :]]), place + 1


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
    parser.add_argument("--tests", nargs="+", default=(), help="with --again: these instead")
    options = parser.parse_args(arguments)
    if options.again is not None:
        found = json.loads(options.again.read_text("utf-8"))
        again(found, options.tests)
        options.again.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        return 1 if any(row["survivors"] for row in found["areas"].values()) else 0
    until = time.monotonic() + 60 * options.minutes
    kept = None if options.json is None else options.json.absolute()
    found = run(options.areas or list(AREAS), options.count, options.seed, until, kept)
    print(json.dumps(found, indent=1))
    return 1 if any(row["survivors"] for row in found["areas"].values()) else 0
