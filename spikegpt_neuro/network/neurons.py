"""The kinds of neurons of a SpikeGPT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from spikegpt_neuro.arithmetic.formats import (
    DENOMINATOR_CAP,
    EMPTY_EXPONENT,
    EXPONENT_LIMIT,
    LARGEST_GATE,
    LARGEST_NORMALISED,
    LEAST_GATE,
    MEMBRANE_LIMIT,
    MEMORYLESS,
    MOST_COMPARED,
    RESULT_BITS,
    ROOT_LIMIT,
    VALUE_LIMIT,
    WEIGHT_ONE_BITS,
)
from spikegpt_neuro.network.elementwise import (
    Elementwise,
    multiplier_field,
    shift_field,
    vector_field,
)
from spikegpt_neuro.network.intervals import hull, rescaled, rescaled_channels
from spikegpt_neuro.network.registry import layer_kind
from spikegpt_neuro.network.schema import (
    WORD,
    Array,
    Layer,
    Range,
    State,
    array_field,
    scalar_field,
)

LARGEST_NORM = 8192
"""Most channels of a layer norm: the sum of their squares stays below 2**62."""
NORM_INPUT_BITS = 24
"""Widest input of a layer norm, after its shift; see ``arithmetic.elementwise.layer_norm``."""


@layer_kind
@dataclass(frozen=True, eq=False)
class LayerNorm(Elementwise):
    """Layer normalisation, see ``arithmetic.elementwise.layer_norm``."""

    kind: ClassVar[str] = "layer_norm"
    output_bits: ClassVar[tuple[int, bool] | None] = (24, True)
    # the first three lines before ``once``, the others behind it
    equation: ClassVar[str] = """\
x = a << input_shift
total = total + x
squares = squares + x * x
t = scale_by_power(((a << input_shift) - mean) * root, drop)
s = clip(round_shift(t * multiplier, shift) + offset, -8388607, 8388607)"""
    once: ClassVar[str] = """\
mean = round_shift(total * mean_multiplier, mean_shift)
spread = squares - 2 * mean * total + size * mean * mean + epsilon
half_power = (bit_length(spread) - 31) >> 1
down = max(2 * half_power, 0)
up = max(-2 * half_power, 0)
root = reciprocal_square_root((spread >> down) << up)
drop = half_power + 11"""
    multiplier: Array = multiplier_field()
    shift: Array = shift_field()
    offset: Array = vector_field(24)
    input_shift: int = scalar_field(0, 16)
    mean_multiplier: int = scalar_field(1, 1 << 15)
    mean_shift: int = scalar_field(0, 40)
    epsilon: int = scalar_field(1, 1 << 60)

    def operand_problems(self, source: Layer) -> Iterator[str]:
        """See ``Layer.operand_problems``: the sums hold values of 24 bits."""
        bits = source.output.high.bit_length() + 1 + self.input_shift
        if bits > NORM_INPUT_BITS:
            yield f"{self.name}: normalises {bits} bits, at most {NORM_INPUT_BITS}"
        yield from super().operand_problems(source)

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``: whatever the input, it is normalised."""
        normalised = (-LARGEST_NORMALISED, LARGEST_NORMALISED)
        return hull(
            rescaled(normalised, m, s, o)
            for m, s, o in zip(
                self.multiplier.tolist(), self.shift.tolist(), self.offset.tolist(), strict=True
            )
        )

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.output.size > LARGEST_NORM:
            yield f"{self.name}: {self.output.size} channels, at most {LARGEST_NORM} can be normed"


@layer_kind
@dataclass(frozen=True, eq=False)
class Requantise(Elementwise):
    """Change of scale and payload."""

    kind: ClassVar[str] = "requantise"
    equation: ClassVar[str] = "s = clip(round_shift(a * multiplier, shift), low, high)"
    multiplier: Array = multiplier_field()
    shift: Array = shift_field()

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``."""
        return rescaled_channels(inputs[0], self.multiplier, self.shift)


@layer_kind
@dataclass(frozen=True, eq=False)
class Readout(Requantise):
    """Logits with one common scale from the head's accumulators."""

    kind: ClassVar[str] = "readout"


