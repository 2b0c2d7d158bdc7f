"""The kinds of layers that make a SpikeGPT.

What a layer computes is defined in ``spikegpt_neuro.arithmetic``; which layers make a SpikeGPT is
decided in ``converters``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from spikegpt_neuro.arithmetic.packed import stored
from spikegpt_neuro.network.schema import Array, Layer, array_field, scalar_field

ACCUMULATOR_LIMIT = (1 << 31) - 1
"""Backends add in int32; a dense layer whose proven bound exceeds this is refused."""

LARGEST_NORM = 8192
"""Most channels of a layer norm: the sum of their squares stays below 2**62."""
NORM_INPUT_BITS = 24
"""Widest input of a layer norm, after its shift; see ``arithmetic.elementwise.layer_norm``."""


def _multiplier() -> Any:
    return array_field("int32", "n", -(1 << 15), 1 << 15)


def _shift() -> Any:
    return array_field("int32", "n", 0, 62)


def _vector(bits: int) -> Any:
    return array_field("int32", "n", -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


@dataclass(frozen=True, eq=False)
class BinaryEmbedding(Layer):
    """One row of bits per token: bit = embedding weight >= 0."""

    kind: ClassVar[str] = "binary_embedding"
    output_bits: ClassVar[tuple[int, bool] | None] = (1, False)
    table: Array = array_field("uint8", "v bytes", 0, 255)

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.table.ndim == 2 and self.table.shape[1] != (self.output.size + 7) // 8:
            yield f"{self.name}/table: {self.table.shape[1]} bytes a row, {self.output.size} bits"


@dataclass(frozen=True, eq=False)
class RealEmbedding(Layer):
    """One row of int16 values per token."""

    kind: ClassVar[str] = "real_embedding"
    output_bits: ClassVar[tuple[int, bool] | None] = (16, True)
    table: Array = array_field("int16", "v n", -(1 << 15), (1 << 15) - 1)

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.table.ndim == 2 and self.table.shape[1] != self.output.size:
            yield f"{self.name}/table: rows of {self.table.shape[1]}, must be {self.output.size}"


@dataclass(frozen=True, eq=False)
class LayerNorm(Layer):
    """Layer normalisation, see ``arithmetic.elementwise.layer_norm``."""

    kind: ClassVar[str] = "layer_norm"
    output_bits: ClassVar[tuple[int, bool] | None] = (24, True)
    operations_per_channel: ClassVar[Mapping[str, int]] = {
        "add": 5, "multiply": 3, "shift": 5, "compare": 2,
    }  # fmt: skip
    multiplier: Array = _multiplier()
    shift: Array = _shift()
    offset: Array = _vector(24)
    input_shift: int = scalar_field(0, 16)
    mean_multiplier: int = scalar_field(1, 1 << 15)
    mean_shift: int = scalar_field(0, 40)
    epsilon: int = scalar_field(1, 1 << 60)

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.output.size > LARGEST_NORM:
            yield f"{self.name}: {self.output.size} channels, at most {LARGEST_NORM} can be normed"

    def operations(self) -> dict[str, int]:
        """Per-channel operations plus one reciprocal square root a token."""
        counts = super().operations()
        for kind, n in {"add": 3, "multiply": 4, "shift": 12, "compare": 6, "table": 1}.items():
            counts[kind] = counts.get(kind, 0) + n
        return counts


@dataclass(frozen=True, eq=False)
class Delay(Layer):
    """The vector of the previous token (an axonal delay)."""

    kind: ClassVar[str] = "delay"
    state_words_per_channel: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class TokenShift(Layer):
    """Mix of this token's and the previous token's vector, quantised to the payload."""

    kind: ClassVar[str] = "token_shift"
    input_count: ClassVar[int] = 2
    operations_per_channel: ClassVar[Mapping[str, int]] = {
        "add": 2, "multiply": 2, "shift": 1, "compare": 2,
    }  # fmt: skip
    current_multiplier: Array = _multiplier()
    previous_multiplier: Array = _multiplier()
    shift: Array = _shift()

    @property
    def is_hard(self) -> bool:
        """True when each channel is just one of the two operands: a delay, no arithmetic."""
        current, previous = self.current_multiplier, self.previous_multiplier
        return bool(
            (self.shift == 0).all()
            and ((current == 0) | (current == 1)).all()
            and (current + previous == 1).all()
        )

    def operations(self) -> dict[str, int]:
        """None for a hard shift, which is routing."""
        return {} if self.is_hard else super().operations()


@dataclass(frozen=True, eq=False)
class Requantise(Layer):
    """Change of scale and payload."""

    kind: ClassVar[str] = "requantise"
    operations_per_channel: ClassVar[Mapping[str, int]] = {
        "add": 1, "multiply": 1, "shift": 1, "compare": 2,
    }  # fmt: skip
    multiplier: Array = _multiplier()
    shift: Array = _shift()


@dataclass(frozen=True, eq=False)
class Readout(Requantise):
    """Logits with one common scale from the head's accumulators."""

    kind: ClassVar[str] = "readout"


