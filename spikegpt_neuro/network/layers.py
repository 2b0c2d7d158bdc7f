"""The typed layers of the integer network.

A layer is a frozen value: its name, the names of the layers it reads, integer arrays, and the port
it offers. What a layer computes is defined in ``spikegpt_neuro.arithmetic``; which layers make a
SpikeGPT is decided in ``converters``. The declarations here are also the file's schema
(``network/file.py``): every array states its dtype, shape and range once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

Payload = Literal["binary", "graded", "accumulator"]
Array = npt.NDArray[Any]

ACCUMULATOR_LIMIT = (1 << 31) - 1
"""Backends add in int32; a dense layer whose proven bound exceeds this is refused."""

LARGEST_NORM = 8192
"""Most channels of a layer norm: the sum of their squares stays below 2**62."""
NORM_INPUT_BITS = 24
"""Widest input of a layer norm, after its shift; see ``arithmetic.elementwise.layer_norm``."""


@dataclass(frozen=True)
class Port:
    """What a layer sends: ``size`` integers a token, each ``integer * scale`` in real numbers.

    ``payload``: ``binary`` spikes (0 or 1), ``graded`` spikes (integers of ``bits`` bits), or a
    synaptic ``accumulator`` (dendrite; stays inside the neuro core). ``scale`` is 0 where it
    differs from channel to channel (accumulators of per-row scaled weights).
    """

    size: int
    payload: Payload
    bits: int
    signed: bool
    scale: float

    @property
    def high(self) -> int:
        """Largest integer the port carries."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def low(self) -> int:
        """Smallest integer the port carries; symmetric for signed ports."""
        return -self.high if self.signed else 0

    def problems(self) -> Iterator[str]:
        """Everything wrong with the port, one phrase each. Integers must fit int32."""
        if self.size < 1:
            yield f"output size is {self.size}, must be >= 1"
        largest = 32 if self.signed else 31
        smallest = 2 if self.signed else 1
        if not smallest <= self.bits <= largest:
            yield f"output of {self.bits} bits, must be {smallest}..{largest}"
        if self.payload not in ("binary", "graded", "accumulator"):
            yield f"payload {self.payload!r}, must be binary, graded or accumulator"
        if self.payload == "binary" and (self.bits, self.signed) != (1, False):
            yield "a binary payload has 1 bit unsigned"
        if not np.isfinite(self.scale) or self.scale < 0:
            yield f"output scale is {self.scale}, must be finite and >= 0"


@dataclass(frozen=True)
class ArraySpec:
    """Declared dtype, shape (``n`` output size, ``m`` input size, ``v`` vocabulary) and range."""

    dtype: str
    shape: tuple[str, ...]
    low: int
    high: int


def array_field(dtype: str, shape: str, low: int, high: int) -> Any:
    """A layer's array, with the schema its file is checked against."""
    return field(metadata={"array": ArraySpec(dtype, tuple(shape.split()), low, high)})


def scalar_field(low: int, high: int) -> Any:
    """A layer's integer with its inclusive range."""
    return field(metadata={"scalar": (low, high)})


def _multiplier() -> Any:
    return array_field("int32", "n", -(1 << 15), 1 << 15)


def _shift() -> Any:
    return array_field("int32", "n", 0, 62)


