"""lava-loihi's profilers around a run; whatever they do not give is a note, never a failure."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from spikegpt_neuro.events.measurement import Measurement

MICROSECONDS = 1e-6
"""Unit of the execution times."""
_POWERS = {
    "total": "total_power", "static": "static_total_power", "vdd": "vdd_power",
    "vddm": "vddm_power", "vddio": "vddio_power",
}  # fmt: skip
_ACTIVITIES = {
    "synaptic_operations": "syn_ops",
    "neuron_updates": "dendrite_updates",
    "spikes_in": "spikes_in",
    "spikes_out": "axon_out",
}


class Profilers:
    """The profilers lava-loihi has, for a run of ``steps`` time steps.

    ``callbacks`` go to ``Loihi2HwCfg(callback_fxs=...)``; results are read once the run is stopped.
    """

    def __init__(self, steps: int) -> None:
        self.notes: list[str] = []
        self._module: Any = None
        try:
            self._module = importlib.import_module("lava.utils.loihi2_profiler")
        except ImportError as error:
            self.notes.append(f"no profiler: {error}")
        self._power = self._make("Loihi2Power", num_steps=steps)
        self._time = self._make("Loihi2ExecutionTime")
        self._memory = self._make("Loihi2Memory")
        self._activity = self._make("Loihi2Activity")

    def _make(self, name: str, **options: Any) -> Any:
        if self._module is None:
            return None
        try:
            return getattr(self._module, name)(**options)
        except Exception as error:  # whatever a closed SDK raises, the run goes on without it
            self.notes.append(f"{name} is not available: {error!r}")
            return None

    @property
    def callbacks(self) -> list[Any]:
        """The profilers that could be made."""
        made = (self._power, self._time, self._memory, self._activity)
        return [profiler for profiler in made if profiler is not None]

    def _read(self, profiler: Any, name: str, reduce: Callable[[Any], Any]) -> Any:
        """An attribute reduced to one number; None with a note if it cannot be had."""
        if profiler is None:
            return None
        try:
            return reduce(getattr(profiler, name))
        except Exception as error:
            self.notes.append(f"{type(profiler).__name__}.{name} could not be read: {error!r}")
            return None

    def measurement(self, board: str, sdk: str, mode: str, steps: int, tokens: int) -> Measurement:
        """What was measured of a stopped run."""
        powers = {name: self._read(self._power, key, _mean) for name, key in _POWERS.items()}
        counts = {name: self._read(self._activity, key, _sum) for name, key in _ACTIVITIES.items()}
        microseconds = self._read(self._time, "avg_time_per_step", _mean)
        if powers["total"] is not None and powers["static"] is not None:
            if powers["total"] < powers["static"]:
                self.notes.append(
                    "the board drew less while running than at rest: the run is too short, or its "
                    "own share too small, for the power measurement"
                )
            self.notes.append("power is that of the whole board, chips that held nothing included")
        return Measurement(
            board, sdk, mode, steps, tokens,
            None if microseconds is None else microseconds * MICROSECONDS,
            {name: watts for name, watts in powers.items() if watts is not None},
            {name: count for name, count in counts.items() if count is not None},
            self._read(self._memory, "core_idx", len),
            self._read(self._memory, "total_mpds", _largest),
            tuple(self.notes),
        )  # fmt: skip


def _mean(values: Any) -> float:
    return float(np.mean(values))


def _sum(values: Any) -> int:
    return int(np.sum(values))


def _largest(values: Any) -> float:
    return float(np.max(values))