@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """Synapses: ``accumulator[j] = sum_k weight[j, k] * x[k]``.

    ``accumulator_bits``: signed width beyond which an accumulator counts as an overflow. What
    follows from the weights is computed from them, never stored: ``fan_out``,
    ``largest_row_sum``, and with the operand's port the proven bound (``Network.bound``).
    """

    kind: ClassVar[str] = "dense"
    output_bits: ClassVar[tuple[int, bool] | None] = (32, True)
    weight: Array = array_field("int8", "n m", -127, 127)
    accumulator_bits: int = scalar_field(8, 32)

    @cached_property
    def fan_out(self) -> Array:
        """``fan_out[k]``: non-zero weights of input k; int32 [m], read-only."""
        counts = np.zeros(self.weight.shape[1], np.int32)
        for begin in range(0, self.weight.shape[0], 255):  # so many that a byte holds their count
            rows = self.weight[begin : begin + 255] != 0
            counts += np.add.reduce(rows.view(np.uint8), axis=0, dtype=np.uint8)
        counts.flags.writeable = False
        return counts

    @cached_property
    def largest_row_sum(self) -> int:
        """``max_j sum_k |weight[j, k]|``: times the largest operand, the largest accumulator."""
        largest = 0
        for begin in range(0, self.weight.shape[0], 256):  # a large layer is never copied whole
            rows = np.abs(self.weight[begin : begin + 256]).view(np.uint8)  # |-128| is 128 there
            largest = max(largest, int(rows.sum(axis=1, dtype=np.int64).max()))
        return largest

    @property
    def weight_bits(self) -> int:
        """Bits a weight is stored in: 2 (ternary) to 8."""
        return stored(self.weight)[1]

    @property
    def operand_size(self) -> int:
        """See ``Layer.operand_size``."""
        return int(self.weight.shape[-1])

    @property
    def fan_in(self) -> int:
        """See ``Layer.fan_in``."""
        return self.operand_size

    @property
    def parameter_words(self) -> int:
        """None: weights are counted as weights."""
        return 0


@dataclass(frozen=True, eq=False)
class Sigmoid(Layer):
    """A gate from accumulators."""

    kind: ClassVar[str] = "sigmoid"
    output_bits: ClassVar[tuple[int, bool] | None] = (15, False)
    operations_per_channel: ClassVar[Mapping[str, int]] = {
        "add": 5, "multiply": 2, "shift": 3, "compare": 2, "table": 2,
    }  # fmt: skip
    multiplier: Array = _multiplier()
    shift: Array = _shift()


@dataclass(frozen=True, eq=False)
class SquaredRelu(Layer):
    """Squared ReLU from accumulators."""

    kind: ClassVar[str] = "squared_relu"
    operations_per_channel: ClassVar[Mapping[str, int]] = {
        "add": 2, "multiply": 2, "shift": 2, "compare": 3,
    }  # fmt: skip
    multiplier: Array = _multiplier()
    shift: Array = _shift()
    square_shift: int = scalar_field(0, 40)


@dataclass(frozen=True, eq=False)
class Wkv(Layer):
    """The SRWKV recurrence; inputs are the key's and the value's accumulators."""

    kind: ClassVar[str] = "wkv"
    output_bits: ClassVar[tuple[int, bool] | None] = (16, True)
    input_count: ClassVar[int] = 2
    state_words_per_channel: ClassVar[int] = 3
    operations_per_channel: ClassVar[Mapping[str, int]] = {
        "add": 34, "multiply": 17, "shift": 31, "compare": 26, "table": 9,
    }  # fmt: skip
    key_multiplier: Array = _multiplier()
    key_shift: Array = _shift()
    value_multiplier: Array = _multiplier()
    value_shift: Array = _shift()
    decay: Array = array_field("int32", "n", -(1 << 23) + 1, 0)
    first: Array = _vector(24)


@dataclass(frozen=True, eq=False)
class Product(Layer):
    """Gate times value, requantised."""

    kind: ClassVar[str] = "product"
    input_count: ClassVar[int] = 2
    operations_per_channel: ClassVar[Mapping[str, int]] = {
        "add": 1, "multiply": 2, "shift": 1, "compare": 2,
    }  # fmt: skip
    multiplier: Array = _multiplier()
    shift: Array = _shift()


@dataclass(frozen=True, eq=False)
class Lif(Layer):
    """Leaky integrate-and-fire neurons, see ``arithmetic.lif``."""

    kind: ClassVar[str] = "lif"
    state_words_per_channel: ClassVar[int] = 1
    operations_per_channel: ClassVar[Mapping[str, int]] = {
        "add": 4, "multiply": 2, "shift": 3, "compare": 5,
    }  # fmt: skip
    multiplier: Array = _multiplier()
    shift: Array = _shift()
    offset: Array = _vector(24)
    voltage_decay: int = scalar_field(0, 4096)
    threshold: int = scalar_field(1, (1 << 17) - 1)
    bias: int = scalar_field(-(1 << 12), (1 << 12) - 1)
    levels: int = scalar_field(1, 15)
    soft_reset: int = scalar_field(0, 1)

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.output.high < self.levels:
            yield f"{self.name}: {self.levels} levels do not fit {self.output.bits} output bits"

    def operations(self) -> dict[str, int]:
        """One threshold comparison a level."""
        counts = super().operations()
        counts["compare"] += (self.levels - 1) * self.output.size
        return counts


@dataclass(frozen=True, eq=False)
class Residual(Layer):
    """Stream plus rescaled branch."""

    kind: ClassVar[str] = "residual"
    output_bits: ClassVar[tuple[int, bool] | None] = (24, True)
    input_count: ClassVar[int] = 2
    operations_per_channel: ClassVar[Mapping[str, int]] = {
        "add": 2, "multiply": 1, "shift": 1, "compare": 2,
    }  # fmt: skip
    multiplier: Array = _multiplier()
    shift: Array = _shift()


LAYER_KINDS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        BinaryEmbedding, RealEmbedding, LayerNorm, Delay, TokenShift, Requantise, Readout, Dense,
        Sigmoid, SquaredRelu, Wkv, Product, Lif, Residual,
    )
}  # fmt: skip
"""All layer classes by the ``kind`` they have in files, programs and reports."""