def _vector(bits: int) -> Any:
    return array_field("int32", "n", -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


@dataclass(frozen=True, eq=False)
class Layer:
    """Base of all layers. ``inputs`` are layer names, in the order the operation takes them."""

    kind: ClassVar[str] = ""
    input_count: ClassVar[int] = 1
    state_words_per_channel: ClassVar[int] = 0
    operations_per_channel: ClassVar[Mapping[str, int]] = {}
    output_bits: ClassVar[tuple[int, bool] | None] = None
    """(bits, signed) of the output where the operation fixes them."""

    name: str
    inputs: tuple[str, ...]
    output: Port

    @classmethod
    def array_specs(cls) -> dict[str, ArraySpec]:
        """Declared arrays by field name."""
        return {f.name: f.metadata["array"] for f in fields(cls) if "array" in f.metadata}

    @classmethod
    def scalar_ranges(cls) -> dict[str, tuple[int, int]]:
        """Declared integer scalars by field name, with their inclusive range."""
        return {f.name: f.metadata["scalar"] for f in fields(cls) if "scalar" in f.metadata}

    @property
    def stage(self) -> str:
        """The stage the layer belongs to: ``embedding``, ``blocks.<i>.<part>`` or ``head``."""
        parts = self.name.split(".")
        return ".".join(parts[:3]) if parts[0] == "blocks" else parts[0]

    @property
    def operand_size(self) -> int:
        """Values the layer reads from each of its inputs."""
        return self.output.size

    @property
    def fan_in(self) -> int:
        """Synapses of the layer's own weights that end at one output channel, the most."""
        return 0

    @property
    def products(self) -> int:
        """Products a time step if every operand is non-zero; 0 without weights."""
        return self.fan_in * self.output.size

    @property
    def state_words(self) -> int:
        """Words of state carried from token to token."""
        return self.state_words_per_channel * self.output.size

    @property
    def parameter_words(self) -> int:
        """Per-channel constants held beside the neurons (weights are counted as weights)."""
        return sum(
            int(getattr(self, name).size)
            for name, spec in self.array_specs().items()
            if spec.dtype == "int32"
        )

    def operations(self) -> dict[str, int]:
        """Element-wise operations a token costs, by kind; the same every token.

        Kinds: ``add``, ``multiply``, ``shift``, ``compare``, ``table``. Counted from the equation
        in ``arithmetic`` with every clip as two compares.
        """
        return {kind: n * self.output.size for kind, n in self.operations_per_channel.items()}

    def problems(self) -> Iterator[str]:
        """Everything wrong with this layer's values, one sentence each."""
        n = self.output.size
        yield from (f"{self.name}: {problem}" for problem in self.output.problems())
        fixed = self.output_bits
        if fixed is not None and (self.output.bits, self.output.signed) != fixed:
            yield (
                f"{self.name}: output of {self.output.bits} bits, a {self.kind} gives {fixed[0]} "
                f"bits {'signed' if fixed[1] else 'unsigned'}"
            )
        if len(self.inputs) != self.input_count:
            yield f"{self.name}: {len(self.inputs)} inputs; a {self.kind} takes {self.input_count}"
        for name, spec in self.array_specs().items():
            values = getattr(self, name)
            if str(values.dtype) != spec.dtype:
                yield f"{self.name}/{name}: dtype {values.dtype}, must be {spec.dtype}"
            elif values.ndim != len(spec.shape) or (spec.shape[0] == "n" and values.shape[0] != n):
                yield f"{self.name}/{name}: shape {values.shape}, must be ({', '.join(spec.shape)})"
            elif values.size == 0:
                yield f"{self.name}/{name}: is empty"
            elif spec.dtype == "int32" and (
                int(values.min()) < spec.low or int(values.max()) > spec.high
            ):
                yield (
                    f"{self.name}/{name}: values {values.min()}..{values.max()}, "
                    f"allowed {spec.low}..{spec.high}"
                )
        for name, (low, high) in self.scalar_ranges().items():
            value = getattr(self, name)
            if not low <= value <= high:
                yield f"{self.name}/{name}: {value}, allowed {low}..{high}"


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

    ``fan_out[k]``: non-zero weights of input k. ``accumulator_bits``: signed width beyond which an
    accumulator counts as an overflow. ``bound``: proven largest |accumulator|, the largest row sum
    of |weight| times the operand's largest magnitude.
    """

    kind: ClassVar[str] = "dense"
    output_bits: ClassVar[tuple[int, bool] | None] = (32, True)
    weight: Array = array_field("int8", "n m", -127, 127)
    fan_out: Array = array_field("int32", "m", 0, (1 << 31) - 1)
    accumulator_bits: int = scalar_field(8, 32)
    bound: int = scalar_field(0, ACCUMULATOR_LIMIT)

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

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.weight.ndim == 2 and self.fan_out.shape != (self.weight.shape[1],):
            yield (
                f"{self.name}/fan_out: shape {self.fan_out.shape}, "
                f"must be ({self.weight.shape[1]},)"
            )


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
