"""Instructions: how each kind of layer is executed, registered by kind.

A step computes some channels of a layer for one token. It finds its vectors in three arenas and its
integers in the instruction's row by name: ``places`` makes the names of a kind's arrays, scalars
and states integers that numba compiles into the step.
"""

# numba types what it compiles itself, from ``STEP_SIGNATURE``
# mypy: disable-error-code="arg-type,attr-defined,call-arg,no-untyped-def,unreachable"

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray

from spikegpt_neuro.arithmetic import elementwise
from spikegpt_neuro.arithmetic.compiler import compile_step, inline_kernel
from spikegpt_neuro.arithmetic.intrinsics import STEP_SIGNATURE, address_to_pointer
from spikegpt_neuro.arithmetic.lif import lif
from spikegpt_neuro.arithmetic.packed import stored
from spikegpt_neuro.arithmetic.varied_neurons import varied_lif
from spikegpt_neuro.arithmetic.wkv import wkv
from spikegpt_neuro.backends import execution
from spikegpt_neuro.backends.execution import Column, Count, Share
from spikegpt_neuro.errors import IncompleteKind
from spikegpt_neuro.network import layers
from spikegpt_neuro.network.registry import KindRegistry
from spikegpt_neuro.network.schema import Array, Layer

Step = Callable[..., None]


@dataclass(frozen=True)
class Instruction:
    """How a kind is executed.

    ``step(row, token, parameters, state, values, counters, begin, end)``, None where synapses are
    walked for a block of tokens. ``table``: the array whose address the row holds. ``derived``:
    words that follow from the layer and are kept behind its parameters. ``kind``: whose it is.
    """

    kind: type[Layer]
    step: Step | None
    share: Share
    table: Callable[[Any], Array] | None = None
    derived: Callable[[Any], Array] | None = None

    @cached_property
    def address(self) -> int:
        """Where the compiled step is; compiled or read from the cache when first asked for."""
        if self.step is None:
            return 0
        return int(self._compiled.address)

    @cached_property
    def _compiled(self) -> Any:
        assert self.step is not None
        compiled_in = (
            f"{self.kind.kind} {dict(places(self.kind).__members__)} {_sources(self.step)}"
        )
        return compile_step(self.step, STEP_SIGNATURE, compiled_in)


def _sources(step: Step) -> str:
    """Text of the files that are compiled into a step, besides its own and ``arithmetic``'s."""
    called = [step.__globals__.get(name) for name in step.__code__.co_names]
    kernels = [getattr(function, "py_func", None) for function in called]
    files = {inspect.getfile(function) for function in kernels if function is not None}
    return "".join(_text(name) for name in sorted({*files, __file__, execution.__file__}))


@cache
def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


INSTRUCTIONS: KindRegistry[Instruction] = KindRegistry("the emulator")
"""The instruction of every kind."""


def instruction(
    *kinds: type[Layer],
    share: Share = Share.CHANNELS,
    table: Callable[[Any], Array] | None = None,
    derived: Callable[[Any], Array] | None = None,
) -> Callable[[Step], Step]:
    """Decorator: execute layers of ``kinds`` by this step. See ``Instruction``."""

    def keep(step: Step) -> Step:
        for kind in kinds:
            INSTRUCTIONS.add(kind, entry=Instruction(kind, step, share, table, derived))
        return step

    return keep


def places(kind: type[Layer]) -> Any:
    """Where a kind's step finds what: an ``IntEnum`` with a member for every name.

    Arrays: their number among the parameters; scalars: their column of the row; states: their
    number. Raises ``IncompleteKind`` where there are more scalars than columns.
    """
    room = Column.WIDTH - Column.SCALARS
    scalars = list(kind.scalar_ranges())
    if len(scalars) > room:
        raise IncompleteKind(kind.kind, "the emulator", f"{len(scalars)} scalars, at most {room}")
    found = {name: i for i, name in enumerate(kind.parameter_names())}
    found |= {name: Column.SCALARS + i for i, name in enumerate(scalars)}
    found |= {state.name: i for i, state in enumerate(kind.states)}
    return IntEnum(kind.__name__, {name: int(place) for name, place in found.items()})


@inline_kernel
def operand(row: Any, values: Any, which: int, begin: int, end: int) -> Any:
    """Channels of an input; ``which``: ``Column.FIRST`` or ``Column.SECOND``."""
    return values[row[which] + begin : row[which] + end]


