"""Synapses with weights of fewer than eight bits: packed in memory, unpacked in registers.

A weight ``w`` of b bits lies in ``+-(2**(b - 1) - 1)``, so that 2 bits are ternary. Stored is the
code ``w + 2**(b - 1)``, in 1..2**b - 1: up to 5 bits as one plane, 6 and 7 as a plane of the 4
low bits and one of the rest. A row is its planes one after the other, each of 16-bit words of
``16 // plane`` fields: field f of word i is the weight of input ``f * words + i``. (3 bits thus
take 3.2 and 5 take 5.3; bits cut finer are slower than bytes, benchmarks/.) Words a plane are a
multiple of 8; codes beyond the last input are 0 and meet operands that are 0. Hence

``sum_k w_k x_k = sum_planes 2**low * (sum_k field_k x_k) - 2**(b - 1) sum_k x_k``

modulo 2**32, and exactly where the proven bound of ``dense`` holds.
"""

# numba types its integers itself: a numpy scalar and an int are one there
# mypy: disable-error-code="arg-type,assignment,call-arg,return-value,unreachable"

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.compiler import kernel
from spikegpt_neuro.arithmetic.dense import PANEL_BYTES
from spikegpt_neuro.arithmetic.intrinsics import (
    NARROW_FIELD_LANES,
    TILE_ROWS,
    TILE_TOKENS,
    multiply_fields,
)

