"""Clocks, the memory-bandwidth probe, and rounds in which contenders take turns."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from spikegpt_neuro.arithmetic.compiler import kernel

PROBE_BYTES = 256 << 20

clock = time.thread_time
"""Processor seconds of this thread: on an idle machine wall-clock seconds, and on a busy one
not spoilt by waiting for a turn (caches and memory bandwidth are shared all the same)."""


def processor_seconds(process_ids: Iterable[int]) -> float:
    """Processor seconds that all threads of these processes have had: what they cost one core."""
    nanoseconds = 0
    for process_id in process_ids:
        for task in Path(f"/proc/{process_id}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that ended just now
                nanoseconds += int((task / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


@kernel
def _sum(values: np.ndarray) -> int:
    total = 0
    for i in range(values.size):
        total += values[i]
    return total


class BandwidthProbe:
    """Reads a vector far larger than the caches; bytes per second one thread gets from memory."""

    def __init__(self) -> None:
        self._values = np.ones(PROBE_BYTES // 8, np.int64)
        _sum(self._values)

    def __call__(self) -> float:
        begin = clock()
        _sum(self._values)
        return PROBE_BYTES / (clock() - begin)


def rounds(contenders: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """Let every contender (a function that returns its figure) take its turn, ``count`` times.

    The order turns by one each round, so that none always follows the same other.
    """
    names = list(contenders)
    figures: dict[str, list[float]] = {name: [] for name in names}
    for i in range(count):
        shift = i % len(names)
        for name in names[shift:] + names[:shift]:
            figures[name].append(contenders[name]())
    return figures


def summary(values: list[float]) -> dict[str, float]:
    """Median and extremes."""
    return {"median": median(values), "least": min(values), "most": max(values)}


def paired_ratio(above: list[float], below: list[float]) -> dict[str, float]:
    """Summary of the ratios within each round, which drift far less than the figures do."""
    return summary([a / b for a, b in zip(above, below, strict=True)])


_REPORT = (
    "\nimport json as _json, time as _time\n"
    "_memory = {k: int(v.split()[0]) * 1024 for k, v in (line.split(':', 1) for line in "
    "open('/proc/self/status')) if k in ('VmHWM', 'RssAnon', 'RssFile')}\n"
    "print(_json.dumps({**_memory, 'cpu_seconds': _time.process_time()}))\n"
)


def in_fresh_process(script: str, *arguments: str) -> dict[str, Any]:
    """Run ``script`` in a new interpreter: wall and processor seconds with imports, memory.

    ``VmHWM``: most memory resident at any time. ``RssAnon``: memory at the end that is not a
    mapped file. Bytes.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script + _REPORT, *arguments],
        check=True, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    wall = time.perf_counter() - begin
    return {"wall_seconds": wall, **json.loads(done.stdout.strip().splitlines()[-1])}
