"""What every layer of the integer network declares, and how the declarations are checked.

A layer is a frozen value: its name, the names of the layers it reads, integer arrays, and the port
it offers. The declarations are also the file's schema (``network/file.py``): every array states its
dtype, shape and range once. The kinds of layers are in ``network/layers.py`` and
``network/slayer_layers.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.equations import OPERATIONS, operations
from spikegpt_neuro.errors import IncompleteKind

Payload = Literal["binary", "graded", "accumulator"]
Role = Literal["synapse", "neuron", "wiring", "input"]
"""The part a layer plays on a chip. ``synapse``: weights, stored with the neurons they end at.
``neuron``: one neuron a channel (a token's delay is a neuron that holds a value). ``wiring``: what
axons and synapses do themselves. ``input``: sent in by the host."""
Array = npt.NDArray[Any]
LARGEST_SIZE = 1 << 26
"""Most values of a port: what a session allocates for them is not in the file, so it is limited."""
Range = tuple[int, int]
"""Least and largest integer."""
WORD = (1 << 31) - 1
"""Largest integer of the words that travel and that states are kept in."""


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

    @property
    def range(self) -> Range:
        """Least and largest integer the port carries."""
        return self.low, self.high

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

    def problems(self, values: Array, size: int) -> Iterator[str]:
        """What of ``values`` is not as declared in a layer of ``size`` outputs."""
        if str(values.dtype) != self.dtype:
            yield f"dtype {values.dtype}, must be {self.dtype}"
        elif values.ndim != len(self.shape) or (self.shape[0] == "n" and values.shape[0] != size):
            yield f"shape {values.shape}, must be ({', '.join(self.shape)})"
        elif values.size == 0:
            yield "is empty"
        elif not self._covers_dtype and (values.min() < self.low or values.max() > self.high):
            yield f"values {values.min()}..{values.max()}, allowed {self.low}..{self.high}"

    @property
    def _covers_dtype(self) -> bool:
        """Whether no value of the dtype is outside: mapped tables then need not be read."""
        limits = np.iinfo(self.dtype)
        return self.low <= limits.min and self.high >= limits.max


@dataclass(frozen=True)
class State:
    """A word every channel keeps from token to token: its range, and what it is at the start."""

    name: str
    low: int
    high: int
    initial: int = 0

    def problems(self, values: Array) -> Iterator[str]:
        """What of ``values`` no run can have left there."""
        if values.size and (values.min() < self.low or values.max() > self.high):
            yield f"{self.name} {values.min()}..{values.max()}, allowed {self.low}..{self.high}"


def array_field(dtype: str, shape: str, low: int, high: int) -> Any:
    """A layer's array, with the schema its file is checked against."""
    return field(metadata={"array": ArraySpec(dtype, tuple(shape.split()), low, high)})


def scalar_field(low: int, high: int) -> Any:
    """A layer's integer with its inclusive range."""
    return field(metadata={"scalar": (low, high)})


@dataclass(frozen=True, eq=False)
class Layer:
    """Base of all layers. ``inputs`` are layer names, in the order the operation takes them.

    A kind is a subclass decorated with ``network.registry.layer_kind``, which refuses one that
    does not say every fact below; there are no defaults that could be wrong for it
    (docs/adding-a-kind.md).
    """

    kind: ClassVar[str]
    """The kind's name in files, programs and reports."""
    input_count: ClassVar[int]
    driver: ClassVar[int]
    """Which of the inputs drives: its events are counted as the layer's input events."""
    output_bits: ClassVar[tuple[int, bool] | None]
    """(bits, signed) of the output where the operation fixes them, else None."""
    chip_role: ClassVar[Role]
    """See ``Role``; ``role`` is that of one layer."""
    fires: ClassVar[bool]
    """Whether it is neurons that integrate, fire, and are reset or held back."""
    fixed_neuron: ClassVar[bool]
    """Whether chips without neuron programs have it: an update costs what a LIF neuron's does."""
    sparse: ClassVar[bool]
    """Whether most of its values can be 0: synapses behind it are then walked event by event."""
    states: ClassVar[tuple[State, ...]]
    """The words of state of a channel, in order."""
    equation: ClassVar[str]
    """One update of one channel (``arithmetic.equations``): inputs ``a``, ``b``; result ``s``;
    states, arrays and scalars by their names, ``low`` and ``high`` of the output port. Empty where
    channels are not updated: synapses, wiring and inputs."""
    once: ClassVar[str] = ""
    """What is computed once a token for all channels, likewise."""

    counts_overflows: ClassVar[bool] = False
    """Whether sums beyond ``sum_bits`` are counted in a run; those of stock chains wrap."""

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

    @classmethod
    def parameter_names(cls) -> list[str]:
        """The arrays of 32-bit words, which are held beside the neurons."""
        return [name for name, spec in cls.array_specs().items() if spec.dtype == "int32"]

    @property
    def stage(self) -> str:
        """The stage the layer belongs to: ``embedding``, ``blocks.<i>.<part>`` or ``head``."""
        parts = self.name.split(".")
        return ".".join(parts[:3]) if parts[0] == "blocks" else parts[0]

    @property
    def role(self) -> Role:
        """The part this layer plays on a chip."""
        return self.chip_role

    @property
    def forwards(self) -> bool:
        """Whether the layer's values are those of its inputs, at most later."""
        return self.role == "wiring"

    def input_shares(self) -> tuple[float, ...]:
        """Of wiring: the share of channels that each input provides."""
        if self.input_count != 1:
            raise IncompleteKind(self.kind, "the traffic of spikes", where=self.name)
        return (1.0,)

    @property
    def driving_input(self) -> str:
        """Name of the layer whose events drive this one; a raster's are what it sends itself."""
        return self.inputs[self.driver] if self.inputs else self.name

    @property
    def operand_size(self) -> int:
        """Values the layer reads from each of its inputs."""
        return self.output.size

    @property
    def rows(self) -> Array | None:
        """The layer's own weights [outputs or channels, synapses of one], None without any."""
        return None

    @property
    def is_biased(self) -> bool:
        """Whether neurons move without input."""
        return False

    @property
    def weight_width(self) -> int:
        """Bits a target must hold of each weight; 0 without any."""
        return 0

    @property
    def receptive_field(self) -> tuple[int, ...] | None:
        """Of synapses that neurons of an image share: channels, rows, columns of input and output;
        kernel, stride, padding, dilation (rows, columns); groups. None where each has its own."""
        return None

    @property
    def sum_bits(self) -> int:
        """Signed width of the synapses' accumulators; 0 without any."""
        return 0

    @property
    def fan_in(self) -> int:
        """Synapses of the layer's own weights that end at one output channel, the most."""
        return 0 if self.rows is None else int(self.rows.shape[1])

    @property
    def products(self) -> int:
        """Products a time step if every operand is non-zero; 0 without weights."""
        return self.fan_in * self.output.size

    @cached_property
    def largest_row_sum(self) -> int:
        """``max_j sum_k |weight[j, k]|``: times the largest operand, the largest sum; 0 without
        weights."""
        rows = self.rows
        largest = 0
        for begin in range(0, 0 if rows is None else len(rows), 256):  # never copied whole
            part = np.abs(rows[begin : begin + 256].astype(np.int32))  # type: ignore[index]
            largest = max(largest, int(part.sum(axis=1, dtype=np.int64).max()))
        return largest

    @property
    def weight_count(self) -> int:
        """Weights the layer holds; 0 without synapses."""
        weight: Array | None = getattr(self, "weight", None)
        return 0 if weight is None else int(weight.size)

    @property
    def state_words(self) -> int:
        """Words of state carried from token to token."""
        return len(self.states) * self.output.size

    def initial_state(self) -> Array:
        """int32 [state words]: each word of ``states`` of all channels, one behind the other."""
        words = [state.initial for state in self.states]
        return np.repeat(np.array(words, np.int32), self.output.size)

    def state_problems(self, values: Array) -> Iterator[str]:
        """Why ``values`` (int32 [state words]) cannot be this layer's state, one phrase each."""
        parts = values.reshape(len(self.states), -1)
        for state, part in zip(self.states, parts, strict=True):
            yield from (f"{self.name}: {problem}" for problem in state.problems(part))

    @property
    def parameter_words(self) -> int:
        """Per-channel constants held beside the neurons (weights are counted as weights)."""
        return sum(int(getattr(self, name).size) for name in self.parameter_names())

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """Least and largest value the layer can compute from values within ``inputs``, before its
        port clips: interval arithmetic over its parameters."""
        raise IncompleteKind(self.kind, "the proof of ranges", where=self.name)

    @property
    def levels_compared(self) -> int:
        """How often ``levels_above`` of the equation compares; 0: it shifts instead."""
        return 1

    @property
    def performed(self) -> str:
        """``equation`` without what this layer's parameters make nothing of."""
        return self.equation

    @property
    def carried_words(self) -> int:
        """Words of state that an update reads of the one before: fewer than ``state_words`` where
        ``performed`` reads none."""
        return self.state_words

    def operations(self) -> dict[str, int]:
        """Element-wise operations a token costs, by kind; the same every token.

        ``performed`` for every channel and ``once``, counted by
        ``arithmetic.equations.operations``. Kinds that do not occur are left out.
        """
        constants = frozenset({*self.array_specs(), *self.scalar_ranges(), "low", "high", "size"})
        each = operations(self.performed, constants, self.levels_compared)
        once = operations(self.once, constants)
        counts = {kind: each[kind] * self.output.size + once[kind] for kind in OPERATIONS}
        return {kind: count for kind, count in counts.items() if count}

    def operand_problems(self, source: Layer) -> Iterator[str]:
        """What is wrong with reading ``source``, one sentence each."""
        if source.output.size != self.operand_size:
            yield f"{self.name}: reads {source.output.size} values, must be {self.operand_size}"

    def problems(self) -> Iterator[str]:
        """Everything wrong with this layer's values, one sentence each."""
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
            yield from (
                f"{self.name}/{name}: {problem}"
                for problem in spec.problems(getattr(self, name), self.output.size)
            )
        for name, (low, high) in self.scalar_ranges().items():
            value = getattr(self, name)
            if not low <= value <= high:
                yield f"{self.name}/{name}: {value}, allowed {low}..{high}"
