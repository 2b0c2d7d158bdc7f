"""Where a command writes: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON value on standard output; nothing else there.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]


def check_inputs() -> None:
    """Before a result is written or shown: what it was computed of is still what was read."""
    if "spikegpt_neuro.readers.mapped" in sys.modules:  # else nothing is mapped
        from spikegpt_neuro.readers.mapped import check_unchanged

        check_unchanged()


ProgressCallback = Callable[[int, int], None]
"""``progress(done, total)``; both in the units of the work."""

StepsCallback = Callable[[int, int, str], None]
"""``steps(done, total, text)``; the text says how it goes."""


class Output:
    """One command's output. With ``as_json`` standard output carries one JSON value only."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        # tables cannot be read at the 80 columns assumed where there is no terminal
        width = None if sys.stdout.isatty() else 120
        self._console = Console(highlight=False, soft_wrap=True, width=width)
        self._errors = Console(stderr=True, highlight=False)
        self._progress = not quiet and not as_json and self._errors.is_terminal
        self._notes = not quiet
        _hear_the_library(self)

    def result(self, value: Any, *renderables: RenderableType) -> None:
        """Show a command's result: ``value`` as JSON, or the renderables for people."""
        check_inputs()
        if self.as_json:
            text = json.dumps(value, ensure_ascii=False, indent=2, default=_plain)
            # a lone surrogate of a decoded token must not break the output
            sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
            sys.stdout.buffer.flush()
        else:
            self.show(*renderables)

    def show(self, *renderables: RenderableType) -> None:
        """Show something to people; nothing with ``--json``."""
        if not self.as_json:
            for renderable in renderables:
                self._console.print(renderable)

    def note(self, text: str) -> None:
        """Say something beside the result, on standard error; nothing with ``--quiet``."""
        if self._notes:
            # a log file is not 80 columns wide
            self._errors.print(text, markup=False, soft_wrap=not self._errors.is_terminal)

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        """A progress bar on standard error, where that is a terminal and wanted."""
        if not self._progress:
            yield lambda done, total: None
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._errors, transient=True) as bars:
            task = bars.add_task(title, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)

    @contextmanager
    def steps(self, title: str, every: float) -> Iterator[StepsCallback]:
        """Progress of long work: a bar with a text, and where there is no terminal a line after
        the first step and every ``every`` seconds.
        """
        pace = _Pace()
        if not self._progress:
            yield partial(self._line, pace, every)
            return
        columns = (
            TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
        )  # fmt: skip
        with Progress(*columns, console=self._errors, transient=True) as bars:
            task = bars.add_task(title, total=None, text="")

            def show(done: int, total: int, text: str) -> None:
                pace.count(done)
                told = ", ".join(filter(None, (text, pace.told(done, total))))
                bars.update(task, completed=done, total=total, text=told)

            yield show

    def _line(self, pace: _Pace, every: float, done: int, total: int, text: str) -> None:
        pace.count(done)
        if pace.due(every):
            told = ", ".join(filter(None, (text, pace.told(done, total))))
            self.note(f"{done}/{total}, {told}")


class _Pace:
    """Steps a second of this session. The first step, in which kernels compile, is left out."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._told = -math.inf

    def count(self, done: int) -> None:
        if self._first is None:
            self._first = done, time.perf_counter()

    def due(self, every: float) -> bool:
        now = time.perf_counter()
        if now - self._told < every:
            return False
        self._told = now
        return True

    def told(self, done: int, total: int) -> str:
        """Rate and time left, '' after one step."""
        assert self._first is not None
        steps, seconds = done - self._first[0], time.perf_counter() - self._first[1]
        if not steps or not seconds:
            return ""
        left = timedelta(seconds=round((total - done) * seconds / steps))
        return f"{steps / seconds:,.3g} steps/s, {left} left"


class _Notes(logging.Handler):
    """Shows what the library has to say meanwhile as notes of the command."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler.emit``."""
        self._output.note(record.getMessage())


def _hear_the_library(output: Output) -> None:
    """Let ``output`` show the package's log records, in the place of any output before it."""
    logger = logging.getLogger("spikegpt_neuro")
    logger.handlers = [_Notes(output)]
    logger.propagate = False


def _plain(value: Any) -> Any:
    """JSON forms of what numpy, paths and sets hold."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._begin