@layer_kind
@dataclass(frozen=True, eq=False)
class Sigmoid(Elementwise):
    """A gate from accumulators."""

    kind: ClassVar[str] = "sigmoid"
    output_bits: ClassVar[tuple[int, bool] | None] = (15, False)
    equation: ClassVar[str] = "s = sigmoid(round_shift(a * multiplier, shift))"
    multiplier: Array = multiplier_field()
    shift: Array = shift_field()

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``."""
        return LEAST_GATE, LARGEST_GATE


@layer_kind
@dataclass(frozen=True, eq=False)
class SquaredRelu(Elementwise):
    """Squared ReLU from accumulators."""

    kind: ClassVar[str] = "squared_relu"
    sparse: ClassVar[bool] = True
    equation: ClassVar[str] = """\
h = clip(round_shift(a * multiplier, shift), 0, 1048575)
s = min(round_shift(h * h, square_shift), high)"""
    multiplier: Array = multiplier_field()
    shift: Array = shift_field()
    square_shift: int = scalar_field(0, 40)

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``."""
        ends = rescaled_channels(inputs[0], self.multiplier, self.shift)
        low, high = (min(max(end, 0), ROOT_LIMIT) for end in ends)
        return rescaled((low * low, high * high), 1, self.square_shift)


@layer_kind
@dataclass(frozen=True, eq=False)
class Wkv(Elementwise):
    """The SRWKV recurrence; inputs are the key's and the value's accumulators."""

    kind: ClassVar[str] = "wkv"
    output_bits: ClassVar[tuple[int, bool] | None] = (16, True)
    input_count: ClassVar[int] = 2
    states: ClassVar[tuple[State, ...]] = (
        State("numerator", -WORD, WORD),
        State("denominator", 0, DENOMINATOR_CAP - 1),
        State("exponent", -EXPONENT_LIMIT, EXPONENT_LIMIT, EMPTY_EXPONENT),
    )
    equation: ClassVar[str] = """\
k = clip(round_shift(a * key_multiplier, key_shift), -8388607, 8388607)
value = clip(round_shift(b * value_multiplier, value_shift), -2047, 2047)
boosted = clip(k + first, -8388607, 8388607)
ahead = exponent - boosted
part = exp2(-abs(ahead))
past = 32768 if ahead >= 0 else part
present = part if ahead >= 0 else 32768
total = past * numerator + ((present * value) << 16)
weight = past * denominator + (present << 16)
scale = bit_length(weight) - 16
s = round_shift((total >> scale) * reciprocal(weight >> scale), 27)
decayed = max(exponent + decay, -8388607)
ahead = decayed - k
part = exp2(-abs(ahead))
past = 32768 if ahead >= 0 else part
present = part if ahead >= 0 else 32768
top = max(decayed, k)
numerator = round_shift(past * numerator + ((present * value) << 16), 15)
denominator = round_shift(past * denominator + (present << 16), 15)
full = denominator >= 1048576
numerator = round_shift(numerator, 1) if full else numerator
denominator = round_shift(denominator, 1) if full else denominator
exponent = min(top + 65536, 8388607) if full else top"""
    key_multiplier: Array = multiplier_field()
    key_shift: Array = shift_field()
    value_multiplier: Array = multiplier_field()
    value_shift: Array = shift_field()
    decay: Array = array_field("int32", "n", -(1 << 23) + 1, 0)
    first: Array = vector_field(24)

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``: an average of values, and the reciprocal's error of 2**-15."""
        limit = (VALUE_LIMIT << RESULT_BITS) + 2
        return -limit, limit

    def state_problems(self, values: Array) -> Iterator[str]:
        """See ``Layer.state_problems``: a token of weight one is in every denominator."""
        yield from super().state_problems(values)
        numerator, denominator, exponent = values.reshape(3, -1)
        empty = (numerator == 0) & (denominator == 0) & (exponent == EMPTY_EXPONENT)
        filled = (denominator >= 1 << WEIGHT_ONE_BITS) & (denominator < DENOMINATOR_CAP)
        if not (empty | filled).all():
            yield f"{self.name}: denominators outside 2**16..2**20"