FEWEST_BITS = 2
MOST_BITS = 8
"""Bits of a weight; 8 are stored as plain int8 and multiplied by ``dense``."""
WORD_BITS = 16
WIDEST_PLANE = 5
LOW_PLANE = 4
"""Bits of the low plane where two are needed."""
PADDING = NARROW_FIELD_LANES * (WORD_BITS // FEWEST_BITS)
"""Operands beyond a layer's own, all 0, that ``dense_packed`` may read."""

_ROWS = 4
"""Rows at a time, which share each operand loaded."""
_two = multiply_fields(2, _ROWS, 1, unshifted=4, ahead=16384)
_three = multiply_fields(3, _ROWS, 1, unshifted=2)
_four = multiply_fields(4, _ROWS, 1)
_five = multiply_fields(5, _ROWS, 1)
_tile_of_two = multiply_fields(2, TILE_ROWS, TILE_TOKENS)
_tile_of_three = multiply_fields(3, TILE_ROWS, TILE_TOKENS)
_tile_of_four = multiply_fields(4, TILE_ROWS, TILE_TOKENS)
_tile_of_five = multiply_fields(5, TILE_ROWS, TILE_TOKENS)


def largest_weight(bits: int) -> int:
    """``2**(bits - 1) - 1``: weights are symmetric."""
    return (1 << (bits - 1)) - 1


@kernel
def low_plane(bits: int) -> int:
    """Bits of a weight's first plane; what is left is its second."""
    return bits if bits <= WIDEST_PLANE else LOW_PLANE


@kernel
def plane_words(inputs: int, plane: int) -> int:
    """16-bit words of one row's plane: a multiple of 8, and none of a plane of no bits."""
    if plane == 0:
        return 0
    fields = WORD_BITS // plane
    lanes = NARROW_FIELD_LANES
    return ((inputs + fields - 1) // fields + lanes - 1) // lanes * lanes


@kernel
def row_words(inputs: int, bits: int) -> int:
    """16-bit words of one packed row."""
    low = low_plane(bits)
    return plane_words(inputs, low) + plane_words(inputs, bits - low)


@kernel
def _pack_rows(weight: np.ndarray, bits: int, packed: np.ndarray) -> None:
    outputs, inputs = weight.shape
    low = low_plane(bits)
    packed[:] = 0
    for j in range(outputs):
        first = 0
        for plane, shift in ((low, 0), (bits - low, low)):
            words = plane_words(inputs, plane)
            mask = (1 << plane) - 1
            for k in range(inputs if plane else 0):
                code = np.int64(weight[j, k]) + (1 << (bits - 1))
                field, word = k // words, k % words
                packed[j, first + word] |= np.uint16(((code >> shift) & mask) << (plane * field))
            first += words


def pack(weight: npt.NDArray[np.int8], bits: int) -> npt.NDArray[np.uint16]:
    """Pack int8 [outputs, inputs], all within ``largest_weight(bits)``; uint16 [outputs, words]."""
    packed = np.empty((weight.shape[0], row_words(weight.shape[1], bits)), np.uint16)
    _pack_rows(np.ascontiguousarray(weight), bits, packed)
    return packed


@kernel
def _unpack_rows(packed: np.ndarray, bits: int, weight: np.ndarray) -> None:
    outputs, inputs = weight.shape
    low = low_plane(bits)
    for j in range(outputs):
        row = weight[j]
        row[:] = -(1 << (bits - 1))
        first = 0
        for plane, position in ((low, 0), (bits - low, low)):
            words = plane_words(inputs, plane)
            mask = np.uint16((1 << plane) - 1)
            for field in range(WORD_BITS // plane if plane else 0):
                begin = field * words
                shift = np.uint16(plane * field)
                for i in range(min(words, inputs - begin)):
                    code = (packed[j, first + i] >> shift) & mask
                    row[begin + i] += np.int8(code << position)
            first += words


def unpack(packed: npt.NDArray[np.uint16], inputs: int, bits: int) -> npt.NDArray[np.int8]:
    """The weights again: int8 [outputs, inputs]."""
    weight = np.empty((packed.shape[0], inputs), np.int8)
    _unpack_rows(np.ascontiguousarray(packed), bits, weight)
    return weight


@kernel
def dense_packed(packed: np.ndarray, bits: int, x: np.ndarray, result: np.ndarray) -> None:
    """``result[t, j] = sum_k weight[j, k] * x[t, k]`` of packed weights.

    ``packed`` uint16 [outputs, words]; ``x`` int16 [tokens, inputs + PADDING], contiguous, zero in
    the padding; ``result`` int32 [tokens, outputs]. For a single token the weights are walked once
    in address order; blocks of tokens go tile by tile through a panel that stays in cache.
    """
    tiled = x.shape[0] - x.shape[0] % TILE_TOKENS
    outputs, words = packed.shape
    if tiled > 0:
        rows = max(TILE_ROWS, PANEL_BYTES // (2 * words) // TILE_ROWS * TILE_ROWS)
        for begin in range(0, outputs, rows):
            end = min(begin + rows, outputs)
            for t in range(0, tiled, TILE_TOKENS):
                _tiles(
                    packed[begin:end],
                    bits,
                    x[t : t + TILE_TOKENS],
                    result[t : t + TILE_TOKENS, begin:end],
                )
    for t in range(tiled, x.shape[0]):
        _product(packed, bits, x[t], result[t])


@kernel
def _offset(x: np.ndarray, bits: int) -> int:
    """What the codes add to every sum: ``2**(bits - 1)`` times the sum of the operands."""
    total = np.int64(0)
    for k in range(x.size):
        total += x[k]
    return total << (bits - 1)


@kernel
def _rest(packed: np.ndarray, bits: int, x: np.ndarray, begin: int, result: np.ndarray) -> None:
    """Rows from ``begin`` on, too few for a tile."""
    inputs = x.size - PADDING
    if begin < packed.shape[0]:
        row = np.empty((1, inputs), np.int8)
        for j in range(begin, packed.shape[0]):
            _unpack_rows(packed[j : j + 1], bits, row)
            value = np.int64(0)
            for k in range(inputs):
                value += np.int64(row[0, k]) * np.int64(x[k])
            result[j] = value


@kernel
def _product(packed: np.ndarray, bits: int, x: np.ndarray, result: np.ndarray) -> None:
    """One operand vector times all rows."""
    total = _offset(x, bits)
    inputs = x.size - PADDING
    base, stride, operand = packed.ctypes.data, 2 * packed.shape[1], x.ctypes.data
    low = low_plane(bits)
    tiled = packed.shape[0] - packed.shape[0] % _ROWS
    words, high_words = plane_words(inputs, low), plane_words(inputs, bits - low)
    sums = np.empty((2, tiled), np.int32)
    # a loop each: what a row of few bits is worth is less than asking each time which they are
    if bits == 2:
        for j in range(0, tiled, _ROWS):
            _two(base + j * stride, stride, words, operand, 0, sums[0, j:].ctypes.data)
    elif bits == 3:
        for j in range(0, tiled, _ROWS):
            _three(base + j * stride, stride, words, operand, 0, sums[0, j:].ctypes.data)
    elif bits == 5:
        for j in range(0, tiled, _ROWS):
            _five(base + j * stride, stride, words, operand, 0, sums[0, j:].ctypes.data)
    else:
        for j in range(0, tiled, _ROWS):
            address, high_place = base + j * stride, sums[1, j:].ctypes.data
            _four(address, stride, words, operand, 0, sums[0, j:].ctypes.data)
            if bits == 6:
                _two(address + 2 * words, stride, high_words, operand, 0, high_place)
            elif bits == 7:
                _three(address + 2 * words, stride, high_words, operand, 0, high_place)
    if bits == low:
        for j in range(tiled):
            result[j] = np.int32(np.int64(sums[0, j]) - total)
    else:
        for j in range(tiled):
            high = np.int64(sums[1, j]) << low
            result[j] = np.int32(np.int64(sums[0, j]) + high - total)
    _rest(packed, bits, x, tiled, result)


@kernel
def _tiles(packed: np.ndarray, bits: int, x: np.ndarray, result: np.ndarray) -> None:
    """``TILE_TOKENS`` operand vectors times all rows."""
    inputs = x.shape[1] - PADDING
    base, stride, operand = packed.ctypes.data, 2 * packed.shape[1], x.ctypes.data
    step = 2 * x.shape[1]
    low = low_plane(bits)
    tiled = packed.shape[0] - packed.shape[0] % TILE_ROWS
    words, high_words = plane_words(inputs, low), plane_words(inputs, bits - low)
    totals = np.empty(TILE_TOKENS, np.int64)
    for t in range(TILE_TOKENS):
        totals[t] = _offset(x[t], bits)
    sums = np.zeros((2, TILE_ROWS, TILE_TOKENS), np.int32)
    place, high_place = sums.ctypes.data, sums[1].ctypes.data
    for j in range(0, tiled, TILE_ROWS):
        address = base + j * stride
        if low == 2:
            _tile_of_two(address, stride, words, operand, step, place)
        elif low == 3:
            _tile_of_three(address, stride, words, operand, step, place)
        elif low == 4:
            _tile_of_four(address, stride, words, operand, step, place)
        else:
            _tile_of_five(address, stride, words, operand, step, place)
        if bits - low == 2:
            _tile_of_two(address + 2 * words, stride, high_words, operand, step, high_place)
        elif bits - low == 3:
            _tile_of_three(address + 2 * words, stride, high_words, operand, step, high_place)
        for r in range(TILE_ROWS):
            for t in range(TILE_TOKENS):
                high = np.int64(sums[1, r, t]) << low
                result[t, j + r] = np.int32(np.int64(sums[0, r, t]) + high - totals[t])
    for t in range(TILE_TOKENS):
        _rest(packed, bits, x[t], tiled, result[t])


class PackedWeights(np.lib.mixins.NDArrayOperatorsMixin):
    """An int8 matrix [outputs, inputs] stored in fewer bits; numpy sees the int8 matrix.

    ``words`` uint16 [outputs, words], maybe memory mapped; ``bits`` 2..7. Whatever is asked of it
    beyond its shape unpacks it anew: nothing is kept twice.
    """

    dtype = np.dtype(np.int8)
    ndim = 2

    def __init__(self, words: npt.NDArray[np.uint16], inputs: int, bits: int) -> None:
        self.words = words
        self.bits = bits
        self.shape = (words.shape[0], inputs)
        self.size = words.shape[0] * inputs
        self.nbytes = words.nbytes

    @classmethod
    def of(cls, weight: npt.NDArray[np.int8], bits: int) -> PackedWeights:
        """Pack int8 [outputs, inputs] within ``largest_weight(bits)``."""
        return cls(pack(weight, bits), weight.shape[1], bits)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        weight = unpack(self.words, self.shape[1], self.bits)
        return weight if dtype is None else weight.astype(dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [np.asarray(x) if isinstance(x, PackedWeights) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **options)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):  # so that passing over all rows never unpacks them all
            return unpack(self.words[index], self.shape[1], self.bits)
        return np.asarray(self)[index]

    def __len__(self) -> int:
        return self.shape[0]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)


def stored(weight: Any) -> tuple[npt.NDArray[Any], int]:
    """What is in memory of an int8 matrix, packed or plain, and the bits a weight takes there."""
    if isinstance(weight, PackedWeights):
        return weight.words, weight.bits
    return weight, MOST_BITS


def store(weight: npt.NDArray[np.int8], bits: int) -> Any:
    """``weight`` as a layer keeps it: packed, or itself where a weight takes all 8 bits."""
    return weight if bits == MOST_BITS else PackedWeights.of(weight, bits)
