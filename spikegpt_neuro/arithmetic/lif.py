"""Leaky integrate-and-fire neurons, binary or graded."""

# numba types its integers itself: a numpy scalar and an int are one there
# mypy: disable-error-code="arg-type,assignment"

from __future__ import annotations

import numpy as np

from spikegpt_neuro.arithmetic.compiler import inline_kernel, kernel
from spikegpt_neuro.arithmetic.fixed_point import bit_length, clip, round_shift
from spikegpt_neuro.arithmetic.formats import (
    ALIGNMENT_BITS,
    CURRENT_LIMIT,
    MEMBRANE_LIMIT,
    MOST_COMPARED,
)


@inline_kernel
def fire(
    aligned: int, levels: int, soft_reset: int, membrane: np.ndarray, spikes: np.ndarray
) -> None:
    """Write how many multiples of the ``aligned`` threshold each membrane is above, and reset it.

    Where the threshold is ``2**k``, ``v > j * 2**k`` is ``(v - 1) >> k >= j``, so that the number
    of such j in 1..levels is ``clip((v - 1) >> k, 0, levels)``. Several passes that each write one
    vector: LLVM compiles those to vector instructions.
    """
    power = bit_length(aligned) - 1
    if levels > MOST_COMPARED and aligned == 1 << power:
        for i in range(spikes.size):
            spikes[i] = clip((membrane[i] - 1) >> power, 0, levels)
    else:
        spikes[:] = 0
        for j in range(1, levels + 1):
            for i in range(spikes.size):
                spikes[i] += membrane[i] > j * aligned
    for i in range(spikes.size):
        left = membrane[i] - spikes[i] * aligned if soft_reset else 0
        membrane[i] = left if spikes[i] > 0 else membrane[i]


@kernel
def lif(
    driving: np.ndarray,
    multiplier: np.ndarray,
    shift: np.ndarray,
    offset: np.ndarray,
    voltage_decay: int,
    threshold: int,
    bias: int,
    levels: int,
    soft_reset: int,
    membrane: np.ndarray,
    spikes: np.ndarray,
    counts: np.ndarray,
) -> None:
    """One time step of a vector of LIF neurons.

    Equation, per neuron::

        a = clip(round_shift(driving * multiplier, shift) + offset, +-(2**17 - 1))
        v = trunc(v * (4096 - voltage_decay) / 4096) + a * 2**6 + bias       (trunc: towards zero)
        v = clip(v, +-(2**23 - 1))
        s = number of j in 1..levels with v > j * threshold * 2**6           (strict)
        v = 0 if s > 0 (hard reset), or v - s * threshold * 2**6 (soft reset)

    With ``levels`` 1 and hard reset this is exactly Lava's fixed-point LIF (lava-nc 0.10.0,
    ``proc/lif/models.py``) with ``du = 4095``, ``dv = voltage_decay``, ``vth = threshold``,
    ``bias_mant = bias``, ``bias_exp = 0`` and input ``a``. SpikingJelly fires at equality; ``bias``
    of one least significant bit folds that difference in (docs/arithmetic.md).

    Shapes: all vectors [n]; int32 (``counts``: int64 [2], adds neurons with non-zero current and
    saturations). ``membrane`` is read and written, 24 bits. ``spikes`` is written, 0..levels.
    """
    keep = 4096 - voltage_decay
    aligned = threshold << ALIGNMENT_BITS
    active = 0
    saturated = 0
    for i in range(driving.size):
        wide = round_shift(np.int64(driving[i]) * multiplier[i], shift[i]) + offset[i]
        current = clip(wide, -CURRENT_LIMIT, CURRENT_LIMIT)
        saturated += current != wide
        active += current != 0
        v = np.int64(membrane[i])
        decayed = (v * keep + (4095 if v < 0 else 0)) >> 12
        wide = decayed + (current << ALIGNMENT_BITS) + bias
        v = clip(wide, -MEMBRANE_LIMIT, MEMBRANE_LIMIT)
        saturated += v != wide
        membrane[i] = v
    fire(aligned, levels, soft_reset, membrane, spikes)
    counts[0] += active
    counts[1] += saturated
