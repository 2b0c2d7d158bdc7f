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

import numpy as np
from numba import carray, types

from spikegpt_neuro.arithmetic import dense as synapses
from spikegpt_neuro.arithmetic import elementwise, packed, slayer_neurons
from spikegpt_neuro.arithmetic.compiler import kernel
from spikegpt_neuro.arithmetic.intrinsics import address_to_pointer, atomic_add, atomic_load
from spikegpt_neuro.arithmetic.lif import lif
from spikegpt_neuro.arithmetic.wkv import wkv


class Opcode(IntEnum):
    """What an instruction does: the kinds of layers, as integers."""

    BINARY_EMBEDDING = 0
    REAL_EMBEDDING = 1
    LAYER_NORM = 2
    DELAY = 3
    TOKEN_SHIFT = 4
    REQUANTISE = 5
    READOUT = 6
    DENSE = 7
    SIGMOID = 8
    SQUARED_RELU = 9
    WKV = 10
    PRODUCT = 11
    LIF = 12
    RESIDUAL = 13
    RASTER_INPUT = 14  # from here on: layers of stock NetX chains
    NETX_DENSE = 15
    NETX_CONVOLUTION = 16
    CHANNEL_DELAY = 17
    CUBA = 18
    RECURRENT_CUBA = 19
    SIGMA = 20
    DELTA = 21
    SIGMA_DELTA = 22
    ALIF = 23
    RECURRENT_ALIF = 24


class Column(IntEnum):
    """Columns of an instruction."""

    OPCODE = 0
    SIZE = 1  # outputs
    INPUT_SIZE = 2  # operands of a dense layer; bytes of an embedding row
    RESULT = 3  # offsets into the values arena
    FIRST = 4
    SECOND = 5
    PARAMETERS = 6  # offset into the parameters arena; arrays in the layer's declared order
    STATE = 7  # offset into the state arena
    LOW = 8  # range of the output port
    HIGH = 9
    ADDRESS = 10  # weights or embedding table
    ADDRESS_BY_INPUT = 11  # transposed weights, 0 while there are none
    EVENT_LIMIT = 12  # largest number of active operands for which the event-driven walk is used
    BLOCK_EVENT_LIMIT = 13  # the same for blocks of tokens, whose dense walk costs less
    WANTED = 14  # 1 once transposed weights would have been used, had there been any
    WEIGHT_BITS = 15  # of a dense layer: fewer than 8 are packed
    SCALARS = 16  # up to six integers, in the layer's declared order
    WIDTH = 22


class Count(IntEnum):
    """Columns of the raw counters; ``backends/counters.py`` turns them into named counts."""

    ACTIVE = 0
    SATURATIONS = 1
    OPERATIONS = 2
    UNIT_OPERATIONS = 3
    ADDITIONS = 4
    OVERFLOWS = 5
    EVENTS = 6
    UNIT_EVENTS = 7
    WIDTH = 8


