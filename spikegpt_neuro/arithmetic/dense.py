"""Synapses: int8 weights times graded or binary spikes, and the events they cause.

``dense`` and ``event_driven`` give the same integers in any order of summation: the proven bound
``max_row sum |w| * max |x| < 2**31`` is checked when a network is built (network/layers.py).
"""

from __future__ import annotations

import numpy as np

from spikegpt_neuro.arithmetic.compiler import kernel


@kernel
def dense(weight: np.ndarray, x: np.ndarray, result: np.ndarray) -> None:
    """``result[t, j] = sum_k weight[j, k] * x[t, k]``, walking the weights once in address order.

    ``weight`` int8 [outputs, inputs]; ``x`` int16 [tokens, inputs]; ``result`` int32
    [tokens, outputs]. Each weight row is used for all tokens while it is in the first-level cache.
    """
    tokens = x.shape[0]
    for j in range(weight.shape[0]):
        row = weight[j]
        for t in range(tokens):
            operand = x[t]
            total = np.int32(0)
            for k in range(row.size):
                total += np.int32(row[k]) * np.int32(operand[k])
            result[t, j] = total


@kernel
def event_driven(weight_by_input: np.ndarray, x: np.ndarray, result: np.ndarray) -> None:
    """The same product, visiting only the weights of non-zero inputs.

    ``weight_by_input`` int8 [inputs, outputs] (the transposed weight); ``x`` int16 [inputs];
    ``result`` int32 [outputs].
    """
    result[:] = 0
    for k in range(x.size):
        operand = np.int32(x[k])
        if operand == 0:
            continue
        row = weight_by_input[k]
        if operand == 1:
            for j in range(row.size):
                result[j] += row[j]
        else:
            for j in range(row.size):
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
