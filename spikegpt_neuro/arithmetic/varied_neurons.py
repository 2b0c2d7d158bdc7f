"""Neurons of which each leaks at a rate of its own; else as ``arithmetic.lif`` and ``cuba``."""

# numba types its integers itself: a numpy scalar and an int are one there
# mypy: disable-error-code="arg-type,assignment"

from __future__ import annotations

import numpy as np

from spikegpt_neuro.arithmetic.compiler import kernel
from spikegpt_neuro.arithmetic.fixed_point import clip, round_shift
from spikegpt_neuro.arithmetic.formats import (
    ALIGNMENT_BITS,
    CURRENT_LIMIT,
    MEMBRANE_LIMIT,
    STATE_LIMIT,
)
from spikegpt_neuro.arithmetic.lif import fire
from spikegpt_neuro.arithmetic.slayer_neurons import decayed, wrapped


@kernel
def varied_lif(
    driving: np.ndarray,
    multiplier: np.ndarray,
    shift: np.ndarray,
    offset: np.ndarray,
    voltage_decay: np.ndarray,
    threshold: int,
    bias: int,
    levels: int,
    soft_reset: int,
    membrane: np.ndarray,
    spikes: np.ndarray,
    counts: np.ndarray,
) -> None:
    """One time step of LIF neurons, ``arithmetic.lif.lif`` with ``voltage_decay`` int32 [n]."""
    aligned = threshold << ALIGNMENT_BITS
    active = 0
    saturated = 0
    for i in range(driving.size):
        wide = round_shift(np.int64(driving[i]) * multiplier[i], shift[i]) + offset[i]
        current = clip(wide, -CURRENT_LIMIT, CURRENT_LIMIT)
        saturated += current != wide
        active += current != 0
        wide = decayed(np.int64(membrane[i]), voltage_decay[i]) + (current << ALIGNMENT_BITS) + bias
        v = clip(wide, -MEMBRANE_LIMIT, MEMBRANE_LIMIT)
        saturated += v != wide
        membrane[i] = v
    fire(aligned, levels, soft_reset, membrane, spikes)
    counts[0] += active
    counts[1] += saturated


@kernel
def varied_cuba(
    driving: np.ndarray,
    bias: np.ndarray,
    current_decay: np.ndarray,
    voltage_decay: np.ndarray,
    threshold: int,
    current: np.ndarray,
    voltage: np.ndarray,
    spikes: np.ndarray,
    counts: np.ndarray,
) -> None:
    """One time step of current-based LIF neurons, ``slayer_neurons.cuba`` with decays int32 [n].

    Exactly lava-nc 0.10.0's fixed-point ``LIF`` with arrays for ``du`` and ``dv``.
    """
    for i in range(driving.size):
        wide = decayed(np.int64(current[i]), current_decay[i]) + (driving[i] << ALIGNMENT_BITS)
        u = wrapped(wide)
        current[i] = u
        wide = decayed(np.int64(voltage[i]), voltage_decay[i]) + u + (bias[i] << ALIGNMENT_BITS)
        v = clip(wide, 1 - STATE_LIMIT, STATE_LIMIT - 1)
        spikes[i] = v > threshold << ALIGNMENT_BITS
        voltage[i] = 0 if spikes[i] else v
        counts[0] += driving[i] != 0
        counts[1] += v != wide
