"""One compiled function that executes a program: a table of instructions over arenas.

An instruction is a row of ``Column`` values; vectors live at offsets of three arenas (values,
parameters, state), large read-only tables (weights, embeddings) at memory addresses. Executing a
whole token, or a block of tokens, is one call from Python, whatever the network's depth.

Several workers may execute one program together: each computes its share of every layer's outputs
and waits for the others after each instruction. No sum is split, so the integers are the same.
"""

# numba types its integers itself: a numpy scalar and an int are one there
# mypy: disable-error-code="arg-type,assignment,attr-defined,call-arg,unreachable"

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
from numba import carray, types

from spikegpt_neuro.arithmetic import dense as synapses
from spikegpt_neuro.arithmetic import packed
from spikegpt_neuro.arithmetic.compiler import compile_step, kernel
from spikegpt_neuro.arithmetic.intrinsics import (
    WALK_SIGNATURE,
    address_to_pointer,
    atomic_add,
    atomic_load,
    call_step,
    call_walk,
)


class Column(IntEnum):
    """Columns of an instruction."""

    STEP = 0  # address of the compiled function that computes a token (backends/instructions.py),
    # or for packed synapses of the one that walks them
    SHARE = 1  # how workers share the instruction
    SIZE = 2  # outputs
    INPUT_SIZE = 3  # operands of synapses; elements of an embedding's row
    RESULT = 4  # offsets into the values arena
    FIRST = 5
    SECOND = 6
    PARAMETERS = 7  # offset into the parameters arena; arrays in the layer's declared order
    STATE = 8  # offset into the state arena
    LOW = 9  # range of the output port
    HIGH = 10
    ADDRESS = 11  # weights or embedding table
    ELEMENTS = 12  # how many they are
    ADDRESS_BY_INPUT = 13  # transposed weights, 0 while there are none
    EVENT_LIMIT = 14  # largest number of active operands for which the event-driven walk is used
    BLOCK_EVENT_LIMIT = 15  # the same for blocks of tokens, whose dense walk costs less
    WANTED = 16  # 1 once transposed weights would have been used, had there been any
    WEIGHT_BITS = 17  # of dense synapses: fewer than 8 are packed
    SCALARS = 18  # the layer's integers, where ``places`` says
    WIDTH = 26


class Share(IntEnum):
    """How workers share an instruction."""

    CHANNELS = 0  # each computes some channels of every token
    TOKENS = 1  # each computes some tokens: channels depend on each other, tokens do not
    WHOLE = 2  # one computes all: both do
    SYNAPSES = 3  # dense weights: some outputs of the whole block of tokens at once


class Count(IntEnum):
    """Columns of the raw counters; ``events/counters.py`` turns them into named counts."""

    ACTIVE = 0
    SATURATIONS = 1
    OPERATIONS = 2
    UNIT_OPERATIONS = 3
    ADDITIONS = 4
    OVERFLOWS = 5
    EVENTS = 6
    UNIT_EVENTS = 7
    SUM_EVENTS = 8
    STATISTIC_EVENTS = 9
    WIDTH = 10


_SPINS = 4000
"""Looks at the barrier before giving the core away (about 20 microseconds)."""
_yield = types.ExternalFunction("sched_yield", types.int32())


@kernel
def _wait(barrier: np.ndarray, arrivals: int) -> None:
    """Arrive at the barrier and wait until ``arrivals`` have in all."""
    place = barrier.ctypes.data
    atomic_add(place, 1)
    spins = 0
    while atomic_load(place) < arrivals:
        spins += 1
        if spins > _SPINS:
            _yield()


@kernel
def _walk_all(
    row: np.ndarray, begin: int, end: int, operands: np.ndarray, result: np.ndarray
) -> None:
    """Outputs ``begin`` to ``end`` of dense synapses, from all of their weights."""
    n, m, bits = row[Column.SIZE], row[Column.INPUT_SIZE], row[Column.WEIGHT_BITS]
    if bits == packed.MOST_BITS:
        weight = carray(address_to_pointer(row[Column.ADDRESS]), (n, m), np.int8)
        synapses.dense(weight[begin:end], operands, result)
    else:
        call_walk(row[Column.STEP], row, begin, end, operands, result)


def _walk_packed(
    row: np.ndarray, begin: int, end: int, operands: np.ndarray, result: np.ndarray
) -> None:
    n, m, bits = row[Column.SIZE], row[Column.INPUT_SIZE], row[Column.WEIGHT_BITS]
    shape = (n, packed.row_words(m, bits))
    words = carray(address_to_pointer(row[Column.ADDRESS]), shape, np.uint16)
    packed.dense_packed(words[begin:end], bits, operands, result)


@cache
def packed_walk() -> Any:
    """``_walk_packed``, compiled (a fifth of all kernels' time) only where weights are packed.

    Keep it as long as its ``address`` is used.
    """
    return compile_step(_walk_packed, WALK_SIGNATURE, "")


