"""The inputs at which memoryless LIF neurons fire, and stock Lava LIF neurons that fire there too.

A memoryless neuron (``voltage_decay`` 4096) fires where its current exceeds the threshold. Stock
``LIFReset`` with ``du`` 4095 and a reset in every step has ``u = a * 2**6`` and ``v = u + bias *
2**6``, and fires where ``v > vth * 2**6``. What no stock neuron is proven for is an own neuron's
(``memoryless_lif``): graded spikes, which would take one population and one synaptic operation a
level; currents that need a scale of their own first; and neurons that fire without input, because
stock ones would do so in every idle time step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.formats import ALIGNMENT_BITS, CURRENT_LIMIT
from spikegpt_neuro.network.layers import Lif

Int32Array = npt.NDArray[np.int32]

LARGEST_THRESHOLD = (1 << 17) - 1
LARGEST_BIAS = (1 << 12) - 1
"""Stock LIF has 17-bit thresholds and signed 13-bit bias mantissas; the bias exponent is 6 here."""


@dataclass(frozen=True)
class StockLif:
    """``threshold`` and ``bias`` of the stock neurons, which take the layer's input itself."""

    threshold: int
    bias: Int32Array


def stock_lif(layer: Lif, largest_input: int) -> StockLif | None:
    """The stock neurons that send exactly what ``layer`` does; None where none are proven to.

    ``largest_input``: proven bound of |input|.
    """
    if layer.levels > 1 or not layer.is_memoryless or layer.threshold > CURRENT_LIMIT:
        return None
    return _on_input(layer, largest_input)


def _least_current(layer: Lif, level: int = 1) -> int:
    """Least current (after the clip) at which a memoryless ``layer`` reaches ``level``.

    ``a * 64 + bias > level * threshold * 64`` for the integer a.
    """
    threshold = level * layer.threshold << ALIGNMENT_BITS
    return ((threshold - layer.bias) >> ALIGNMENT_BITS) + 1


def least_inputs(layer: Lif, level: int = 1) -> list[int | float]:
    """Least integer ``sign * x`` at which each channel of a memoryless ``layer`` reaches ``level``.

    ``sign`` is that of the channel's multiplier: rescaling is monotone, so there is one such
    integer. ``-inf`` and ``inf`` where every input reaches the level, or none.
    """
    needed = _least_current(layer, level)
    found: list[int | float] = []
    for factor, shift, offset in zip(
        np.abs(layer.multiplier.astype(np.int64)).tolist(),
        layer.shift.tolist(),
        layer.offset.tolist(),
        strict=True,
    ):
        # smallest product whose rounded shift, plus offset, reaches it
        least = ((needed - offset) << shift) - ((1 << shift) >> 1)
        if needed > CURRENT_LIMIT or (factor == 0 and least > 0):
            found.append(math.inf)
        elif needed <= -CURRENT_LIMIT or factor == 0:
            found.append(-math.inf)
        else:
            found.append(-(-least // factor))
    return found


def _on_input(layer: Lif, largest_input: int) -> StockLif | None:
    """Thresholds on the input itself, where every channel's current grows with it."""
    if largest_input > CURRENT_LIMIT or int(layer.multiplier.min()) <= 0:
        return None
    if not -CURRENT_LIMIT < _least_current(layer) <= CURRENT_LIMIT:
        return None
    last_silent = [
        min(max(int(least) - 1, -largest_input - 1), largest_input) for least in least_inputs(layer)
    ]
    threshold = min(max((min(last_silent) + max(last_silent)) // 2, 0), LARGEST_THRESHOLD)
    bias = threshold - np.array(last_silent, np.int64)
    if np.abs(bias).max() > LARGEST_BIAS or (bias > threshold).any():
        return None
    return StockLif(threshold, bias.astype(np.int32))
