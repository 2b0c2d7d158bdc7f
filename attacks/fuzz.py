"""``python -m attacks [FORMAT ...] [--count N]``: read mutated files, and count how that ends.

Half of the inputs have bytes changed, half their meaning (checksums true again). Each ends as:
*refused* (an exception of this project), *read*, *changed* (bytes changed under a checksum, read as
something else), *traceback* (another exception), *died* (a signal), *slow* (over 10 seconds of the
processor). The last four must be 0; the exit code says so. ``--keep``: where such inputs are kept.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from attacks import hdf5_parser
from attacks.formats import FORMATS
from attacks.mutations import change_bytes
from spikegpt_neuro.errors import SpikeGPTNeuroError

SLOW, WAITED = 10.0, 60.0
"""Seconds of the processor, children included, and on the clock of a machine that is busy."""
BAD = ("changed", "traceback", "died", "slow")


def attack(name: str, folder: str, begin: int, end: int, seed: int, results: Any, now: Any) -> None:
    """Inputs ``begin`` to ``end`` of a format; ``now`` holds the one that is being read."""
    hdf5_parser.install()
    form, good = FORMATS[name], (Path(folder) / "good").read_bytes()
    expected = form.read(Path(folder) / "good")
    for number in range(begin, end):
        rng = np.random.default_rng([seed, number])
        meaning = number % 2 == 1
        content = (form.change if meaning else change_bytes)(good, rng)
        path = Path(folder) / f"input-{begin}"
        path.write_bytes(content)
        now.value = number
        began, clock, said = sum(os.times()[:4]), time.monotonic(), ""
        try:
            same = form.read(path) == expected
            must = form.sealed and not meaning and not same
            outcome = "changed" if must else "read"
        except SpikeGPTNeuroError:
            outcome = "refused"
        except Exception:
            outcome, said = "traceback", traceback.format_exc()
        if sum(os.times()[:4]) - began > SLOW or time.monotonic() - clock > WAITED:
            outcome = "slow"
        results.put((number, outcome, content if outcome in BAD else b"", said))
    results.put(None)


def run(name: str, count: int, seed: int, keep: Path | None, processes: int = 1) -> Counter[str]:
    """``count`` inputs of a format; how often each outcome came."""
    outcomes: Counter[str] = Counter()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        FORMATS[name].make(Path(folder) / "good")
        bounds = np.linspace(0, count, processes + 1).astype(int).tolist()
        waiting = [(begin, end) for begin, end in pairwise(bounds)]
        results, running = context.Queue(), []
        while waiting or running:
            while waiting:
                begin, end = waiting.pop()
                now = context.Value("q", begin)
                process = context.Process(
                    target=attack, args=(name, folder, begin, end, seed, results, now), daemon=True
                )
                process.start()
                running.append((process, now, end))
            while not results.empty():
                found = results.get()
                if found is None:
                    continue
                number, outcome, content, said = found
                outcomes[outcome] += 1
                if outcome in BAD:
                    print(f"{name} {number}: {outcome}\n{said}", file=sys.stderr)
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{name}-{number}-{outcome}").write_bytes(content)
            for entry in list(running):
                process, now, end = entry
                if process.is_alive():
                    continue
                process.join()
                running.remove(entry)
                if process.exitcode:
                    number = now.value
                    outcomes["died"] += 1
                    print(f"{name} {number}: died, {process.exitcode}", file=sys.stderr)
                    if process.exitcode > 0:  # not a signal: it would never get on
                        raise RuntimeError(f"the attack on {name} cannot run")
                    if number + 1 < end:
                        waiting.append((number + 1, end))
            time.sleep(0.02)
        while not results.empty():
            found = results.get()
            if found is not None:
                outcomes[found[1]] += 1
    return outcomes


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m attacks", description=__doc__)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--count", type=int, default=5000, help="inputs of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for inputs that should not end so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there, too")
    options = parser.parse_args()
    bad, rows = 0, []
    for name in options.formats or FORMATS:
        began = time.monotonic()
        found = run(name, options.count, options.seed, options.keep, options.processes)
        worse = sum(found[outcome] for outcome in BAD)
        bad += worse
        rows.append(
            {
                "format": name,
                "inputs": sum(found.values()),
                "seed": options.seed,
                "refused": found["refused"],
                "read": found["read"],
                "bad": worse,
            }
        )
        if options.json is not None:
            options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        told = ", ".join(f"{found[o]} {o}" for o in ("refused", "read", *BAD))
        print(f"{name}: {sum(found.values())} inputs, {told} "
              f"({time.monotonic() - began:.0f} s)", flush=True)  # fmt: skip
    return 1 if bad else 0
