"""NIR's neurons in discrete time: forward Euler, the step snnTorch, Norse and Lava take.

NIR gives differential equations and no time step. With ``d = dt / tau``, a step of ``CubaLIF``::

    i = (1 - d_syn) i + d_syn w_in x
    v = (1 - d_mem) v + d_mem (v_leak + r i)          with the current of this step
    spike where v > v_threshold;  v = v_reset there

``LIF`` has ``i = x``; ``LI`` and ``CubaLI`` never fire. ``IF`` and ``I`` have no time constant:
``v += r x`` a step, as sinabs, Norse, Spyx and snnTorch write and read them. Forward Euler, not
``1 - exp(-dt / tau)``, because the tools that write NIR get ``tau`` from their decay that way
(snnTorch: ``tau = dt / (1 - beta)``), so that the decay that was trained comes back.

Current and voltage are linear between spikes, so a step needs only one gain of the input::

    v = (1 - d_mem) v + u + leak,   u = (1 - d_syn) u + gain x,   gain = d_mem r d_syn w_in
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange.nir_format import UNIT
from spikegpt_neuro.exchange.nir_graph import Node

FloatArray = npt.NDArray[np.float64]

FLOAT32 = 1e-6
"""Numbers of float32 files that should be whole or equal differ by less than this part of them."""
NOISE = 1e-12
"""What float64 arithmetic leaves of a number that should be 0."""


@dataclass(frozen=True, eq=False)
class Dynamics:
    """A layer of neurons a time step; every array float64 [n].

    ``voltage_decay``, ``current_decay``: parts of the state lost a step, 0..1 (1: no state).
    ``gain``: what an input of 1 adds to the voltage. ``leak``: added to the voltage every step.
    ``threshold``: None for neurons that never fire.
    """

    voltage_decay: FloatArray
    current_decay: FloatArray
    gain: FloatArray
    leak: FloatArray
    threshold: FloatArray | None


def is_whole(values: FloatArray) -> bool:
    """Whether numbers are whole, to the accuracy of float32; small numbers are not 0."""
    near = np.round(values)
    return bool((np.abs(values - near) <= np.maximum(FLOAT32 * np.abs(near), NOISE)).all())


def decay_units(decay: FloatArray) -> npt.NDArray[np.int64]:
    """Decays in 1/4096, rounded."""
    return np.round(decay * UNIT).astype(np.int64)


def is_exact_decay(decay: FloatArray) -> bool:
    """Whether decays are multiples of 1/4096, to the accuracy of float32 time constants."""
    return bool((np.abs(decay * UNIT - decay_units(decay)) <= FLOAT32 * UNIT).all())


def dynamics(name: str, node: Node, shape: tuple[int, ...], time_step: float) -> Dynamics:
    """What a node of neurons of ``shape`` does in a time step of ``time_step`` seconds.

    Raises ``InputError`` listing everything integers cannot hold: parameters of another size, time
    constants below the time step, resets to another value than 0, thresholds below 0.
    """
    size = int(np.prod(shape))
    problems: list[str] = []
    sizes: dict[int, list[str]] = {}

    def values(key: str, default: float | None = None) -> FloatArray:
        array = node.array(key, default)
        if array.size in (1, size):
            return np.broadcast_to(array.reshape(-1), size)
        try:  # sinabs: one image of parameters for all channels
            return np.broadcast_to(array, shape).reshape(-1)
        except ValueError:
            sizes.setdefault(array.size, []).append(key)
            return np.full(size, array.flat[0])

    def decay(key: str) -> FloatArray:
        tau = values(key)
        if (tau <= 0).any():
            problems.append(f"{name}/{key}: {tau.min():.6g}; a time constant is above 0")
            return np.ones(size)
        found = time_step / tau
        if found.max() > 1 + FLOAT32:
            problems.append(
                f"{name}/{key}: {tau.min():.6g} s is shorter than the time step of {time_step:g} s"
            )
        return np.minimum(found, 1.0)

    one, zero = np.ones(size), np.zeros(size)
    kind = node.kind
    current = decay("tau_syn") if kind in ("CubaLIF", "CubaLI") else one
    voltage = one if kind == "Threshold" else zero
    if kind in ("LIF", "LI"):
        voltage = decay("tau")
    elif kind in ("CubaLIF", "CubaLI"):
        voltage = decay("tau_mem")
    gain, leak = one, zero
    if kind in ("IF", "I"):
        gain = values("r")
    elif kind != "Threshold":
        gain = voltage * values("r")
        leak = voltage * values("v_leak")
        if kind in ("CubaLIF", "CubaLI"):
            gain = gain * current * values("w_in", 1.0)
    threshold = None
    if kind in ("IF", "LIF", "CubaLIF", "Threshold"):
        threshold = values("threshold" if kind == "Threshold" else "v_threshold")
        if threshold.min() < 0:
            problems.append(f"{name}: a threshold of {threshold.min():.6g}; must be at least 0")
        reset = values("v_reset", 0.0)
        if reset.any() and kind != "Threshold":
            where = reset[np.flatnonzero(reset)[0]]
            problems.append(f"{name}: resets to {where:.6g}, not to 0; integer neurons reset to 0")
    if sizes:
        found = "; ".join(f"{count} values of {', '.join(keys)}" for count, keys in sizes.items())
        problems = [f"{name}: reads {size} values, but has {found}"]
    if problems:
        raise InputError(f"{name} cannot be held.", problems)
    return Dynamics(voltage, current, gain, leak, threshold)
