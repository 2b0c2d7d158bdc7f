"""Memoryless LIF neurons of the spike-driven layout as NIR's own LIF nodes, one a spike level.

A memoryless neuron's spike is the number of levels ``j`` with ``current > j * threshold``, and its
current grows or falls with its integer input ``x``. So each level is one comparison of ``x`` with
a number half way between two integers, which no rounding can miss::

    level j fires where  sign * x > limit_j          sign -1, 0 or 1 a channel

A NIR ``LIF`` whose time constant is one time step forgets everything, so ``r = sign`` and
``v_threshold = limit_j`` make it that comparison; the levels' spikes are added.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.decomposition.lif_thresholds import least_inputs
from spikegpt_neuro.exchange.nir_format import TIME_STEP
from spikegpt_neuro.network.layers import Lif
from spikegpt_neuro.network.schema import Layer

FloatArray = npt.NDArray[np.float64]


def has_levels(layer: Layer) -> bool:
    """Whether the layer's neurons keep nothing from one time step to the next."""
    return isinstance(layer, Lif) and layer.is_memoryless


def level_limits(layer: Lif) -> tuple[FloatArray, list[FloatArray]]:
    """Sign of each channel [n], and the limit of each level, [n] a level; see the module."""
    sign = np.sign(layer.multiplier).astype(np.float64)
    levels = range(1, layer.levels + 1)
    return sign, [np.array([x - 0.5 for x in least_inputs(layer, level)]) for level in levels]


def level_nodes(nir: Any, layer: Lif) -> dict[str, Any]:
    """NIR ``LIF`` nodes of all levels by name."""
    n = layer.output.size
    sign, limits = level_limits(layer)
    zero = np.zeros(n)
    return {
        f"level_{level}": nir.LIF(
            tau=np.full(n, TIME_STEP), r=sign, v_leak=zero, v_threshold=limit, v_reset=zero
        )
        for level, limit in enumerate(limits, start=1)
    }
