"""The kinds of layers that bring values in and on: embeddings, delays, token shifts, synapses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from spikegpt_neuro.arithmetic.packed import stored
from spikegpt_neuro.network.elementwise import Elementwise, multiplier_field, shift_field
from spikegpt_neuro.network.intervals import hull, rescaled, sum_range
from spikegpt_neuro.network.registry import layer_kind
from spikegpt_neuro.network.schema import (
    WORD,
    Array,
    Layer,
    Range,
    Role,
    State,
    array_field,
    scalar_field,
)

ACCUMULATOR_LIMIT = WORD
"""Backends add in int32; a dense layer whose proven bound exceeds this is refused."""
OPERAND_LIMIT = (1 << 15) - 1
"""Operands that synapses walk densely are at most 16 bits signed."""
WIDEST_OPERAND = (1 << 23) - 1
"""Wider ones, up to the 24 bits of a chip's graded spikes, are walked event by event."""


@dataclass(frozen=True, eq=False)
class Embedding(Layer):
    """Base of the layers that read the token."""

    input_count: ClassVar[int] = 1
    driver: ClassVar[int] = 0
    chip_role: ClassVar[Role] = "input"
    fires: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    fixed_neuron: ClassVar[bool] = False
    states: ClassVar[tuple[State, ...]] = ()
    equation: ClassVar[str] = ""
    table: Array

    def operand_problems(self, source: Layer) -> Iterator[str]:
        """See ``Layer.operand_problems``: an embedding reads the token only."""
        yield f"{self.name}: an embedding reads the token, not {source.name}"


@layer_kind
@dataclass(frozen=True, eq=False)
class BinaryEmbedding(Embedding):
    """One row of bits per token: bit = embedding weight >= 0."""

    kind: ClassVar[str] = "binary_embedding"
    output_bits: ClassVar[tuple[int, bool] | None] = (1, False)
    table: Array = array_field("uint8", "v bytes", 0, 255)

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.table.ndim == 2 and self.table.shape[1] != (self.output.size + 7) // 8:
            yield f"{self.name}/table: {self.table.shape[1]} bytes a row, {self.output.size} bits"

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``."""
        return 0, 1


@layer_kind
@dataclass(frozen=True, eq=False)
class RealEmbedding(Embedding):
    """One row of int16 values per token."""

    kind: ClassVar[str] = "real_embedding"
    output_bits: ClassVar[tuple[int, bool] | None] = (16, True)
    table: Array = array_field("int16", "v n", -(1 << 15), (1 << 15) - 1)

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``."""
        return int(self.table.min()), int(self.table.max())

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.table.ndim == 2 and self.table.shape[1] != self.output.size:
            yield f"{self.name}/table: rows of {self.table.shape[1]}, must be {self.output.size}"


@layer_kind
@dataclass(frozen=True, eq=False)
class Delay(Elementwise):
    """The vector of the previous token (an axonal delay)."""

    kind: ClassVar[str] = "delay"
    fixed_neuron: ClassVar[bool] = True
    states: ClassVar[tuple[State, ...]] = (State("held", -WORD, WORD),)
    equation: ClassVar[str] = "s = held\nheld = a"

    @property
    def forwards(self) -> bool:
        """See ``Layer.forwards``."""
        return True

    def operand_problems(self, source: Layer) -> Iterator[str]:
        """See ``Layer.operand_problems``."""
        if source.output != self.output:
            yield f"{self.name}: a delay's output must be like its input's"
        yield from super().operand_problems(source)

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``: 0 at the first token."""
        return min(inputs[0][0], 0), max(inputs[0][1], 0)

    def state_problems(self, values: Array) -> Iterator[str]:
        """See ``Layer.state_problems``: what is held is sent."""
        limit = self.output.high
        for problem in State("held", -limit, limit).problems(values):
            yield f"{self.name}: {problem}"


@layer_kind
@dataclass(frozen=True, eq=False)
class TokenShift(Elementwise):
    """Mix of this token's and the previous token's vector, quantised to the payload."""

    kind: ClassVar[str] = "token_shift"
    input_count: ClassVar[int] = 2
    equation: ClassVar[str] = """\