@inline_kernel
def result(row: Any, values: Any, begin: int, end: int) -> Any:
    """Channels of the result, to be written."""
    return values[row[Column.RESULT] + begin : row[Column.RESULT] + end]


@inline_kernel
def words(row: Any, arena: Any, where: int, place: int, begin: int, end: int) -> Any:
    """Channels of the vector number ``place``; ``where``: ``Column.PARAMETERS`` or ``STATE``."""
    offset = row[where] + place * row[Column.SIZE]
    return arena[offset + begin : offset + end]


_TokenShift, _Requantise = places(layers.TokenShift), places(layers.Requantise)
_LayerNorm, _Delay = places(layers.LayerNorm), places(layers.Delay)
_Sigmoid, _SquaredRelu = places(layers.Sigmoid), places(layers.SquaredRelu)
_Wkv, _Product, _Lif = places(layers.Wkv), places(layers.Product), places(layers.Lif)
_Residual, _VariedLif = places(layers.Residual), places(layers.VariedLif)
_P, _S = Column.PARAMETERS, Column.STATE


@instruction(layers.BinaryEmbedding, share=Share.TOKENS, table=lambda layer: layer.table)
def _binary_embedding(row, token, parameters, state, values, counters, begin, end):
    shape = (token + 1, row[Column.INPUT_SIZE])
    bits = carray(address_to_pointer(row[Column.ADDRESS]), shape, np.uint8)
    elementwise.binary_embedding(bits, token, result(row, values, begin, end))


@instruction(layers.RealEmbedding, share=Share.TOKENS, table=lambda layer: layer.table)
def _real_embedding(row, token, parameters, state, values, counters, begin, end):
    shape = (token + 1, row[Column.INPUT_SIZE])
    table = carray(address_to_pointer(row[Column.ADDRESS]), shape, np.int16)
    elementwise.real_embedding(table, token, result(row, values, begin, end))


@instruction(layers.LayerNorm, share=Share.TOKENS)
def _layer_norm(row, token, parameters, state, values, counters, begin, end):
    elementwise.layer_norm(
        operand(row, values, Column.FIRST, begin, end), row[_LayerNorm.input_shift],
        row[_LayerNorm.mean_multiplier], row[_LayerNorm.mean_shift], row[_LayerNorm.epsilon],
        words(row, parameters, _P, _LayerNorm.multiplier, begin, end),
        words(row, parameters, _P, _LayerNorm.shift, begin, end),
        words(row, parameters, _P, _LayerNorm.offset, begin, end),
        result(row, values, begin, end), counters,
    )  # fmt: skip
    elementwise.count_norm_events(
        operand(row, values, Column.FIRST, begin, end), row[_LayerNorm.input_shift],
        row[_LayerNorm.mean_multiplier], row[_LayerNorm.mean_shift], row[_LayerNorm.epsilon],
        counters[Count.SUM_EVENTS :],
    )  # fmt: skip


@instruction(layers.Delay)
def _delay(row, token, parameters, state, values, counters, begin, end):
    elementwise.delay(
        operand(row, values, Column.FIRST, begin, end),
        words(row, state, _S, _Delay.held, begin, end),
        result(row, values, begin, end),
    )


@instruction(layers.TokenShift)
def _token_shift(row, token, parameters, state, values, counters, begin, end):
    elementwise.token_shift(
        operand(row, values, Column.FIRST, begin, end),
        operand(row, values, Column.SECOND, begin, end),
        words(row, parameters, _P, _TokenShift.current_multiplier, begin, end),
        words(row, parameters, _P, _TokenShift.previous_multiplier, begin, end),
        words(row, parameters, _P, _TokenShift.shift, begin, end),
        row[Column.LOW], row[Column.HIGH], result(row, values, begin, end), counters,
    )  # fmt: skip


@instruction(layers.Requantise, layers.Readout)
def _requantise(row, token, parameters, state, values, counters, begin, end):
    elementwise.requantise(
        operand(row, values, Column.FIRST, begin, end),
        words(row, parameters, _P, _Requantise.multiplier, begin, end),
        words(row, parameters, _P, _Requantise.shift, begin, end),
        row[Column.LOW], row[Column.HIGH], result(row, values, begin, end), counters,
    )  # fmt: skip


