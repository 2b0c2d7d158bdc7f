"""What every layer of the integer network declares, and how the declarations are checked.

A layer is a frozen value: its name, the names of the layers it reads, integer arrays, and the port
it offers. The declarations are also the file's schema (``network/file.py``): every array states its
dtype, shape and range once. The kinds of layers are in ``network/layers.py`` and
``network/slayer_layers.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

Payload = Literal["binary", "graded", "accumulator"]
Array = npt.NDArray[Any]
LARGEST_SIZE = 1 << 26
"""Most values of a port: what a session allocates for them is not in the file, so it is limited."""


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
        bits = min(self.bits, 64)  # a file may say any number; ``problems`` refuses beyond 32
        return (1 << max(bits - 1, 0)) - 1 if self.signed else (1 << max(bits, 0)) - 1

    @property
    def low(self) -> int:
        """Smallest integer the port carries; symmetric for signed ports."""
        return -self.high if self.signed else 0

    def problems(self) -> Iterator[str]:
        """Everything wrong with the port, one phrase each. Integers must fit int32."""
        if self.size < 1:
            yield f"output size is {self.size}, must be >= 1"
        if self.size > LARGEST_SIZE:
            yield f"output size is {self.size}, must be <= {LARGEST_SIZE}"
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