_OPCODE = int(Column.OPCODE)
_SIZE = int(Column.SIZE)
_INPUT_SIZE = int(Column.INPUT_SIZE)
_RESULT = int(Column.RESULT)
_FIRST = int(Column.FIRST)
_SECOND = int(Column.SECOND)
_PARAMETERS = int(Column.PARAMETERS)
_STATE = int(Column.STATE)
_LOW = int(Column.LOW)
_HIGH = int(Column.HIGH)
_ADDRESS = int(Column.ADDRESS)
_ADDRESS_BY_INPUT = int(Column.ADDRESS_BY_INPUT)
_EVENT_LIMIT = int(Column.EVENT_LIMIT)
_BLOCK_EVENT_LIMIT = int(Column.BLOCK_EVENT_LIMIT)
_WANTED = int(Column.WANTED)
_WEIGHT_BITS = int(Column.WEIGHT_BITS)
_SCALARS = int(Column.SCALARS)
_OPERATIONS = int(Count.OPERATIONS)
_OVERFLOWS = int(Count.OVERFLOWS)
_EVENTS = int(Count.EVENTS)
_BINARY_EMBEDDING = int(Opcode.BINARY_EMBEDDING)
_REAL_EMBEDDING = int(Opcode.REAL_EMBEDDING)
_LAYER_NORM = int(Opcode.LAYER_NORM)
_DELAY = int(Opcode.DELAY)
_TOKEN_SHIFT = int(Opcode.TOKEN_SHIFT)
_REQUANTISE = int(Opcode.REQUANTISE)
_READOUT = int(Opcode.READOUT)
_DENSE = int(Opcode.DENSE)
_SIGMOID = int(Opcode.SIGMOID)
_SQUARED_RELU = int(Opcode.SQUARED_RELU)
_WKV = int(Opcode.WKV)
_PRODUCT = int(Opcode.PRODUCT)
_LIF = int(Opcode.LIF)
_RASTER_INPUT = int(Opcode.RASTER_INPUT)
_NETX_DENSE = int(Opcode.NETX_DENSE)
_NETX_CONVOLUTION = int(Opcode.NETX_CONVOLUTION)
_CHANNEL_DELAY = int(Opcode.CHANNEL_DELAY)
_CUBA = int(Opcode.CUBA)
_RECURRENT_CUBA = int(Opcode.RECURRENT_CUBA)
_SIGMA = int(Opcode.SIGMA)
_DELTA = int(Opcode.DELTA)
_ALIF = int(Opcode.ALIF)
_RECURRENT_ALIF = int(Opcode.RECURRENT_ALIF)


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
    """Outputs ``begin`` to ``end`` of a dense layer, from all of their weights."""
    n, m, bits = row[_SIZE], row[_INPUT_SIZE], row[_WEIGHT_BITS]
    if bits == packed.MOST_BITS:
        weight = carray(address_to_pointer(row[_ADDRESS]), (n, m), np.int8)
        synapses.dense(weight[begin:end], operands, result)
    else:
        shape = (n, packed.row_words(m, bits))
        words = carray(address_to_pointer(row[_ADDRESS]), shape, np.uint16)
        packed.dense_packed(words[begin:end], bits, operands, result)


@kernel
def _execute_dense(
    row: np.ndarray,
    parameters: np.ndarray,
    values: np.ndarray,
    scratch: np.ndarray,
    active: np.ndarray,
    counters: np.ndarray,
    worker: int,
    workers: int,
) -> None:
    """A worker's share of outputs for a block of tokens: dense or event-driven, token by token."""
    n, m = row[_SIZE], row[_INPUT_SIZE]
    tokens = values.shape[0]
    begin, end = n * worker // workers, n * (worker + 1) // workers
    fan_out = parameters[row[_PARAMETERS] : row[_PARAMETERS] + m]
    first, result = row[_FIRST], row[_RESULT]
    limit = row[_EVENT_LIMIT] if tokens < synapses.TILE_TOKENS else row[_BLOCK_EVENT_LIMIT]
    width = m if row[_WEIGHT_BITS] == packed.MOST_BITS else m + packed.PADDING
    gathered = scratch[: tokens * width].reshape(tokens, width)
    waiting = 0  # tokens gathered for the dense walk, which reads the weights once for all of them
    for t in range(tokens):
        operands = values[t, first : first + m]
        if worker == 0:
            synapses.count_events(operands, fan_out, counters[_OPERATIONS:_OVERFLOWS])
        if limit >= 0:
            found = synapses.gather_active(operands, active)
            if found <= limit and row[_ADDRESS_BY_INPUT] == 0:
                row[_WANTED] = 1
            elif found <= limit:
                by_input = carray(address_to_pointer(row[_ADDRESS_BY_INPUT]), (m, n), np.int8)
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
        products = np.empty((waiting, end - begin), np.int32)
        _walk_all(row, begin, end, gathered[:waiting], products)
        position = 0
        for t in range(tokens):
            found = synapses.gather_active(values[t, first : first + m], active)
            if found > limit:
                values[t, result + begin : result + end] = products[position]
                position += 1
    largest = (1 << (row[_SCALARS] - 1)) - 1
    for t in range(tokens):
        counters[_OVERFLOWS] += synapses.count_overflows(
            values[t, result + begin : result + end], largest
        )


