"""What brings values in and on in a stock NetX chain: rasters, synapses, delays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from spikegpt_neuro.arithmetic.formats import STATE_LIMIT
from spikegpt_neuro.network.intervals import sum_range
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

LARGEST_WEIGHT = 256
"""NetX weights are 9 bits signed, even where they have both signs."""
GEOMETRY = (
    "input channels", "input height", "input width",
    "output channels", "output height", "output width",
    "kernel height", "kernel width", "stride down", "stride across", "padding down",
    "padding across", "dilation down", "dilation across", "groups",
)  # fmt: skip
"""The numbers that describe a convolution, in the order of ``NetxConvolution.geometry``."""
LONGEST_DELAY = 62
DENDRITE_BITS = 24
"""Accumulators of stock synapses, which declare no width of their own."""


def weights_field(shape: str) -> Any:
    """NetX's weights."""
    return array_field("int16", shape, -LARGEST_WEIGHT, LARGEST_WEIGHT)


def netx_weight_bits(weight: Array) -> int:
    """Bits of NetX's weights: one exponent a layer, and a sign bit only where both signs occur."""
    scaled = weight >> trailing_zeros(weight)
    low, high = int(scaled.min()), int(scaled.max())
    if low < 0 < high:
        return 1 + max((~low).bit_length(), high.bit_length())
    return max(-low, high).bit_length()


def trailing_zeros(weight: Array) -> int:
    """Power of two that divides all weights."""
    joined = int(np.bitwise_or.reduce(weight, axis=None))
    return (joined & -joined).bit_length() - 1 if joined else 0


@dataclass(frozen=True, eq=False)
class NetxWeights(Layer):
    """Base of everything with NetX's weights."""

    weight: Array

    @property
    def rows(self) -> Array | None:
        """See ``Layer.rows``."""
        return self.weight

    @property
    def weight_width(self) -> int:
        """See ``Layer.weight_width``."""
        return netx_weight_bits(self.weight)

    @property
    def sum_bits(self) -> int:
        """See ``Layer.sum_bits``: that of stock dendrites."""
        return DENDRITE_BITS


@dataclass(frozen=True, eq=False)
class _Still(Layer):
    """Base of the layers that are no neurons: they keep nothing and compute nothing a channel."""

    input_count: ClassVar[int] = 1
    driver: ClassVar[int] = 0
    fires: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    fixed_neuron: ClassVar[bool] = False
    states: ClassVar[tuple[State, ...]] = ()
    equation: ClassVar[str] = ""