@kernel
def _execute_dense(
    i: int,
    row: np.ndarray,
    parameters: np.ndarray,
    streams: np.ndarray,
    values: np.ndarray,
    scratch: np.ndarray,
    active: np.ndarray,
    counters: np.ndarray,
    worker: int,
    workers: int,
) -> None:
    """A worker's share of outputs for a block of tokens: dense or event-driven, token by token.

    ``i``: the layer's place in ``counters`` int64 [streams, layers, Count.WIDTH].
    """
    n, m = row[Column.SIZE], row[Column.INPUT_SIZE]
    tokens = values.shape[0]
    begin, end = n * worker // workers, n * (worker + 1) // workers
    fan_out = parameters[row[Column.PARAMETERS] : row[Column.PARAMETERS] + m]
    first, result = row[Column.FIRST], row[Column.RESULT]
    limit = row[Column.EVENT_LIMIT]
    if tokens >= synapses.TILE_TOKENS:
        limit = row[Column.BLOCK_EVENT_LIMIT]
    width = m if row[Column.WEIGHT_BITS] == packed.MOST_BITS else m + packed.PADDING
    gathered = scratch[: tokens * width].reshape(tokens, width)
    waiting = 0  # tokens gathered for the dense walk, which reads the weights once for all of them
    for t in range(tokens):
        operands = values[t, first : first + m]
        if worker == 0:
            synapses.count_events(
                operands, fan_out, counters[streams[t], i, Count.OPERATIONS : Count.OVERFLOWS]
            )
        if limit >= 0:
            found = synapses.gather_active(operands, active)
            if found <= limit and row[Column.ADDRESS_BY_INPUT] == 0:
                row[Column.WANTED] = 1
            elif found <= limit:
                by_input = carray(address_to_pointer(row[Column.ADDRESS_BY_INPUT]), (m, n), np.int8)
                synapses.event_driven(
                    by_input[:, begin:end], operands, active[:found],
                    values[t, result + begin : result + end],
                )  # fmt: skip
                continue
        for k in range(m):
            gathered[waiting, k] = operands[k]
        gathered[waiting, m:] = 0
        waiting += 1
    if waiting == tokens:
        _walk_all(row, begin, end, gathered, values[:, result + begin : result + end])
    elif waiting > 0:
        # a slice, as above: numba compiles the walk once for each layout of its result
        products = np.empty((waiting, end - begin), np.int32)[:, : end - begin]
        _walk_all(row, begin, end, gathered[:waiting], products)
        position = 0
        for t in range(tokens):
            found = synapses.gather_active(values[t, first : first + m], active)
            if found > limit:
                for j in range(begin, end):
                    values[t, result + j] = products[position, j - begin]
                position += 1
    largest = (1 << (row[Column.SCALARS] - 1)) - 1
    for t in range(tokens):
        counters[streams[t], i, Count.OVERFLOWS] += synapses.count_overflows(
            values[t, result + begin : result + end], largest
        )


@kernel
def execute(
    instructions: np.ndarray,
    parameters: np.ndarray,
    state: np.ndarray,
    tokens: np.ndarray,
    streams: np.ndarray,
    values: np.ndarray,
    scratch: np.ndarray,
    active: np.ndarray,
    counters: np.ndarray,
    barrier: np.ndarray,
    worker: int,
    workers: int,
) -> None:
    """Run all instructions over a block of tokens, instruction by instruction, as one worker.

    ``instructions`` int64 [layers, Column.WIDTH]; ``parameters`` int32 arena; ``state`` int32
    [streams, arena]; ``tokens`` int64 [T] and the stream each belongs to, ``streams`` int64 [T];
    ``values`` int32 [T, arena] (external inputs already in place). Each worker's own: ``scratch``
    int16 [T * (widest operand + packed.PADDING)], ``active`` int32 [widest operand + 1],
    ``counters`` int64 [streams, layers, Count.WIDTH], added to. ``barrier``: int64 [1], 0 before
    the first worker starts. State advances by T tokens: a block of T gives the same integers as T
    of one, whatever the others' streams. Of ``instructions`` only ``WANTED`` is written.
    """
    for i in range(instructions.shape[0]):
        row = instructions[i]
        n, result, share = row[Column.SIZE], row[Column.RESULT], row[Column.SHARE]
        begin, end = n * worker // workers, n * (worker + 1) // workers
        first, stride = 0, 1
        if share == Share.SYNAPSES:
            _execute_dense(
                i, row, parameters, streams, values, scratch, active, counters, worker, workers
            )
        elif share == Share.TOKENS:
            begin, end, first, stride = 0, n, worker, workers
        elif share == Share.WHOLE:
            begin, end, first = 0, n, 0 if worker == 0 else tokens.size
        for t in range(first, tokens.size, stride):
            if share != Share.SYNAPSES:
                call_step(
                    row[Column.STEP], row, tokens[t], parameters, state[streams[t]], values[t],
                    counters[streams[t], i], begin, end,
                )  # fmt: skip
            synapses.count_non_zero(
                values[t, result + begin : result + end], counters[streams[t], i, Count.EVENTS :]
            )
        if workers > 1:
            _wait(barrier, workers * (i + 1))
