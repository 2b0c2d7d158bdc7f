"""``python -m benchmarks``: run the studies, print timings and goals, write JSON and plots."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before anything reads them

import torch

from benchmarks import goals, plots, studies
from benchmarks.bits import bits
from benchmarks.lava import lava
from benchmarks.studies import Plan
from benchmarks.training import training
from spikegpt_neuro.backends.emulator import warm_up
from spikegpt_neuro.version import __version__

STUDIES = {
    "sizes": studies.sizes,
    "bits": bits,
    "projection": studies.projection,
    "blocks": studies.blocks,
    "firing": studies.firing,
    "depth": studies.depth,
    "context": studies.context,
    "resources": studies.resources,
    "export": studies.export,
    "training": training,
    "lava": lava,
}


def _processor() -> str:
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file():
        for line in cpu.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("benchmarks", description=sys.modules["benchmarks"].__doc__)
    parser.add_argument("--study", action="append", choices=STUDIES, help="only this (repeatable)")
    parser.add_argument("--quick", action="store_true", help="small classes, few rounds")
    parser.add_argument("--rounds", type=int, default=0, help="turns of each contender")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    plan = Plan(
        quick=given.quick,
        rounds=given.rounds or (2 if given.quick else 9),
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    given.output.mkdir(parents=True, exist_ok=True)
    warm_up()
    results: dict[str, Any] = {
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "threads": 1},
        "versions": {
            "spikegpt-neuro": __version__, "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "quick": plan.quick,
        "rounds": plan.rounds,
        "begun": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }  # fmt: skip
    for name in given.study or STUDIES:
        begin = time.perf_counter()
        results[name] = STUDIES[name](plan)
        plan.say(f"{name}: done in {time.perf_counter() - begin:.0f} s")
        results["goals"] = goals.table(results)
        (given.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    drawn = plots.draw(results, given.output)
    for line in goals.timings(results):
        print(line)
    for row in results["goals"]:
        print(
            f"{row['figure']:<50} must {row['must']:>6} aim {row['aim']:>6} "
            f"measured {row['measured']:>8.2f}  {row['reached']}"
        )
    for path in (given.output / "results.json", *drawn):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