@layer_kind
@dataclass(frozen=True, eq=False)
class RasterInput(_Still):
    """Spikes or integers from outside, one vector a time step; nothing is computed."""

    kind: ClassVar[str] = "raster_input"
    input_count: ClassVar[int] = 0
    output_bits: ClassVar[tuple[int, bool] | None] = None
    chip_role: ClassVar[Role] = "input"

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``: whatever the port lets in."""
        return self.output.range


@layer_kind
@dataclass(frozen=True, eq=False)
class NetxDense(NetxWeights, _Still):
    """Dense synapses with NetX's 9-bit weights: ``accumulator[j] = sum_k weight[j, k] * x[k]``."""

    kind: ClassVar[str] = "netx_dense"
    output_bits: ClassVar[tuple[int, bool] | None] = (32, True)
    chip_role: ClassVar[Role] = "synapse"
    weight: Array = weights_field("n m")

    @property
    def operand_size(self) -> int:
        """See ``Layer.operand_size``."""
        return int(self.weight.shape[-1])

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``; beyond 32 bits sums wrap."""
        return _unless_wrapped(sum_range(self.weight, inputs[0]), WORD)


def _unless_wrapped(found: Range, limit: int) -> Range:
    """``found`` where no sum can wrap, else everything that wrapping leaves."""
    inside = -limit <= found[0] and found[1] <= limit
    return found if inside else (-limit - 1, limit)


def _positions_inside(
    size: int, places: int, kernel: int, stride: int, padding: int, dilation: int
) -> int:
    """Pairs of a place and a tap of the kernel where 0 <= place*stride - padding + tap*dilation
    < size, on one axis: for each tap the places between two quotients, limited to those there are.
    """
    taps = padding - dilation * np.arange(kernel, dtype=np.int64)
    first = np.clip(-(-taps // stride), 0, places)
    end = np.clip(-(-(taps + size) // stride), 0, places)
    return int(np.maximum(end - first, 0).sum())


@layer_kind
@dataclass(frozen=True, eq=False)
class NetxConvolution(NetxWeights, _Still):
    """Convolution; ``weight`` [O, I / groups, kh, kw], flat."""

    kind: ClassVar[str] = "netx_convolution"
    output_bits: ClassVar[tuple[int, bool] | None] = (24, True)
    chip_role: ClassVar[Role] = "synapse"
    weight: Array = weights_field("w")
    geometry: Array = array_field("int32", "g", 0, 1 << 20)

    @property
    def operand_size(self) -> int:
        """See ``Layer.operand_size``."""
        return int(self.geometry[0] * self.geometry[1] * self.geometry[2])

    @property
    def rows(self) -> Array | None:
        """See ``Layer.rows``: an output channel's kernel, each position counted as a synapse."""
        return self.weight.reshape(int(self.geometry[3]), -1)

    @property
    def products(self) -> int:
        """See ``Layer.products``; positions of the kernel outside the input are none."""
        inside = [
            _positions_inside(*map(int, self.geometry[[axis + k for k in (1, 4, 6, 8, 10, 12)]]))
            for axis in (0, 1)
        ]
        channels = int(self.geometry[0] // self.geometry[14] * self.geometry[3])
        return channels * inside[0] * inside[1]

    @property
    def parameter_words(self) -> int:
        """None: the geometry is how the synapses are connected."""
        return 0

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``: part of a kernel may lie outside the input; 24 bits wrap."""
        low, high = inputs[0]
        rows = self.weight.reshape(int(self.geometry[3]), -1)
        return _unless_wrapped(sum_range(rows, (min(low, 0), max(high, 0))), STATE_LIMIT - 1)

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.geometry.shape != (len(GEOMETRY),):
            yield f"{self.name}/geometry: {self.geometry.size} numbers, must be {len(GEOMETRY)}"
            return
        c, h, w, oc, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, groups = map(int, self.geometry)
        if min(c, h, w, oc, oh, ow, kh, kw, sh, sw, dh, dw, groups) < 1:
            yield f"{self.name}/geometry: only padding may be 0"
            return
        if c % groups or oc % groups:
            yield f"{self.name}: {groups} groups do not divide {c} and {oc} channels"
        elif self.weight.size != oc * (c // groups) * kh * kw:
            yield f"{self.name}/weight: {self.weight.size} weights do not fit the geometry"
        expected = (oc, (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1,
                    (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1)  # fmt: skip
        if (oc, oh, ow) != expected or self.output.size != oc * oh * ow:
            yield f"{self.name}: output {(oc, oh, ow)}, the convolution gives {expected}"


@layer_kind
@dataclass(frozen=True, eq=False)
class ChannelDelay(_Still):
    """A delay of its own for each channel, 0..``depth`` time steps."""

    kind: ClassVar[str] = "channel_delay"
    output_bits: ClassVar[tuple[int, bool] | None] = None
    chip_role: ClassVar[Role] = "wiring"
    delay: Array = array_field("int32", "n", 0, LONGEST_DELAY)
    depth: int = scalar_field(1, LONGEST_DELAY)

    @property
    def state_words(self) -> int:
        """One vector a step of the longest delay."""
        return self.depth * self.output.size

    def initial_state(self) -> Array:
        """See ``Layer.initial_state``: nothing is on its way."""
        return np.zeros(self.state_words, np.int32)

    def state_problems(self, values: Array) -> Iterator[str]:
        """See ``Layer.state_problems``: what is on its way was sent."""
        limit = self.output.high
        for problem in State("line", -limit - 1, limit).problems(values):
            yield f"{self.name}: {problem}"

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``: 0 at first."""
        return min(inputs[0][0], 0), max(inputs[0][1], 0)

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.delay.size and int(self.delay.max()) > self.depth:
            yield f"{self.name}/delay: {self.delay.max()}, the line is {self.depth} deep"
