"""Joules a token of a command on this machine: measured, idle power subtracted and shown.

    E_token = (E_run - E_start - P_idle (t_run - t_start)) / tokens

``start`` is the same command without tokens (loading, compiling), left out where none is given.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spikegpt_neuro.energy.meters import Meter, Reading, Stretch
from spikegpt_neuro.errors import InputError, RunFailed

_POLL = 20.0
"""Seconds between readings while a command runs, so that no counter wraps unseen."""


@dataclass(frozen=True)
class Phase:
    """Energy of one phase (prefill or generation): the run, its start alone, and idle power."""

    name: str
    tokens: int
    run: Reading
    start: Reading | None
    idle_watts: float

    @property
    def seconds(self) -> float:
        """Seconds of the tokens."""
        return self.run.seconds - (self.start.seconds if self.start else 0.0)

    @property
    def joules(self) -> float:
        """Joules of the tokens, idle power included."""
        return self.run.total - (self.start.total if self.start else 0.0)

    @property
    def joules_per_token(self) -> float:
        """Joules a token with idle power."""
        return self.joules / self.tokens

    @property
    def joules_per_token_above_idle(self) -> float:
        """Joules a token beyond what the machine draws anyway."""
        return (self.joules - self.idle_watts * self.seconds) / self.tokens

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "phase": self.name, "tokens": self.tokens, "seconds": self.seconds,
            "seconds_per_token": self.seconds / self.tokens, "joules": self.joules,
            "energy_joules_per_token": self.joules_per_token,
            "energy_joules_per_token_above_idle": self.joules_per_token_above_idle,
            "idle_watts": self.idle_watts, "mean_watts": self.run.watts,
            "joules_by_meter": dict(self.run.joules), "status": "measured",
            "start_subtracted": self.start is not None,
        }  # fmt: skip


def run_command(command: Sequence[str], meters: Sequence[Meter]) -> Reading:
    """Energy of one command, its output discarded. Raises RunFailed if it fails."""
    stop = threading.Event()
    stretch = Stretch(meters)

    def poll() -> None:
        while not stop.wait(_POLL):
            stretch.read()

    watcher = threading.Thread(target=poll, daemon=True)
    watcher.start()
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        raise InputError(f"{command[0]} cannot be run: {error.strerror}.") from error
    finally:
        stop.set()
        watcher.join()
    reading = stretch.read()
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        raise RunFailed(f"`{' '.join(command)}` ended with {done.returncode}: {last[0]}")
    return reading


def measure_phase(
    name: str, command: Sequence[str], tokens: int, meters: Sequence[Meter], idle_watts: float,
    start: Sequence[str] | None = None, repeats: int = 1,
) -> Phase:  # fmt: skip
    """Run a phase's command ``repeats`` times and take the run of the median energy.

    Raises InputError where its start took more energy than the run: nothing is left for tokens.
    """
    first = None
    if start is not None:
        first = _median([run_command(start, meters) for _ in range(repeats)])
    run = _median([run_command(command, meters) for _ in range(repeats)])
    phase = Phase(name, tokens, run, first, idle_watts)
    if phase.joules <= 0 or phase.seconds <= 0:
        raise InputError(
            f"{name}: the run took no more energy or time than its start alone.",
            advice="Give more tokens, or --repeats.",
        )
    return phase


def _median(readings: list[Reading]) -> Reading:
    return sorted(readings, key=lambda reading: reading.total)[len(readings) // 2]
