"""Tasks on several backends, one after another, and their results side by side."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.harness.language_model import FLOAT, SpikeGPTLM

_UNIT = ",none"
"""What the harness adds to the name of a metric without a filter."""


@dataclass(frozen=True)
class TaskResult:
    """One metric of one task: ``values`` by backend, of ``samples`` documents."""

    task: str
    metric: str
    samples: int
    values: dict[str, float]

    @property
    def integers_agree(self) -> bool:
        """Whether every backend of integers gave the very same number."""
        return len({value for name, value in self.values.items() if name != FLOAT}) <= 1


def evaluate(
    network: str | PathLike[str],
    tasks: Sequence[str],
    backends: Sequence[str] = ("emulator",),
    *,
    against: str | PathLike[str] | None = None,
    include: str | PathLike[str] | None = None,
    limit: int | None = None,
    vocabulary: str | PathLike[str] | None = None,
    prefix: str = "\n",
    progress: Callable[[str, int, int], None] = lambda backend, done, total: None,
) -> tuple[tuple[TaskResult, ...], dict[str, dict[str, float]]]:
    """Run ``tasks`` on every backend; results, and per backend ``tokens`` read and ``seconds``.

    ``include``: folder of tasks in YAML beside the harness's own; ``limit``: first documents of
    each task. ``against``: checkpoint of the backend ``float``. Raises InputError for an unknown
    task, a backend named twice, or anything ``SpikeGPTLM`` refuses.
    """
    if not tasks or not backends:
        raise InputError("name at least one task and one backend.")
    if len(set(backends)) < len(backends):
        raise InputError(f"a backend is named twice: {', '.join(backends)}.")
    manager = task_manager(tasks, include)
    values: dict[tuple[str, str], dict[str, float]] = {}
    samples: dict[str, int] = {}
    costs: dict[str, dict[str, float]] = {}
    for backend in backends:
        began = time.perf_counter()
        model = SpikeGPTLM(
            network, backend, against, vocabulary, prefix, partial(progress, backend)
        )
        try:
            found: Any = simple_evaluate(
                model=model, tasks=list(tasks), limit=limit, task_manager=manager,
                bootstrap_iters=0, log_samples=False,
            )  # fmt: skip
        finally:
            model.close()
        for task, metrics in found["results"].items():
            samples[task] = int(found["n-samples"][task]["effective"])
            for name, value in metrics.items():
                if isinstance(value, int | float) and not name.endswith(f"_stderr{_UNIT}"):
                    if name == "sample_len" or "," not in name:
                        continue
                    metric = name.removesuffix(_UNIT)
                    values.setdefault((task, metric), {})[backend] = float(value)
        costs[backend] = {
            "tokens": model.tokens_read, "seconds": time.perf_counter() - began,
        }  # fmt: skip
    results = tuple(
        TaskResult(task, metric, samples[task], by_backend)
        for (task, metric), by_backend in values.items()
    )
    return results, costs


def task_manager(tasks: Sequence[str], include: str | PathLike[str] | None) -> TaskManager:
    """The harness's index of tasks: of ``include`` alone where that has them all.

    Raises InputError naming the tasks that neither has.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if include is not None:
        if not Path(include).is_dir():
            raise InputError(f"{include} is not a folder of tasks.")
        own = TaskManager(include_path=str(include), include_defaults=False)
        if set(tasks) <= set(own.all_tasks):
            return own
    manager = TaskManager(include_path=None if include is None else str(include))
    missing = sorted(set(tasks) - set(manager.all_tasks))
    if missing:
        there = [] if include is None else sorted(own.all_tasks)
        raise InputError(
            f"there is no task {', '.join(missing)}.",
            advice=f"In {include}: {', '.join(there)}." if there else "`lm_eval ls tasks`.",
        )
    return manager