@kernel
def _execute_whole(
    row: np.ndarray,
    token: int,
    parameters: np.ndarray,
    values: np.ndarray,
    counters: np.ndarray,
) -> None:
    """One time step of a layer whose channels depend on each other: an embedding or a norm."""
    opcode, n, p = row[_OPCODE], row[_SIZE], row[_PARAMETERS]
    result = values[row[_RESULT] : row[_RESULT] + n]
    if opcode == _BINARY_EMBEDDING:
        shape = (token + 1, row[_INPUT_SIZE])
        bits = carray(address_to_pointer(row[_ADDRESS]), shape, np.uint8)
        elementwise.binary_embedding(bits, token, result)
    elif opcode == _REAL_EMBEDDING:
        shape = (token + 1, row[_INPUT_SIZE])
        table = carray(address_to_pointer(row[_ADDRESS]), shape, np.int16)
        elementwise.real_embedding(table, token, result)
    else:
        elementwise.layer_norm(
            values[row[_FIRST] : row[_FIRST] + n], row[_SCALARS], row[_SCALARS + 1],
            row[_SCALARS + 2], row[_SCALARS + 3], parameters[p : p + n],
            parameters[p + n : p + 2 * n], parameters[p + 2 * n : p + 3 * n], result, counters,
        )  # fmt: skip


@kernel
def _part(arena: np.ndarray, offset: int, index: int, n: int, begin: int, end: int) -> np.ndarray:
    """Channels ``begin`` to ``end`` of the ``index``-th vector of ``n`` from ``offset``."""
    return arena[offset + index * n + begin : offset + index * n + end]


@kernel
def _execute_channels(
    row: np.ndarray,
    parameters: np.ndarray,
    state: np.ndarray,
    values: np.ndarray,
    counters: np.ndarray,
    begin: int,
    end: int,
) -> None:
    """One time step of channels ``begin`` to ``end`` of a layer that works channel by channel."""
    opcode, n, p, s = row[_OPCODE], row[_SIZE], row[_PARAMETERS], row[_STATE]
    low, high = row[_LOW], row[_HIGH]
    c = _SCALARS
    result = _part(values, row[_RESULT], 0, n, begin, end)
    first = _part(values, row[_FIRST], 0, n, begin, end)
    second = _part(values, row[_SECOND], 0, n, begin, end)
    p0 = _part(parameters, p, 0, n, begin, end)
    p1 = _part(parameters, p, 1, n, begin, end)
    p2 = _part(parameters, p, 2, n, begin, end)
    if opcode == _DELAY:
        elementwise.delay(first, _part(state, s, 0, n, begin, end), result)
    elif opcode == _TOKEN_SHIFT:
        elementwise.token_shift(first, second, p0, p1, p2, low, high, result, counters)
    elif opcode in (_REQUANTISE, _READOUT):
        elementwise.requantise(first, p0, p1, low, high, result, counters)
    elif opcode == _SIGMOID:
        elementwise.sigmoid_gate(first, p0, p1, result, counters)
    elif opcode == _SQUARED_RELU:
        elementwise.squared_relu(first, p0, p1, row[c], high, result, counters)
    elif opcode == _WKV:
        wkv(
            first, second, p0, p1, p2, _part(parameters, p, 3, n, begin, end),
            _part(parameters, p, 4, n, begin, end), _part(parameters, p, 5, n, begin, end),
            _part(state, s, 0, n, begin, end), _part(state, s, 1, n, begin, end),
            _part(state, s, 2, n, begin, end), result, counters,
        )  # fmt: skip
    elif opcode == _PRODUCT:
        elementwise.product(first, second, p0, p1, low, high, result, counters)
    elif opcode == _LIF:
        lif(
            first, p0, p1, p2, row[c], row[c + 1], row[c + 2], row[c + 3], row[c + 4],
            _part(state, s, 0, n, begin, end), result, counters,
        )  # fmt: skip
    else:
        elementwise.residual(first, second, p0, p1, result, counters)


@kernel
def _hear_last_spikes(
    row: np.ndarray, last_spikes: np.ndarray, total: np.ndarray, counts: np.ndarray
) -> None:
    """Add recurrent synapses' sums over the spikes of the time step before to ``total``."""
    n = row[_SIZE]
    weight = carray(address_to_pointer(row[_ADDRESS]), (n, n), np.int16)
    slayer_neurons.by_input(weight, last_spikes, total, counts)


