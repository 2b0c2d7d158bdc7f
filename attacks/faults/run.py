"""``python -m attacks faults``: many trials, and how they ended."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from attacks.faults import trial
from attacks.faults.bench import Bench, Warm
from attacks.faults.child import private_mounts
from attacks.faults.commands import COMMANDS
from attacks.faults.injections import FAULTS

FRESH = 0.06
"""Share of the trials that begin with a new interpreter: its first seconds are attacked as well."""


def _draw(seed: int, number: int, names: list[str], faults: list[str]) -> tuple[Any, ...]:
    """Command and fault of a trial, from its own generator."""
    rng = np.random.default_rng([seed, number])
    pairs = [
        (name, fault)
        for name in names
        for fault in faults
        if (not FAULTS[fault].only or name in FAULTS[fault].only)
    ]
    shares = np.array([COMMANDS[name].share * FAULTS[fault].share for name, fault in pairs])
    name, fault = pairs[int(rng.choice(len(pairs), p=shares / shares.sum()))]
    return name, fault, rng, bool(rng.random() < FRESH)


def run(
    first: int, count: int, seed: int, names: list[str], faults: list[str], workers: int,
    keep: Path | None, until: float,
) -> list[dict[str, Any]]:  # fmt: skip
    """Trials ``first`` to ``first + count``, begun in that order until ``until``."""
    drawn = [(n, *_draw(seed, n, names, faults)) for n in range(first, first + count)]
    drawn.reverse()
    found: list[dict[str, Any]] = []
    base = Path(tempfile.mkdtemp(prefix="spikegpt-neuro-faults-"))
    try:
        bench = Bench(base)
        for name in {entry[1] for entry in drawn}:
            bench.learn(COMMANDS[name])
        lock = threading.Lock()

        def work(warm: dict[bool, Warm]) -> None:
            while True:
                with lock:
                    if not drawn or time.monotonic() > until:
                        break
                    number, name, fault, rng, fresh = drawn.pop()
                torch = COMMANDS[name].torch
                if torch not in warm:
                    warm[torch] = bench.another(torch=torch)
                folder = base / f"trial-{number}"
                result = trial.run_trial(
                    bench, warm[torch], COMMANDS[name], fault, folder, rng, fresh
                )
                with lock:
                    found.append({"trial": number, **result})
                    told = "; ".join(result["bad"]) or "as it should be"
                    print(
                        f"{len(found)}/{count} trial {number}: {name}, {fault}: "
                        f"{result['outcome']} {result['codes']}: {told}",
                        file=sys.stderr, flush=True,
                    )  # fmt: skip
                if result["bad"] and keep is not None:
                    shutil.copytree(folder, keep / folder.name, dirs_exist_ok=True)
                shutil.rmtree(folder, ignore_errors=True)
            for process in warm.values():
                process.close()

        own = [bench.warm, *({} for _ in range(workers - 1))]
        threads = [threading.Thread(target=work, args=(warm,)) for warm in own]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return found


def summary(
    found: list[dict[str, Any]], options: argparse.Namespace, unavailable: list[str]
) -> dict[str, Any]:
    """Counts by fault and by command, every bad trial whole, and what the trials are drawn from."""

    def by(key: str) -> dict[str, dict[str, int]]:
        rows: dict[str, Counter[str]] = {}
        for entry in found:
            row = rows.setdefault(entry[key], Counter())
            row[entry["outcome"]] += 1
            row["trials"] += 1
            row["bad"] += bool(entry["bad"])
        return {name: dict(sorted(rows[name].items())) for name in sorted(rows)}

    return {
        "trials": len(found), "bad": sum(bool(entry["bad"]) for entry in found),
        "seed": options.seed, "first": options.first, "drawn_from": options.commands,
        "fresh": sum(entry["fresh"] for entry in found), "unavailable": unavailable,
        "faults": by("fault"), "commands": by("command"),
        "bad_trials": [entry for entry in found if entry["bad"]],
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Entry point; exit code 1 if a trial ended badly, or if none ran."""
    parser = argparse.ArgumentParser(prog="python -m attacks faults", description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no trial after that time")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--keep", type=Path, help="folder for what bad trials left")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    trial.MOUNTS = private_mounts()
    unavailable = [n for n in options.faults if FAULTS[n].mounts and not trial.MOUNTS]
    faults = [name for name in options.faults if name not in unavailable]
    found = run(
        options.first, options.trials, options.seed, options.commands, faults, options.workers,
        options.keep, began + 60 * options.minutes,
    )  # fmt: skip
    told = summary(found, options, unavailable)
    text = json.dumps({**told, "seconds": round(time.monotonic() - began)}, indent=1)
    if options.json is not None:
        options.json.write_text(text + "\n", "utf-8")
    print(text if options.json is None else f"{told['trials']} trials, {told['bad']} bad")
    sys.stdout.flush()
    return 1 if told["bad"] or not found else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main(sys.argv[1:]))
