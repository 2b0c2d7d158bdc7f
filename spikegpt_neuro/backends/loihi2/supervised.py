"""A worker process that cannot hang its caller: answers have time limits, every end is clean."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import Final, TypeVar

from spikegpt_neuro.backends.loihi2.job import Failed, Run, Start, Stop
from spikegpt_neuro.errors import InputError, RunFailed, SpikeGPTNeuroError, Unavailable

Answer = TypeVar("Answer")

LIMITS: Final = {
    "start": ("SPIKEGPT_NEURO_LOIHI2_START_SECONDS", 300.0),
    "run": ("SPIKEGPT_NEURO_LOIHI2_RUN_SECONDS", 600.0),
}
"""Environment variable and default of each time limit: until the board has answered (waiting in
SLURM's queue included), and for one run (booting the network included)."""
STOP_SECONDS: Final = 60.0
"""For letting the board go and reading the profilers."""
MARK: Final = "SPIKEGPT_NEURO_LOIHI2_SESSION"
"""Environment variable by which everything a worker starts is found again."""
GRACE_SECONDS: Final = 3.0
"""Between a polite end and one by force."""
_TAIL_LINES: Final = 15


def time_limit(name: str) -> float:
    """Seconds of one of ``LIMITS``; ``InputError`` for a variable that is not a positive number."""
    variable, default = LIMITS[name]
    text = os.environ.get(variable, "")
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"{variable} is {text!r}, must be a number of seconds above 0.")
    return seconds


def marked_processes(mark: str) -> list[int]:
    """Ids of all processes whose environment holds ``mark``, wherever in the tree they ended up."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # an ended process that nobody waited for has an empty environment
            if mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def end_processes(mark: str) -> None:
    """End by force every process that holds ``mark``, except the calling one."""
    while survivors := [pid for pid in marked_processes(mark) if pid != os.getpid()]:
        for pid in survivors:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


class SupervisedWorker:
    """A worker process and the wire to it.

    Whatever goes wrong, and on Ctrl-C, the worker and everything it started are ended before the
    exception leaves.
    """

    def __init__(self) -> None:
        value = uuid.uuid4().hex
        self._mark = f"{MARK}={value}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._connection, theirs = Pipe()
        try:
            # a session of its own: Ctrl-C must reach the caller only
            self._process = subprocess.Popen(
                [sys.executable, "-m", "spikegpt_neuro.backends.loihi2.worker",
                 str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=self._log,
                stderr=self._log, start_new_session=True, env={**os.environ, MARK: value},
            )  # fmt: skip
        finally:
            theirs.close()
        self._open = True

    @property
    def process_ids(self) -> list[int]:
        """The worker and everything it started that is still there."""
        return marked_processes(self._mark)

    def ask(self, request: Start | Run | Stop, answer: type[Answer], seconds: float) -> Answer:
        """Send ``request`` and wait for its answer.

        Raises what the worker reports; ``RunFailed`` if it dies; ``Unavailable`` (while it starts)
        or ``RunFailed`` if ``seconds`` pass. The worker is gone after any of these.
        """
        if not self._open:
            raise RunFailed("this Loihi 2 session is closed; open a new one.")
        try:
            with suppress(BrokenPipeError):  # it died: what it said before is still in the pipe
                self._connection.send(request)
            if not self._connection.poll(seconds):
                raise self._late(request, seconds)
            try:
                found = self._connection.recv()
            except (EOFError, ConnectionResetError):
                code = self._process.wait()
                raise RunFailed(
                    f"the process that talks to lava-loihi died with exit code {code}."
                    f"{self._tail()}"
                ) from None
            if isinstance(found, Failed):
                raise self._told(found.error)
            assert isinstance(found, answer)
            return found
        except BaseException:
            self.end()
            raise

    def _late(self, request: Start | Run | Stop, seconds: float) -> SpikeGPTNeuroError:
        if isinstance(request, Start):
            return Unavailable(
                f"the board did not answer within {seconds:g} s.{self._tail()}",
                [str(request.host)],
                "It may be in use, or its host unreachable: `sinfo` and `squeue` show what runs. "
                f"To wait longer set {LIMITS['start'][0]} to a number of seconds.",
            )
        return RunFailed(
            f"the board did not finish within {seconds:g} s.{self._tail()}\n"
            f"To wait longer set {LIMITS['run'][0]} to a number of seconds."
        )

    def _told(self, error: SpikeGPTNeuroError) -> SpikeGPTNeuroError:
        """The worker's error, with what the SDK printed where a run broke off."""
        return RunFailed(f"{error}{self._tail()}") if isinstance(error, RunFailed) else error

    def _tail(self) -> str:
        """The last lines the worker and the SDK printed."""
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()[-_TAIL_LINES:]
        return "\n".join(["\nlast lines of its output:", *lines]) if lines else ""

    def end(self) -> None:
        """End the worker and everything it started; a second call does nothing."""
        if not self._open:
            return
        self._open = False
        self._connection.close()
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_SECONDS)
            if self._process.poll() is None:
                self._process.kill()
        self._process.wait()
        end_processes(self._mark)
        self._log.close()
