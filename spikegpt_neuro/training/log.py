"""A run's log: a CSV file, and on request TensorBoard's event files."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikegpt_neuro.errors import Unavailable
from spikegpt_neuro.network.atomic import replaced_file

COLUMNS = (
    "step", "tokens", "seconds", "train_bits_per_character", "valid_bits_per_character",
    "valid_perplexity", "events_per_token", "additions_per_token", "mean_firing_rate",
    "learning_rate_share",
)  # fmt: skip


def begin_table(path: Path, columns: Sequence[str], step: int) -> None:
    """Write the head of a run's CSV file, and of the rows there those up to ``step``.

    The first column is the step. Whatever breaks off, the path holds the old rows or the new ones.
    """
    rows: list[list[str]] = []
    if step and path.exists():
        with path.open(newline="") as stream:
            rows = [row for row in csv.reader(stream) if row and row[0].isdigit()]
    kept = io.StringIO(newline="")
    csv.writer(kept).writerows([columns, *(row for row in rows if int(row[0]) <= step)])
    with replaced_file(path) as written:
        written.write(kept.getvalue().encode("utf-8"))


class Log:
    """Rows of ``COLUMNS``, one an evaluation; TensorBoard also gets every LIF's firing rate.

    ``step``: where the run goes on. 0 begins the log anew; otherwise rows after it, which the run
    will write again, are dropped.
    """

    def __init__(self, path: Path, tensorboard: Path | None, step: int) -> None:
        begin_table(path, COLUMNS, step)
        self._path = path
        self._events = None if tensorboard is None else _summary_writer(tensorboard, step)

    def write(self, values: Mapping[str, float], firing_rates: Mapping[str, float]) -> None:
        """Add a row; columns without a value stay empty. ``firing_rates``: by LIF."""
        with self._path.open("a", newline="") as stream:
            csv.writer(stream).writerow([values.get(name, "") for name in COLUMNS])
        if self._events is None:
            return
        step = int(values["step"])
        for name in COLUMNS[1:]:
            if name in values:
                self._events.add_scalar(name, values[name], step)
        for name, rate in firing_rates.items():
            self._events.add_scalar(f"firing_rate/{name}", rate, step)
        self._events.flush()

    def close(self) -> None:
        """Nothing more will be written."""
        if self._events is not None:
            self._events.close()


def _summary_writer(folder: Path, step: int) -> Any:
    try:
        tensorboard = importlib.import_module("torch.utils.tensorboard")
    except ImportError as error:
        raise Unavailable(
            "TensorBoard's event files need the package tensorboard.",
            ["import torch.utils.tensorboard"],
            "pip install 'spikegpt-neuro[tensorboard]'.",
        ) from error
    return tensorboard.SummaryWriter(str(folder), purge_step=step + 1 if step else None)
