"""Profilers. Their figures are the fake's own, so that a test can tell where a number came from.

Callbacks run in the runtime service's process; what they find reaches the caller through a pipe.
"""

from __future__ import annotations

import multiprocessing

import numpy as np
from lava.magma.core.callback_fx import NxSdkCallbackFx
from nxcore.arch.base.nxboard import scenario


class _Profiler(NxSdkCallbackFx):
    def __init__(self) -> None:
        self._theirs, self._ours = multiprocessing.Pipe()
        self._found: dict | None = None

    def pre_run_callback(self, board=None, var_id_to_var_model_map=None):
        self._first = board._steps

    def post_run_callback(self, board=None, var_id_to_var_model_map=None):
        self._ours.send(self._measure(board._steps - self._first))

    def _measure(self, steps: int) -> dict:
        raise NotImplementedError

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        if self._found is None:
            if not self._theirs.poll():
                raise AttributeError(f"{name}: nothing was measured")
            self._found = self._theirs.recv()
        return self._found[name]


class Loihi2Power(_Profiler):
    def __init__(self, num_steps: int = 1) -> None:
        super().__init__()
        self._expected = num_steps

    def _measure(self, steps: int) -> dict:
        if steps != self._expected:
            raise RuntimeError(f"{steps} steps ran, {self._expected} were announced")
        return {
            "total_power": np.array([0.5, 0.7]), "static_total_power": 0.25,
            "vdd_power": np.array([0.2, 0.3]), "vddm_power": np.array([0.3, 0.3]),
            "vddio_power": np.array([0.01, 0.01]), "static_vdd_power": 0.1,
            "static_vddm_power": 0.1, "static_vddio_power": 0.05,
        }  # fmt: skip


class Loihi2ExecutionTime(_Profiler):
    def _measure(self, steps: int) -> dict:
        per_step = np.linspace(10.0, 30.0, steps)
        return {"execution_time_per_step": per_step, "avg_time_per_step": per_step.mean()}


class Loihi2Memory(_Profiler):
    def _measure(self, steps: int) -> dict:
        return {"core_idx": np.arange(3), "total_mpds": np.array([0.5, 0.25, 0.125])}


class Loihi2Activity(_Profiler):
    def _measure(self, steps: int) -> dict:
        return {
            "core_idx": np.arange(3), "syn_ops": np.array([100, 20, 3]) * steps,
            "dendrite_updates": np.array([4, 4, 4]) * steps,
            "axon_out": np.array([1, 1, 0]) * steps, "spikes_in": np.array([1, 1, 1]) * steps,
        }  # fmt: skip


_kept = scenario().get("profilers")
if _kept is not None:
    for _name in ("Loihi2Power", "Loihi2ExecutionTime", "Loihi2Memory", "Loihi2Activity"):
        if _name not in _kept:
            del globals()[_name]
