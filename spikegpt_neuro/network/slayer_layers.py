"""The layers of stock NetX chains, as made with SLAYER; see ``arithmetic.slayer_neurons``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from spikegpt_neuro.network.layers import LAYER_KINDS
from spikegpt_neuro.network.schema import Array, Layer, array_field, scalar_field

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


def _weights(shape: str) -> Any:
    return array_field("int16", shape, -LARGEST_WEIGHT, LARGEST_WEIGHT)


@dataclass(frozen=True, eq=False)
class RasterInput(Layer):
    """Spikes or integers from outside, one vector a time step; nothing is computed."""

    kind: ClassVar[str] = "raster_input"
    input_count: ClassVar[int] = 0


@dataclass(frozen=True, eq=False)
class NetxDense(Layer):
    """Dense synapses with NetX's 9-bit weights: ``accumulator[j] = sum_k weight[j, k] * x[k]``."""

    kind: ClassVar[str] = "netx_dense"
    output_bits: ClassVar[tuple[int, bool] | None] = (32, True)
    weight: Array = _weights("n m")

    @property
    def operand_size(self) -> int:
        """See ``Layer.operand_size``."""
        return int(self.weight.shape[-1])

    @property
    def fan_in(self) -> int:
        """See ``Layer.fan_in``."""
        return self.operand_size


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


@dataclass(frozen=True, eq=False)
class NetxConvolution(Layer):
    """Convolution; ``weight`` [O, I / groups, kh, kw], flat."""

    kind: ClassVar[str] = "netx_convolution"
    output_bits: ClassVar[tuple[int, bool] | None] = (24, True)
    weight: Array = _weights("w")
    geometry: Array = array_field("int32", "g", 0, 1 << 20)

    @property
    def operand_size(self) -> int:
        """See ``Layer.operand_size``."""
        return int(self.geometry[0] * self.geometry[1] * self.geometry[2])

    @property
    def fan_in(self) -> int:
        """See ``Layer.fan_in``: an output channel's kernel, each position counted as a synapse."""
        return int(self.weight.size // self.geometry[3])

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
        """None: weights are counted as weights."""
        return 0

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


@dataclass(frozen=True, eq=False)
class ChannelDelay(Layer):
    """A delay of its own for each channel, 0..``depth`` time steps."""

    kind: ClassVar[str] = "channel_delay"
    delay: Array = array_field("int32", "n", 0, LONGEST_DELAY)
    depth: int = scalar_field(1, LONGEST_DELAY)

    @property
    def state_words(self) -> int:
        """One vector a step of the longest delay."""
        return self.depth * self.output.size

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.delay.size and int(self.delay.max()) > self.depth:
            yield f"{self.name}/delay: {self.delay.max()}, the line is {self.depth} deep"


@dataclass(frozen=True, eq=False)
class Cuba(Layer):
    """Current-based LIF neurons with current and voltage decay."""

    kind: ClassVar[str] = "cuba"
    output_bits: ClassVar[tuple[int, bool] | None] = (1, False)
    state_words_per_channel: ClassVar[int] = 2
    operations_per_channel: ClassVar[Mapping[str, int]] = {
        "add": 5, "multiply": 2, "shift": 4, "compare": 7,
    }  # fmt: skip
    bias: Array = array_field("int32", "n", -(1 << 15), (1 << 15) - 1)
    current_decay: int = scalar_field(0, 4096)
    voltage_decay: int = scalar_field(0, 4096)
    threshold: int = scalar_field(0, 1 << 17)


@dataclass(frozen=True, eq=False)
class Alif(Cuba):
    """Adaptive LIF neurons: a threshold and a refractory state that spikes raise."""

    kind: ClassVar[str] = "alif"
    state_words_per_channel: ClassVar[int] = 4
    operations_per_channel: ClassVar[Mapping[str, int]] = {
        "add": 11, "multiply": 4, "shift": 6, "compare": 9,
    }  # fmt: skip
    threshold_decay: int = scalar_field(0, 4096)
    refractory_decay: int = scalar_field(0, 4096)
    threshold_step: int = scalar_field(0, 1 << 17)


@dataclass(frozen=True, eq=False)
class _Recurrent(Layer):
    """Neurons that hear each other's spikes of the time step before through ``weight``."""

    weight: Array = _weights("n n")

    @property
    def fan_in(self) -> int:
        """See ``Layer.fan_in``: the recurrent synapses."""
        return self.output.size

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.weight.ndim == 2 and self.weight.shape[1] != self.output.size:
            yield f"{self.name}/weight: {self.weight.shape}, must be square"


@dataclass(frozen=True, eq=False)
class RecurrentCuba(_Recurrent, Cuba):
    """``Cuba`` neurons with recurrent synapses; the state's last part is the last spikes."""

    kind: ClassVar[str] = "recurrent_cuba"
    state_words_per_channel: ClassVar[int] = 3


@dataclass(frozen=True, eq=False)
class RecurrentAlif(_Recurrent, Alif):
    """``Alif`` neurons with recurrent synapses; the state's last part is the last spikes."""

    kind: ClassVar[str] = "recurrent_alif"
    state_words_per_channel: ClassVar[int] = 5


@dataclass(frozen=True, eq=False)
class Sigma(Layer):
    """Running sum: the decoder at the end of a sigma-delta chain."""

    kind: ClassVar[str] = "sigma"
    state_words_per_channel: ClassVar[int] = 1
    operations_per_channel: ClassVar[Mapping[str, int]] = {"add": 1}


@dataclass(frozen=True, eq=False)
class Delta(Layer):
    """Sends changes of at least ``threshold``: the encoder of a sigma-delta chain."""

    kind: ClassVar[str] = "delta"
    state_words_per_channel: ClassVar[int] = 2
    operations_per_channel: ClassVar[Mapping[str, int]] = {"add": 3, "shift": 2, "compare": 1}
    threshold: int = scalar_field(0, (1 << 17) - 1)
    spike_bits: int = scalar_field(0, 6)


@dataclass(frozen=True, eq=False)
class SigmaDelta(Layer):
    """Sums changes, adds a bias, rectifies, and sends its own changes."""

    kind: ClassVar[str] = "sigma_delta"
    state_words_per_channel: ClassVar[int] = 3
    operations_per_channel: ClassVar[Mapping[str, int]] = {"add": 5, "shift": 1, "compare": 2}
    bias: Array = array_field("int32", "n", -(1 << 15), (1 << 15) - 1)
    threshold: int = scalar_field(0, (1 << 17) - 1)
    spike_bits: int = scalar_field(0, 6)


SLAYER_KINDS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        RasterInput, NetxDense, NetxConvolution, ChannelDelay, Cuba, RecurrentCuba, Alif,
        RecurrentAlif, Sigma, Delta, SigmaDelta,
    )
}  # fmt: skip
LAYER_KINDS.update(SLAYER_KINDS)

SPIKING_KINDS = ("lif", "cuba", "recurrent_cuba", "alif", "recurrent_alif")
"""Kinds of neurons that integrate, fire and are reset or held back."""