mixed = a * current_multiplier + b * previous_multiplier
s = clip(round_shift(mixed, shift), low, high)"""
    current_multiplier: Array = multiplier_field()
    previous_multiplier: Array = multiplier_field()
    shift: Array = shift_field()

    @cached_property
    def is_hard(self) -> bool:
        """True when each channel is just one of the two operands: a delay, no arithmetic."""
        current, previous = self.current_multiplier, self.previous_multiplier
        return bool(
            (self.shift == 0).all()
            and ((current == 0) | (current == 1)).all()
            and (current + previous == 1).all()
        )

    @property
    def role(self) -> Role:
        """A hard shift only selects axons."""
        return "wiring" if self.is_hard else self.chip_role

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``."""
        if self.is_hard:
            return hull(inputs)
        found = []
        for m, p, s in zip(
            self.current_multiplier.tolist(),
            self.previous_multiplier.tolist(),
            self.shift.tolist(),
            strict=True,
        ):
            ends = [[x * factor for x in r] for r, factor in zip(inputs, (m, p), strict=True)]
            mixed = (sum(map(min, ends)), sum(map(max, ends)))
            found.append(rescaled(mixed, 1, s))
        return hull(found)

    def input_shares(self) -> tuple[float, ...]:
        """See ``Layer.input_shares``."""
        current = float((self.current_multiplier == 1).mean())
        return current, 1 - current

    def operations(self) -> dict[str, int]:
        """None for a hard shift, which is routing."""
        return {} if self.is_hard else super().operations()


@layer_kind
@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """Synapses: ``accumulator[j] = sum_k weight[j, k] * x[k]``.

    ``accumulator_bits``: signed width beyond which an accumulator counts as an overflow.
    """

    kind: ClassVar[str] = "dense"
    input_count: ClassVar[int] = 1
    driver: ClassVar[int] = 0
    output_bits: ClassVar[tuple[int, bool] | None] = (32, True)
    chip_role: ClassVar[Role] = "synapse"
    fires: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    fixed_neuron: ClassVar[bool] = False
    states: ClassVar[tuple[State, ...]] = ()
    equation: ClassVar[str] = ""
    counts_overflows: ClassVar[bool] = True
    weight: Array = array_field("int8", "n m", -127, 127)
    accumulator_bits: int = scalar_field(8, 32)

    @property
    def operand_size(self) -> int:
        """See ``Layer.operand_size``."""
        return int(self.weight.shape[-1])

    @property
    def weight_bits(self) -> int:
        """Bits a weight is stored in: 2 (ternary) to 8."""
        return stored(self.weight)[1]

    @property
    def rows(self) -> Array | None:
        """See ``Layer.rows``."""
        return self.weight

    @property
    def weight_width(self) -> int:
        """See ``Layer.weight_width``."""
        return max(abs(int(self.weight.min())), abs(int(self.weight.max()))).bit_length() + 1

    @property
    def sum_bits(self) -> int:
        """See ``Layer.sum_bits``."""
        return self.accumulator_bits

    @cached_property
    def fan_out(self) -> Array:
        """``fan_out[k]``: non-zero weights of input k; int32 [m], read-only."""
        counts = np.zeros(self.weight.shape[1], np.int32)
        for begin in range(0, self.weight.shape[0], 255):  # so many that a byte holds their count
            rows = self.weight[begin : begin + 255] != 0
            counts += np.add.reduce(rows.view(np.uint8), axis=0, dtype=np.uint8)
        counts.flags.writeable = False
        return counts

    def operand_problems(self, source: Layer) -> Iterator[str]:
        """See ``Layer.operand_problems``: operands have 24 bits, accumulators 32."""
        if source.output.high > WIDEST_OPERAND:
            yield f"{self.name}: operands of {source.output.bits} bits, at most 24 signed"
        elif self.weight.ndim == 2 and self.weight.dtype == np.int8:
            operand = source.output.high
            # the weights are only read where their number leaves it open
            if (
                128 * operand * self.operand_size > ACCUMULATOR_LIMIT
                and self.largest_row_sum * operand > ACCUMULATOR_LIMIT
            ):
                yield (
                    f"{self.name}: sums up to {self.largest_row_sum * operand}, "
                    f"allowed 0..{ACCUMULATOR_LIMIT}"
                )
        yield from super().operand_problems(source)

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``."""
        return sum_range(self.weight, inputs[0])