@instruction(layers.Sigmoid)
def _sigmoid(row, token, parameters, state, values, counters, begin, end):
    elementwise.sigmoid_gate(
        operand(row, values, Column.FIRST, begin, end),
        words(row, parameters, _P, _Sigmoid.multiplier, begin, end),
        words(row, parameters, _P, _Sigmoid.shift, begin, end),
        result(row, values, begin, end),
        counters,
    )


@instruction(layers.SquaredRelu)
def _squared_relu(row, token, parameters, state, values, counters, begin, end):
    elementwise.squared_relu(
        operand(row, values, Column.FIRST, begin, end),
        words(row, parameters, _P, _SquaredRelu.multiplier, begin, end),
        words(row, parameters, _P, _SquaredRelu.shift, begin, end),
        row[_SquaredRelu.square_shift], row[Column.HIGH], result(row, values, begin, end), counters,
    )  # fmt: skip


@instruction(layers.Wkv)
def _wkv(row, token, parameters, state, values, counters, begin, end):
    wkv(
        operand(row, values, Column.FIRST, begin, end),
        operand(row, values, Column.SECOND, begin, end),
        words(row, parameters, _P, _Wkv.key_multiplier, begin, end),
        words(row, parameters, _P, _Wkv.key_shift, begin, end),
        words(row, parameters, _P, _Wkv.value_multiplier, begin, end),
        words(row, parameters, _P, _Wkv.value_shift, begin, end),
        words(row, parameters, _P, _Wkv.decay, begin, end),
        words(row, parameters, _P, _Wkv.first, begin, end),
        words(row, state, _S, _Wkv.numerator, begin, end),
        words(row, state, _S, _Wkv.denominator, begin, end),
        words(row, state, _S, _Wkv.exponent, begin, end),
        result(row, values, begin, end),
        counters,
    )


@instruction(layers.Product)
def _product(row, token, parameters, state, values, counters, begin, end):
    elementwise.product(
        operand(row, values, Column.FIRST, begin, end),
        operand(row, values, Column.SECOND, begin, end),
        words(row, parameters, _P, _Product.multiplier, begin, end),
        words(row, parameters, _P, _Product.shift, begin, end),
        row[Column.LOW], row[Column.HIGH], result(row, values, begin, end), counters,
    )  # fmt: skip


@instruction(layers.Lif)
def _lif(row, token, parameters, state, values, counters, begin, end):
    lif(
        operand(row, values, Column.FIRST, begin, end),
        words(row, parameters, _P, _Lif.multiplier, begin, end),
        words(row, parameters, _P, _Lif.shift, begin, end),
        words(row, parameters, _P, _Lif.offset, begin, end),
        row[_Lif.voltage_decay], row[_Lif.threshold], row[_Lif.bias], row[_Lif.levels],
        row[_Lif.soft_reset], words(row, state, _S, _Lif.v, begin, end),
        result(row, values, begin, end), counters,
    )  # fmt: skip


@instruction(layers.VariedLif)
def _varied_lif(row, token, parameters, state, values, counters, begin, end):
    varied_lif(
        operand(row, values, Column.FIRST, begin, end),
        words(row, parameters, _P, _VariedLif.multiplier, begin, end),
        words(row, parameters, _P, _VariedLif.shift, begin, end),
        words(row, parameters, _P, _VariedLif.offset, begin, end),
        words(row, parameters, _P, _VariedLif.voltage_decay, begin, end),
        row[_VariedLif.threshold], row[_VariedLif.bias], row[_VariedLif.levels],
        row[_VariedLif.soft_reset], words(row, state, _S, _VariedLif.v, begin, end),
        result(row, values, begin, end), counters,
    )  # fmt: skip


@instruction(layers.Residual)
def _residual(row, token, parameters, state, values, counters, begin, end):
    elementwise.residual(
        operand(row, values, Column.FIRST, begin, end),
        operand(row, values, Column.SECOND, begin, end),
        words(row, parameters, _P, _Residual.multiplier, begin, end),
        words(row, parameters, _P, _Residual.shift, begin, end),
        result(row, values, begin, end),
        counters,
    )


INSTRUCTIONS.add(
    layers.Dense,
    entry=Instruction(
        layers.Dense, None, Share.SYNAPSES, table=lambda layer: stored(layer.weight)[0],
        derived=lambda layer: layer.fan_out,
    ),
)  # fmt: skip
