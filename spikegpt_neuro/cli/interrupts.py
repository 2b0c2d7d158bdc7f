"""The first Ctrl-C asks a long run to write what it has and end; the second ends it at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer
from rich.text import Text

from spikegpt_neuro.cli.output import Output

_SAID = b"\ninterrupted: this step is finished and written; once more ends at once\n"


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Within the block a first Ctrl-C only makes the function given true."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # only the main thread gets signals
        return
    before = signal.getsignal(signal.SIGINT)

    def first(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        os.write(2, _SAID)  # the console may be in the middle of a line

    signal.signal(signal.SIGINT, first)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def command_that_goes_on(arguments: Sequence[str] | None = None) -> str:
    """The command that is running, once more with --resume."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    kept = [word for word in given if word not in ("--force", "--resume")]
    return shlex.join(["spikegpt-neuro", *kept, "--resume"])


def finish(output: Output, result: dict[str, Any], step: int, steps: int, line: str) -> None:
    """Show a run's result; interrupted, the command that goes on, and exit code 130."""
    finished = step >= steps
    result |= {"step": step, "steps": steps, "finished": finished}
    if not finished:
        result["go_on"] = command_that_goes_on()
        line += f"\ninterrupted after step {step} of {steps}. To go on:\n  {result['go_on']}"
    output.result(result, Text(line))  # as it is: brackets in a path are no markup
    if not finished:
        raise typer.Exit(130)
