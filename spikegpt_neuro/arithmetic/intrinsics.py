"""Machine operations numba does not offer, as portable LLVM instructions.

Nothing here is specific to one processor: LLVM turns each pattern into the best instructions of
the machine it runs on (``vpdpwssd`` or ``vpmaddwd`` for ``multiply_tile`` on x86).
"""

# numba does not type its code generation
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

TILE_ROWS = 2
TILE_TOKENS = 4
TILE_LANES = 16
"""``multiply_tile`` works on 2 weight rows x 4 operand vectors, 16 products at a time."""

_BYTE = ir.IntType(8)
_HALF = ir.IntType(16)
_INT = ir.IntType(32)
_LONG = ir.IntType(64)


def _vector(element: ir.IntType, lanes: int) -> ir.VectorType:
    return ir.VectorType(element, lanes)


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


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
        byte_pointer = _BYTE.as_pointer()
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [byte_pointer],
            ir.FunctionType(ir.VoidType(), [byte_pointer, _INT, _INT, _INT]),
        )
        read, locality, data = (ir.Constant(_INT, value) for value in (0, 2, 1))
        pointer = _pointer(builder, arguments[0], _BYTE)
        builder.call(function, [pointer, read, locality, data])
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


def _sum_lanes(builder: Any, vector: Any, lanes: int) -> Any:
    """Sum of a vector's lanes, by halving."""
    while lanes > 1:
        lanes //= 2
        undefined = ir.Constant(vector.type, ir.Undefined)
        low, high = (
            builder.shuffle_vector(
                vector,
                undefined,
                ir.Constant(_vector(_INT, lanes), list(range(start, start + lanes))),
            )
            for start in (0, lanes)
        )
        vector = builder.add(low, high)
    return builder.extract_element(vector, ir.Constant(_INT, 0))


@intrinsic
def multiply_tile(
    typing_context: Any, weight: Any, weight_stride: Any, x: Any, x_stride: Any, length: Any,
    result: Any,
) -> Any:  # fmt: skip
    """Inner products of 2 int8 weight rows with 4 int16 operand vectors: 8 int32 sums.

    Addresses and strides in bytes; ``length`` a multiple of 16 (the caller adds the rest).
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
            pointer = _pointer(builder, builder.add(start, offset), _vector(element, TILE_LANES))
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
        for i, place in enumerate(sums):
            target = builder.add(result, ir.Constant(_LONG, 4 * i))
            total = _sum_lanes(builder, builder.load(place), TILE_LANES // 2)
            builder.store(total, _pointer(builder, target, _INT))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


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
    given = STEP_SIGNATURE.args

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
