"""Synapses: int8 weights times graded or binary spikes, and the events they cause.

``dense`` and ``event_driven`` give the same integers in any order of summation: the proven bound
``max_row sum |w| * max |x| < 2**31`` is checked when a network is built (network/network.py).
"""

# numba types its integers itself: a numpy scalar and an int are one there
# mypy: disable-error-code="arg-type,assignment,call-arg,return-value,unreachable"

from __future__ import annotations

import numpy as np

from spikegpt_neuro.arithmetic.compiler import kernel
from spikegpt_neuro.arithmetic.intrinsics import (
    TILE_LANES,
    TILE_ROWS,
    TILE_TOKENS,
    multiply_tile,
    prefetch,
)

PANEL_BYTES = 1 << 17
"""Weights used for all tokens of a block before going on: they stay in the second-level cache."""
GROUP = 8
"""Rows of active inputs added at once: one pass over the results for eight inputs (benchmarks/)."""
CACHE_LINE = 64


@kernel
def dense(weight: np.ndarray, x: np.ndarray, result: np.ndarray) -> None:
    """``result[t, j] = sum_k weight[j, k] * x[t, k]``.

    ``weight`` int8 [outputs, inputs]; ``x`` int16 [tokens, inputs], both contiguous; ``result``
    int32 [tokens, outputs]. For a single token the weights are walked once in strict address
    order; blocks of tokens go tile by tile through a panel of weights that stays in cache.
    """
    tiled = x.shape[0] - x.shape[0] % TILE_TOKENS
    outputs, inputs = weight.shape
    if tiled > 0:
        rows = max(TILE_ROWS, PANEL_BYTES // inputs // TILE_ROWS * TILE_ROWS)
        for begin in range(0, outputs, rows):
            end = min(begin + rows, outputs)
            for t in range(0, tiled, TILE_TOKENS):
                _dense_tiles(weight[begin:end], x[t : t + TILE_TOKENS], result[t:, begin:end])
    for t in range(tiled, x.shape[0]):
        operand = x[t]
        for j in range(outputs):
            result[t, j] = _inner_product(weight[j], operand)


@kernel
def _inner_product(row: np.ndarray, operand: np.ndarray) -> int:
    total = np.int32(0)
    for k in range(row.size):
        total += np.int32(row[k]) * np.int32(operand[k])
    return np.int32(total)  # narrows the sum, so that pairs are multiplied and added at once


@kernel
def _dense_tiles(weight: np.ndarray, x: np.ndarray, result: np.ndarray) -> None:
    """All rows of ``weight`` times the ``TILE_TOKENS`` operand vectors of ``x``."""
    outputs, inputs = weight.shape
    even = inputs - inputs % TILE_LANES
    sums = np.empty((TILE_ROWS, TILE_TOKENS), np.int32)
    for j in range(0, outputs - outputs % TILE_ROWS, TILE_ROWS):
        multiply_tile(
            weight[j:].ctypes.data, inputs, x.ctypes.data, 2 * inputs, even, sums.ctypes.data
        )
        for r in range(TILE_ROWS):
            for t in range(TILE_TOKENS):
                total = sums[r, t]
                for k in range(even, inputs):
                    total += np.int32(weight[j + r, k]) * np.int32(x[t, k])
                result[t, j + r] = total
    if outputs % TILE_ROWS:
        for t in range(TILE_TOKENS):
            result[t, outputs - 1] = _inner_product(weight[outputs - 1], x[t])


@kernel
def gather_active(x: np.ndarray, active: np.ndarray) -> int:
    """Write the indices of the non-zero ``x`` to ``active`` (int32 [n + 1]); returns how many."""
    found = 0
    for k in range(x.size):
        active[found] = k
        found += x[k] != 0
    return found


@kernel
def event_driven(
    weight_by_input: np.ndarray, x: np.ndarray, active: np.ndarray, result: np.ndarray
) -> None:
    """The same product, visiting only the weights of the inputs listed in ``active``.

    ``weight_by_input`` int8 [inputs, outputs]: the transposed weight, whose rows may be longer than
    ``outputs`` (columns of a wider one); ``x`` [inputs]; ``active`` int32, every non-zero input
    once; ``result`` int32 [outputs]. Eight rows are added at once while the next eight are being
    fetched: scattered rows are bound by latency, not by bandwidth.
    """
    result[:] = 0
    w = weight_by_input
    base, stride = w.ctypes.data, w.strides[0]
    grouped = active.size - active.size % GROUP
    for i in range(0, grouped, GROUP):
        for ahead in range(i + GROUP, min(i + 2 * GROUP, active.size)):
            start = base + active[ahead] * stride
            for offset in range(0, result.size, CACHE_LINE):
                prefetch(start + offset)
        a, b, c, d = active[i], active[i + 1], active[i + 2], active[i + 3]
        e, f, g, h = active[i + 4], active[i + 5], active[i + 6], active[i + 7]
        xa, xb, xc, xd = np.int32(x[a]), np.int32(x[b]), np.int32(x[c]), np.int32(x[d])
        xe, xf, xg, xh = np.int32(x[e]), np.int32(x[f]), np.int32(x[g]), np.int32(x[h])
        for j in range(result.size):
            result[j] += (
                np.int32(w[a, j]) * xa + np.int32(w[b, j]) * xb
                + np.int32(w[c, j]) * xc + np.int32(w[d, j]) * xd
                + np.int32(w[e, j]) * xe + np.int32(w[f, j]) * xf
                + np.int32(w[g, j]) * xg + np.int32(w[h, j]) * xh
            )  # fmt: skip
    for i in range(grouped, active.size):
        row = w[active[i]]
        operand = np.int32(x[active[i]])
        for j in range(result.size):
            result[j] += np.int32(row[j]) * operand


@kernel
def count_events(x: np.ndarray, fan_out: np.ndarray, counts: np.ndarray) -> None:
    """Count the synaptic operations that the operands ``x`` cause.

    ``fan_out[k]``: number of non-zero weights input k reaches (int32 [inputs]). ``counts`` int64
    [3] receives, summed over non-zero operands: ``fan_out``; ``fan_out`` of operands +-1; and
    ``|x| * fan_out`` (repeated unit additions). The first equals NeuroBench's effective operations.
    """
    operations = np.int64(0)
    unit = np.int64(0)
    additions = np.int64(0)
    for k in range(x.size):
        magnitude = np.int64(abs(x[k]))
        operations += fan_out[k] * (magnitude != 0)
        unit += fan_out[k] * (magnitude == 1)
        additions += fan_out[k] * magnitude
    counts[0] += operations
    counts[1] += unit
    counts[2] += additions


@kernel
def count_overflows(accumulators: np.ndarray, limit: int) -> int:
    """Number of accumulators outside ``[-limit - 1, limit]``."""
    overflows = 0
    for j in range(accumulators.size):
        overflows += accumulators[j] > limit or accumulators[j] < -limit - 1
    return overflows


@kernel
def count_non_zero(x: np.ndarray, counts: np.ndarray) -> None:
    """Add to ``counts`` (int64 [2]) the non-zero elements of ``x`` and of these the +-1 ones."""
    events = 0
    unit = 0
    for k in range(x.size):
        events += x[k] != 0
        unit += abs(x[k]) == 1
    counts[0] += events
    counts[1] += unit