@kernel
def _execute_slayer(
    row: np.ndarray,
    parameters: np.ndarray,
    state: np.ndarray,
    values: np.ndarray,
    counters: np.ndarray,
) -> None:
    """One time step of a layer of a stock NetX chain."""
    opcode, n, m, p, s = row[_OPCODE], row[_SIZE], row[_INPUT_SIZE], row[_PARAMETERS], row[_STATE]
    c = _SCALARS
    result = _part(values, row[_RESULT], 0, n, 0, n)
    driving = values[row[_FIRST] : row[_FIRST] + m]
    p0, s0 = _part(parameters, p, 0, n, 0, n), _part(state, s, 0, n, 0, n)
    s1, s2 = _part(state, s, 1, n, 0, n), _part(state, s, 2, n, 0, n)
    synaptic = counters[_OPERATIONS:_OVERFLOWS]
    if opcode == _NETX_DENSE:
        result[:] = 0
        weight = carray(address_to_pointer(row[_ADDRESS]), (m, n), np.int16)
        slayer_neurons.by_input(weight, driving, result, synaptic)
    elif opcode == _NETX_CONVOLUTION:
        result[:] = 0
        weights = carray(address_to_pointer(row[_ADDRESS]), (row[_EVENT_LIMIT],), np.int16)
        slayer_neurons.convolution(weights, parameters[p : p + 15], driving, result, synaptic)
    elif opcode == _CHANNEL_DELAY:
        line = state[s : s + row[c] * n].reshape(row[c], n)
        slayer_neurons.channel_delay(driving, p0, line, result)
    elif opcode == _CUBA:
        slayer_neurons.cuba(driving, p0, row[c], row[c + 1], row[c + 2], s0, s1, result, counters)
    elif opcode == _RECURRENT_CUBA:
        total = driving.copy()
        _hear_last_spikes(row, s2, total, synaptic)
        slayer_neurons.cuba(total, p0, row[c], row[c + 1], row[c + 2], s0, s1, result, counters)
        s2[:] = result
    elif opcode in (_ALIF, _RECURRENT_ALIF):
        s3, s4 = _part(state, s, 3, n, 0, n), _part(state, s, 4, n, 0, n)
        total = driving.copy()
        if opcode == _RECURRENT_ALIF:
            _hear_last_spikes(row, s4, total, synaptic)
        decays = np.array([row[c], row[c + 1], row[c + 3], row[c + 4]])
        slayer_neurons.alif(
            total, p0, decays, row[c + 2], row[c + 5], s0, s1, s2, s3, result, counters
        )
        if opcode == _RECURRENT_ALIF:
            s4[:] = result
    elif opcode == _SIGMA:
        slayer_neurons.sigma(driving, s0, result, counters)
    elif opcode == _DELTA:
        slayer_neurons.delta(driving, row[c], row[c + 1], s0, s1, result, counters)
    elif opcode != _RASTER_INPUT:
        slayer_neurons.sigma_delta(driving, p0, row[c], row[c + 1], s0, s1, s2, result, counters)


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

    ``instructions`` int64 [layers, Column.WIDTH]; ``parameters`` int32 arena;
    ``state`` int32 [streams, arena]; ``tokens`` int64 [T] and the stream each belongs to,
    ``streams`` int64 [T]; ``values`` int32 [T, arena] (external inputs already in place). Each
    worker's own: ``scratch`` int16 [T * (widest operand + packed.PADDING)], ``active`` int32
    [widest operand + 1], ``counters`` int64 [layers, Count.WIDTH], added to. ``barrier``: int64
    [1], 0 before the first worker starts. State advances by T tokens: a block of T gives the same
    integers as T of one, whatever the others' streams. Of ``instructions`` only ``WANTED`` is
    written.
    """
    for i in range(instructions.shape[0]):
        row = instructions[i]
        opcode, n, result = row[_OPCODE], row[_SIZE], row[_RESULT]
        if opcode in (_BINARY_EMBEDDING, _REAL_EMBEDDING, _LAYER_NORM):
            for t in range(worker, tokens.size, workers):
                _execute_whole(row, tokens[t], parameters, values[t], counters[i])
                synapses.count_non_zero(values[t, result : result + n], counters[i, _EVENTS:])
        elif opcode >= _RASTER_INPUT:
            for t in range(tokens.size if worker == 0 else 0):
                _execute_slayer(row, parameters, state[streams[t]], values[t], counters[i])
                synapses.count_non_zero(values[t, result : result + n], counters[i, _EVENTS:])
        else:
            begin, end = n * worker // workers, n * (worker + 1) // workers
            if opcode == _DENSE:
                _execute_dense(
                    row, parameters, values, scratch, active, counters[i], worker, workers
                )
            for t in range(tokens.size):
                if opcode != _DENSE:
                    own = state[streams[t]]
                    _execute_channels(row, parameters, own, values[t], counters[i], begin, end)
                synapses.count_non_zero(
                    values[t, result + begin : result + end], counters[i, _EVENTS:]
                )
        if workers > 1:
            _wait(barrier, workers * (i + 1))
