"""Machine operations numba does not offer, as portable LLVM instructions.

Nothing here is specific to one processor: LLVM turns each pattern into the best instructions of
the machine it runs on (``vpdpwssd`` or ``vpmaddwd`` for the products on x86).
"""

# numba does not type its code generation
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

TILE_ROWS = 2
TILE_TOKENS = 4
TILE_LANES = 32 if llvm.get_host_cpu_features().get("avx512bw") else 16
"""``multiply_tile`` works on 2 weight rows x 4 operand vectors, so many products at a time."""

FIELD_LANES = 32
NARROW_FIELD_LANES = 8
"""``multiply_fields`` works on 32 words at a time, then on 8 where 32 are not left."""
AHEAD = 8192
"""Bytes of packed weights asked for before their turn (benchmarks/): a processor that guesses what
comes next finds short rows too late. Asking beyond the end is harmless."""

_BYTE = ir.IntType(8)
_HALF = ir.IntType(16)
_INT = ir.IntType(32)
_LONG = ir.IntType(64)


def _vector(element: ir.IntType, lanes: int) -> ir.VectorType:
    return ir.VectorType(element, lanes)


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _prefetch(builder: Any, address: Any, locality: int) -> None:
    """Ask for a cache line: ``locality`` 3 into the first level, 2 into the second."""
    byte_pointer = _BYTE.as_pointer()
    function = builder.module.declare_intrinsic(
        "llvm.prefetch",
        [byte_pointer],
        ir.FunctionType(ir.VoidType(), [byte_pointer, _INT, _INT, _INT]),
    )
    read, near, data = (ir.Constant(_INT, value) for value in (0, locality, 1))
    builder.call(function, [_pointer(builder, address, _BYTE), read, near, data])


