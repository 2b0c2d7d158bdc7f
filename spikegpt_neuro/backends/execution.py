"""One compiled function that executes a program: a table of instructions over arenas.

An instruction is a row of ``Column`` values; vectors live at offsets of three arenas (values,
parameters, state), large read-only tables (weights, embeddings) at memory addresses. Executing a
whole token, or a block of tokens, is one call from Python, whatever the network's depth.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from spikegpt_neuro.arithmetic import dense as synapses
from spikegpt_neuro.arithmetic import elementwise
from spikegpt_neuro.arithmetic.compiler import kernel
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
    ADDRESS_BY_INPUT = 11  # transposed weights, 0 where there are none
    EVENT_LIMIT = 12  # largest number of active operands for which the event-driven walk is used
    SCALARS = 13  # up to six integers, in the layer's declared order
    WIDTH = 19


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


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(typing_context: Any, address: Any) -> Any:
    """Turn an integer address into a pointer ``carray`` can view."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


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


@kernel
def _execute_dense(
    row: np.ndarray,
    parameters: np.ndarray,
    values: np.ndarray,
    scratch: np.ndarray,
    counters: np.ndarray,
) -> None:
    """Dense synapses for a block of tokens: dense or event-driven, token by token."""
    n, m = row[_SIZE], row[_INPUT_SIZE]
    tokens = values.shape[0]
    fan_out = parameters[row[_PARAMETERS] : row[_PARAMETERS] + m]
    weight = carray(_pointer(row[_ADDRESS]), (n, m), np.int8)
    first, last = row[_FIRST], row[_FIRST] + m
    begin, end = row[_RESULT], row[_RESULT] + n
    gathered = scratch[: tokens * m].reshape(tokens, m)
    waiting = 0  # tokens gathered for the dense walk, which reads the weights once for all of them
    for t in range(tokens):
        operands = values[t, first:last]
        synapses.count_events(operands, fan_out, counters[_OPERATIONS:_OVERFLOWS])
        active = 0
        for k in range(m):
            active += operands[k] != 0
        if active <= row[_EVENT_LIMIT]:
            by_input = carray(_pointer(row[_ADDRESS_BY_INPUT]), (m, n), np.int8)
            synapses.event_driven(by_input, operands, values[t, begin:end])
        else:
            for k in range(m):
                gathered[waiting, k] = operands[k]
            waiting += 1
    if waiting == tokens:
        synapses.dense(weight, gathered, values[:, begin:end])
    elif waiting > 0:
        products = np.empty((waiting, n), np.int32)
        synapses.dense(weight, gathered[:waiting], products)
        position = 0
        for t in range(tokens):
            active = 0
            for k in range(m):
                active += values[t, first + k] != 0
            if active > row[_EVENT_LIMIT]:
                values[t, begin:end] = products[position]
                position += 1
    limit = (1 << (row[_SCALARS] - 1)) - 1
    for t in range(tokens):
        counters[_OVERFLOWS] += synapses.count_overflows(values[t, begin:end], limit)


@kernel
def _execute_step(
    row: np.ndarray,
    token: int,
    parameters: np.ndarray,
    state: np.ndarray,
    values: np.ndarray,
    counters: np.ndarray,
) -> None:
    """One instruction other than dense, for one token (``values``: that token's vector)."""
    opcode, n = row[_OPCODE], row[_SIZE]
    result = values[row[_RESULT] : row[_RESULT] + n]
    first = values[row[_FIRST] : row[_FIRST] + n]
    second = values[row[_SECOND] : row[_SECOND] + n]
    p = row[_PARAMETERS]
    p0, p1, p2 = parameters[p : p + n], parameters[p + n : p + 2 * n], parameters[p + 2 * n : p + 3 * n]
    s = row[_STATE]
    low, high = row[_LOW], row[_HIGH]
    c = _SCALARS
    if opcode == _BINARY_EMBEDDING:
        bits = carray(_pointer(row[_ADDRESS]), (token + 1, row[_INPUT_SIZE]), np.uint8)
        elementwise.binary_embedding(bits, token, result)
    elif opcode == _REAL_EMBEDDING:
        table = carray(_pointer(row[_ADDRESS]), (token + 1, row[_INPUT_SIZE]), np.int16)
        elementwise.real_embedding(table, token, result)
    elif opcode == _LAYER_NORM:
        elementwise.layer_norm(
            first, row[c], row[c + 1], row[c + 2], row[c + 3], p0, p1, p2, result, counters
        )
    elif opcode == _DELAY:
        elementwise.delay(first, state[s : s + n], result)
    elif opcode == _TOKEN_SHIFT:
        elementwise.token_shift(first, second, p0, p1, p2, low, high, result, counters)
    elif opcode == _REQUANTISE or opcode == _READOUT:
        elementwise.requantise(first, p0, p1, low, high, result, counters)
    elif opcode == _SIGMOID:
        elementwise.sigmoid_gate(first, p0, p1, result, counters)
    elif opcode == _SQUARED_RELU:
        elementwise.squared_relu(first, p0, p1, row[c], high, result, counters)
    elif opcode == _WKV:
        p3, p4 = parameters[p + 3 * n : p + 4 * n], parameters[p + 4 * n : p + 5 * n]
        p5 = parameters[p + 5 * n : p + 6 * n]
        wkv(
            first, second, p0, p1, p2, p3, p4, p5,
            state[s : s + n], state[s + n : s + 2 * n], state[s + 2 * n : s + 3 * n],
            result, counters,
        )  # fmt: skip
    elif opcode == _PRODUCT:
        elementwise.product(first, second, p0, p1, low, high, result, counters)
    elif opcode == _LIF:
        lif(
            first, p0, p1, p2, row[c], row[c + 1], row[c + 2], row[c + 3], row[c + 4],
            state[s : s + n], result, counters,
        )  # fmt: skip
    else:
        elementwise.residual(first, second, p0, p1, result, counters)


@kernel
def execute(
    instructions: np.ndarray,
    parameters: np.ndarray,
    state: np.ndarray,
    tokens: np.ndarray,
    values: np.ndarray,
    scratch: np.ndarray,
    counters: np.ndarray,
) -> None:
    """Run all instructions over a block of tokens, instruction by instruction.

    ``instructions`` int64 [layers, Column.WIDTH]; ``parameters``, ``state`` int32 arenas;
    ``tokens`` int64 [T]; ``values`` int32 [T, arena] (external inputs already in place);
    ``scratch`` int16 [T * widest operand]; ``counters`` int64 [layers, Count.WIDTH], added to.
    State advances by T tokens: a block of T gives the same integers as T blocks of one.
    """
    for i in range(instructions.shape[0]):
        row = instructions[i]
        if row[_OPCODE] == _DENSE:
            _execute_dense(row, parameters, values, scratch, counters[i])
        else:
            for t in range(tokens.size):
                _execute_step(row, tokens[t], parameters, state, values[t], counters[i])
        for t in range(tokens.size):
            synapses.count_non_zero(
                values[t, row[_RESULT] : row[_RESULT] + row[_SIZE]], counters[i, _EVENTS:]
            )
