"""The inputs at which memoryless LIF neurons fire, and stock Lava LIF neurons that fire there too.

A memoryless neuron (``voltage_decay`` 4096) fires where its current exceeds the threshold. Stock
``LIFReset`` with ``du`` 4095 and a reset in every step has ``u = a * 2**6`` and ``v = u + bias *
2**6``, and fires where ``v > vth * 2**6``. Graded spikes are an own neuron's (``graded_lif``): as
stock neurons they would take one population a level, and a synaptic operation a level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.formats import ALIGNMENT_BITS, CURRENT_LIMIT
from spikegpt_neuro.network.layers import Lif

Int32Array = npt.NDArray[np.int32]

MEMORYLESS = 4096
LARGEST_THRESHOLD = (1 << 17) - 1
LARGEST_BIAS = (1 << 12) - 1
"""Stock LIF has 17-bit thresholds and signed 13-bit bias mantissas; the bias exponent is 6 here."""


@dataclass(frozen=True)
class StockLif:
    """``threshold`` and ``bias`` of the stock neurons. ``current_limit``: 0 where they take the
    layer's input itself; otherwise they take its current, clipped there."""

    threshold: int
    bias: Int32Array
    current_limit: int


def stock_lif(layer: Lif, largest_input: int) -> StockLif | None:
    """The stock neurons that send exactly what ``layer`` does; None where none are proven to.

    ``largest_input``: proven bound of |input|.
    """
    if layer.levels > 1 or layer.voltage_decay != MEMORYLESS or layer.threshold > CURRENT_LIMIT:
        return None
    return _on_input(layer, largest_input) or _on_current(layer)


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
    if np.abs(bias).max() > LARGEST_BIAS:
        return None
    return StockLif(threshold, bias.astype(np.int32), 0)


def _on_current(layer: Lif) -> StockLif | None:
    """Thresholds on the rescaled current; the offset is the bias.

    The current is clipped before the offset is added instead of after: the threshold may not lie
    where that makes a difference.
    """
    offset = layer.offset.astype(np.int64)
    largest_offset = int(np.abs(offset).max())
    # a bias that is too wide by itself is centred, and the threshold moved with it
    centre = 0 if largest_offset <= LARGEST_BIAS else int(offset.min() + offset.max()) // 2
    bias = (offset - centre).astype(np.int32)
    if np.abs(bias).max() > LARGEST_BIAS:
        return None
    last_silent = _least_current(layer) - 1
    if not largest_offset - CURRENT_LIMIT <= last_silent < CURRENT_LIMIT - largest_offset:
        return None
    if not 0 <= last_silent - centre <= LARGEST_THRESHOLD:
        return None
    return StockLif(last_silent - centre, bias, CURRENT_LIMIT)