@intrinsic
def address_to_pointer(typing_context: Any, address: Any) -> Any:
    """Turn an integer address into a pointer ``carray`` can view."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _pointer(builder, arguments[0], _BYTE)

    return types.voidptr(types.int64), generate


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line at ``address`` to be brought into the second-level cache."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _prefetch(builder, arguments[0], 2)
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def atomic_add(typing_context: Any, address: Any, amount: Any) -> Any:
    """Add ``amount`` to the int64 at ``address`` as one indivisible operation; the old value."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(builder, arguments[0], _LONG)
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def atomic_load(typing_context: Any, address: Any) -> Any:
    """The int64 at ``address``, seeing everything written before it was last added to."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_pointer(builder, arguments[0], _LONG), "seq_cst", 8)

    return types.int64(types.int64), generate


def _sum_lanes(builder: Any, vectors: list[Any]) -> Any:
    """The sum of each vector's lanes; vectors and lanes are powers of two in number.

    Pairs of vectors become one, half of whose lanes are the first's and half the second's, so that
    every addition adds lanes of all that are left: n vectors cost n additions and not n log(lanes).
    """
    share = vectors[0].type.count  # lanes that belong to one sum
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [_added(builder, a, b, share) for a, b in pairs]
        share = max(1, share // 2)
    (total,) = vectors
    while share > 1:
        total = _added(builder, total, None, share)
        share //= 2
    return total


def _added(builder: Any, first: Any, second: Any, share: int) -> Any:
    """The halves of every ``share`` lanes added; where they are one, both vectors side by side."""
    lanes = first.type.count * (1 if second is None else 2)
    other = ir.Constant(first.type, ir.Undefined) if second is None else second

    def pick(chosen: list[int]) -> Any:
        return builder.shuffle_vector(first, other, ir.Constant(_vector(_INT, len(chosen)), chosen))

    if share == 1:
        return pick(list(range(lanes)))
    half = share // 2
    starts = range(0, lanes, share)
    return builder.add(*(pick([s + o + i for s in starts for i in range(half)]) for o in (0, half)))


@intrinsic
def multiply_tile(
    typing_context: Any, weight: Any, weight_stride: Any, x: Any, x_stride: Any, length: Any,
    result: Any,
) -> Any:  # fmt: skip
    """Inner products of 2 int8 weight rows with 4 int16 operand vectors: 8 int32 sums.

    Addresses and strides in bytes; ``length`` a multiple of ``TILE_LANES`` (the caller adds the
    rest).
    ``result`` int32 [2, 4]. Loading a row or an operand once for several products is what makes
    scoring known tokens cheaper than generating them. Adding even and odd products is the pattern
    LLVM knows as a multiply-add of pairs.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weight, weight_stride, x, x_stride, length, result = arguments
        pairs = _vector(_INT, TILE_LANES // 2)
        even, odd = (
            ir.Constant(pairs, [2 * i + first for i in range(TILE_LANES // 2)]) for first in (0, 1)
        )
        wide = _vector(_INT, TILE_LANES)
        undefined = ir.Constant(wide, ir.Undefined)
        sums = [
            cgutils.alloca_once_value(builder, ir.Constant(pairs, None))
            for _ in range(TILE_ROWS * TILE_TOKENS)
        ]

        def load(base: Any, stride: Any, row: int, offset: Any, element: ir.IntType) -> Any:
            start = builder.add(base, builder.mul(stride, ir.Constant(_LONG, row)))
            address = builder.add(start, offset)
            if element is _BYTE:
                _prefetch(builder, builder.add(address, ir.Constant(_LONG, AHEAD)), 2)
            pointer = _pointer(builder, address, _vector(element, TILE_LANES))
            return builder.sext(builder.load(pointer, align=element.width // 8), wide)

        zero, step = ir.Constant(_LONG, 0), ir.Constant(_LONG, TILE_LANES)
        with cgutils.for_range_slice(builder, zero, length, step, _LONG) as (k, _):
            rows = [load(weight, weight_stride, j, k, _BYTE) for j in range(TILE_ROWS)]
            offset = builder.shl(k, ir.Constant(_LONG, 1))
            for t in range(TILE_TOKENS):
                operand = load(x, x_stride, t, offset, _HALF)
                for j in range(TILE_ROWS):
                    products = builder.mul(rows[j], operand, flags=["nsw"])
                    added = builder.add(
                        builder.shuffle_vector(products, undefined, even),
                        builder.shuffle_vector(products, undefined, odd),
                    )
                    place = sums[j * TILE_TOKENS + t]
                    builder.store(builder.add(builder.load(place), added), place)
        total = _sum_lanes(builder, [builder.load(place) for place in sums])
        builder.store(total, _pointer(builder, result, total.type), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


def multiply_fields(
    bits: int, rows: int, tokens: int, unshifted: int = 1, ahead: int = AHEAD
) -> Any:
    """Intrinsic: inner products of ``rows`` packed weight rows with ``tokens`` operand vectors.

    A row is of 16-bit words, each of ``16 // bits`` unsigned fields; field f of word i belongs to
    operand ``f * words + i``. Arguments: address of the first row's words, bytes from row to row,
    words (a multiple of 8), address of the int16 operands, bytes from vector to vector, address of
    the int32 sums [rows, tokens]. Sums are modulo 2**32. Fields are unpacked in registers, once for
    all tokens, and an operand is loaded once for all rows.

    ``unshifted`` fields (benchmarks/) are only masked where they lie in the word: their products
    are ``2**(bits * a)`` times too large, a = 0.. being the field's place among them, go to sums
    of their own, and those are shifted back. The words taken before that are so few that no such
    sum leaves int32, whatever the operands. They want the 32 registers that come with vectors of
    512 bits; elsewhere every field is shifted. ``ahead``: see ``AHEAD``.
    """
    unshifted = unshifted if TILE_LANES == 32 else 1
    largest = (1 << (bits * unshifted)) - (1 << (bits * (unshifted - 1)))
    groups = -(-(16 // bits) // unshifted)
    steps = ((1 << 31) - 1) // (2 * groups * largest << 15)
    fields = _Fields(bits, rows, tokens, unshifted, ahead)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *operands, result = arguments
        words = operands[2]
        totals = _vector(_INT, rows * tokens)
        total = cgutils.alloca_once_value(builder, ir.Constant(totals, None))

        def add(begin: Any, end: Any, lanes: int) -> None:
            sums = _sum_lanes(builder, _field_sums(builder, operands, (begin, end), fields, lanes))
            builder.store(builder.add(builder.load(total), sums), total)

        wide_end = builder.and_(words, ir.Constant(_LONG, -FIELD_LANES))
        span = ir.Constant(_LONG, steps * FIELD_LANES)
        zero = ir.Constant(_LONG, 0)
        with cgutils.for_range_slice(builder, zero, wide_end, span, _LONG) as (begin, _):
            end = builder.add(begin, span)
            inside = builder.icmp_signed("<", end, wide_end)
            add(begin, builder.select(inside, end, wide_end), FIELD_LANES)
        with builder.if_then(builder.icmp_signed("<", wide_end, words)):
            add(wide_end, words, NARROW_FIELD_LANES)
        builder.store(builder.load(total), _pointer(builder, result, totals), align=4)
        return context.get_dummy_value()

    def typed(
        typing_context: Any, weight: Any, stride: Any, words: Any, x: Any, x_stride: Any,
        result: Any,
    ) -> Any:  # fmt: skip
        return types.void(*[types.int64] * 6), generate

    return intrinsic(typed)


class _Fields(NamedTuple):
    """What ``multiply_fields`` was asked for."""

    bits: int
    rows: int
    tokens: int
    unshifted: int
    ahead: int


def _field_sums(builder: Any, operands: Any, span: Any, fields: _Fields, lanes: int) -> list[Any]:
    """The loop of ``multiply_fields`` over a span of words, ``lanes`` at a time.

    An int32 vector of partial sums a row and token, of ``lanes // 2`` lanes.
    """
    weight, stride, words, x, x_stride = operands
    bits, rows, tokens, unshifted, ahead = fields
    pairs = _vector(_INT, lanes // 2)
    half, wide = _vector(_HALF, lanes), _vector(_INT, lanes)
    undefined = ir.Constant(wide, ir.Undefined)
    even, odd = (ir.Constant(pairs, [2 * i + first for i in range(lanes // 2)]) for first in (0, 1))
    nothing = ir.Constant(pairs, None)
    count = rows * tokens
    sums = [cgutils.alloca_once(builder, pairs) for _ in range(unshifted * count)]
    for place in sums:
        builder.store(nothing, place)

    def load(base: Any, step: Any, index: int, offset: Any) -> tuple[Any, Any]:
        start = builder.add(base, builder.mul(step, ir.Constant(_LONG, index)))
        address = builder.add(start, offset)
        return builder.load(_pointer(builder, address, half), align=2), address

    begin_at, end_at = span
    with cgutils.for_range_slice(builder, begin_at, end_at, ir.Constant(_LONG, lanes), _LONG) as (
        i,
        _,
    ):
        offset = builder.shl(i, ir.Constant(_LONG, 1))
        loaded = []
        for r in range(rows):
            word, address = load(weight, stride, r, offset)
            loaded.append(word)
            _prefetch(builder, builder.add(address, ir.Constant(_LONG, ahead)), 3)
        for f in range(16 // bits):
            first = builder.add(x, builder.mul(words, ir.Constant(_LONG, 2 * f)))
            vectors = [
                builder.sext(load(first, x_stride, t, offset)[0], wide) for t in range(tokens)
            ]
            within = f % unshifted
            for r, word in enumerate(loaded):
                field = builder.lshr(word, ir.Constant(half, [bits * (f - within)] * lanes))
                mask = ((1 << bits) - 1) << (bits * within)
                field = builder.zext(builder.and_(field, ir.Constant(half, [mask] * lanes)), wide)
                for t, operand in enumerate(vectors):
                    products = builder.mul(field, operand, flags=["nsw"])
                    added = builder.add(
                        builder.shuffle_vector(products, undefined, even),
                        builder.shuffle_vector(products, undefined, odd),
                    )
                    place = sums[within * count + r * tokens + t]
                    builder.store(builder.add(builder.load(place), added), place)
    kept = [builder.load(place) for place in sums]
    for within in range(1, unshifted):
        back = ir.Constant(pairs, [bits * within] * (lanes // 2))
        for i in range(count):
            kept[i] = builder.add(kept[i], builder.ashr(kept[within * count + i], back))
    return kept[:count]


def _values(context: Any, arguments: Any) -> list[Any]:
    return [context.get_value_type(argument) for argument in arguments]


@intrinsic
def call_step(
    typing_context: Any, address: Any, row: Any, token: Any, parameters: Any, state: Any,
    values: Any, counters: Any, begin: Any, end: Any,
) -> Any:  # fmt: skip
    """Call the compiled function at ``address`` with the other arguments.

    It must be a ``numba.cfunc`` of exactly ``STEP_SIGNATURE``: arrays are passed by value, as numba
    represents them.
    """
    return _call_of(STEP_SIGNATURE)


@intrinsic
def call_walk(
    typing_context: Any, address: Any, row: Any, begin: Any, end: Any, operands: Any, result: Any
) -> Any:
    """The same for a function of exactly ``WALK_SIGNATURE``."""
    return _call_of(WALK_SIGNATURE)


def _call_of(called: Any) -> Any:
    """Type and code of a call of the function with that signature at an address given first."""
    given = called.args

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), _values(context, given))
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        passed = [
            context.cast(builder, value, found, wanted)
            for value, found, wanted in zip(arguments[1:], signature.args[1:], given, strict=True)
        ]
        builder.call(function, passed)
        return context.get_dummy_value()

    return types.void(types.int64, *given), generate


STEP_SIGNATURE = types.void(
    types.int64[::1], types.int64, types.int32[::1], types.int32[::1], types.int32[::1],
    types.int64[::1], types.int64, types.int64,
)  # fmt: skip
"""Of the functions ``call_step`` calls: an instruction's row, token, parameters, state, values,
counters, first channel and last channel + 1."""
WALK_SIGNATURE = types.void(
    types.int64[::1], types.int64, types.int64, types.int16[:, ::1], types.int32[:, :]
)
"""Of the functions ``call_walk`` calls: an instruction's row, first output and last output + 1,
operands [tokens, inputs + padding] and results [tokens, outputs]."""