@layer_kind
@dataclass(frozen=True, eq=False)
class Product(Elementwise):
    """Gate times value, requantised."""

    kind: ClassVar[str] = "product"
    input_count: ClassVar[int] = 2
    driver: ClassVar[int] = 1
    equation: ClassVar[str] = "s = clip(round_shift(a * b * multiplier, shift), low, high)"
    multiplier: Array = multiplier_field()
    shift: Array = shift_field()

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``."""
        corners = [a * b for a in inputs[0] for b in inputs[1]]
        return rescaled_channels((min(corners), max(corners)), self.multiplier, self.shift)


@dataclass(frozen=True, eq=False)
class LifNeurons(Elementwise):
    """Base of leaky integrate-and-fire neurons: the decay is one number, or one a channel."""

    fires: ClassVar[bool] = True
    sparse: ClassVar[bool] = True
    fixed_neuron: ClassVar[bool] = True
    states: ClassVar[tuple[State, ...]] = (State("v", -MEMBRANE_LIMIT, MEMBRANE_LIMIT),)
    equation: ClassVar[str] = """\
current = clip(round_shift(a * multiplier, shift) + offset, -131071, 131071)
wide = leak(v, 4096 - voltage_decay) + (current << 6) + bias
v = clip(wide, -8388607, 8388607)
s = levels_above(v, threshold << 6, levels)
left = v - s * (threshold << 6) if soft_reset else 0
v = left if s > 0 else v"""
    multiplier: Array = multiplier_field()
    shift: Array = shift_field()
    offset: Array = vector_field(24)
    voltage_decay: Any = scalar_field(0, 4096)
    threshold: int = scalar_field(1, (1 << 17) - 1)
    bias: int = scalar_field(-(1 << 12), (1 << 12) - 1)
    levels: int = scalar_field(1, 15)
    soft_reset: int = scalar_field(0, 1)

    @property
    def is_biased(self) -> bool:
        """See ``Layer.is_biased``."""
        return self.bias != 0

    @property
    def levels_compared(self) -> int:
        """See ``Layer.levels_compared`` and ``arithmetic.lif.fire``."""
        shifts = self.levels > MOST_COMPARED and self.threshold & (self.threshold - 1) == 0
        return 0 if shifts else self.levels

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``."""
        return 0, self.levels

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.output.high < self.levels:
            yield f"{self.name}: {self.levels} levels do not fit {self.output.bits} output bits"


@layer_kind
@dataclass(frozen=True, eq=False)
class Lif(LifNeurons):
    """Leaky integrate-and-fire neurons, see ``arithmetic.lif``."""

    kind: ClassVar[str] = "lif"
    memoryless_equation: ClassVar[str] = """\
current = clip(round_shift(a * multiplier, shift) + offset, -131071, 131071)
h = clip((current << 6) + bias, -8388607, 8388607)
s = levels_above(h, threshold << 6, levels)"""
    voltage_decay: int = scalar_field(0, MEMORYLESS)

    @property
    def is_memoryless(self) -> bool:
        """Whether all of the membrane potential leaks away between two tokens."""
        return self.voltage_decay == MEMORYLESS

    @property
    def performed(self) -> str:
        """See ``Layer.performed``: nothing leaks from or resets what is not kept."""
        return self.memoryless_equation if self.is_memoryless else self.equation

    @property
    def carried_words(self) -> int:
        """See ``Layer.carried_words``."""
        return 0 if self.is_memoryless else self.state_words


@layer_kind
@dataclass(frozen=True, eq=False)
class Residual(Elementwise):
    """Stream plus rescaled branch."""

    kind: ClassVar[str] = "residual"
    output_bits: ClassVar[tuple[int, bool] | None] = (24, True)
    input_count: ClassVar[int] = 2
    driver: ClassVar[int] = 1
    equation: ClassVar[str] = "s = clip(a + round_shift(b * multiplier, shift), -8388607, 8388607)"
    multiplier: Array = multiplier_field()
    shift: Array = shift_field()

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``."""
        low, high = rescaled_channels(inputs[1], self.multiplier, self.shift)
        return inputs[0][0] + low, inputs[0][1] + high
