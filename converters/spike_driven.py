"""Quantise the spike-driven layout: every projection takes spikes (``model/blocks.py``)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.converters.builder import (
    GRADED_STREAM,
    STREAM_BITS,
    Builder,
    FloatArray,
    Projection,
    QuantisationSettings,
    Tensors,
)
from spikegpt_neuro.converters.quantisers import (
    PayloadChoice,
    accumulator_bound,
    mantissa_and_shift,
)
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.network.layers import Lif
from spikegpt_neuro.network.schema import Port

CHANNEL_NORM_EPSILON = 1e-5

Affine = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Gain and offset per channel."""


def channel_norm(tensors: Tensors, key: str) -> Affine:
    """The gain and offset a trained ``ChannelNorm`` is: ``g x + o``."""
    variance = tensors(f"{key}.running_var").astype(np.float64)
    gain = tensors(f"{key}.weight").astype(np.float64) / np.sqrt(variance + CHANNEL_NORM_EPSILON)
    return gain, tensors(f"{key}.bias") - gain * tensors(f"{key}.running_mean")


class SpikeDrivenBuilder(Builder):
    """A builder that also knows the layout's neurons."""

    configuration: SpikeGPTConfiguration

    def spike_port(self, size: int, levels: int) -> Port:
        """Spikes of at most ``levels``."""
        payload = "binary" if levels == 1 else "graded"
        return Port(size, payload, levels.bit_length(), False, 1.0)  # type: ignore[arg-type]

    def spike_projection(self, part: str, weight: FloatArray, levels: int) -> Projection:
        """``part``, a projection of spikes: operands are the integers 0..levels themselves."""
        integers, row_scale = self.settings.rounding(self.name(part), weight)
        bound = accumulator_bound(integers, levels)
        limit = (1 << (self.settings.accumulator_bits - 1)) - 1
        payload = PayloadChoice(levels.bit_length(), bound, bound <= limit)
        return Projection(integers, row_scale, 1.0, False, payload)

    def neuron(
        self, part: str, source: str, size: int, levels: int, bits: int,
        unit: npt.NDArray[np.float64],
        offset: npt.NDArray[np.float64],
    ) -> str:  # fmt: skip
        """LIF of threshold 1 on ``unit * driving + offset``; ``bits`` fraction bits of current.

        The model fires at equality; a bias of one least significant bit makes the strict
        comparison of the integer LIF agree.
        """
        multiplier, shift = mantissa_and_shift(np.broadcast_to(unit * 2.0**bits, (size,)))
        configuration = self.configuration
        return self.add(
            Lif(
                self.name(part), (source,), self.spike_port(size, levels),
                multiplier=multiplier, shift=shift,
                offset=np.broadcast_to(np.rint(offset * 2.0**bits), (size,)).astype(np.int32),
                voltage_decay=configuration.decay_4096, threshold=1 << bits, bias=1, levels=levels,
                soft_reset=int(configuration.soft_reset),
            )
        )  # fmt: skip

    def input_spikes(self, stream: str, norm: str, tensors: Tensors) -> str:
        """``Lif(norm(U))`` at the beginning of a block's part."""
        size, levels = self.configuration.n_embd, self.configuration.levels_input
        bits = self.current_bits("norm")
        if self.configuration.norm == "batch":
            gain, offset = channel_norm(tensors, norm)
            unit = gain * 2.0**-STREAM_BITS
            return self.neuron("lif", stream, size, levels, bits, unit, offset)
        normed = self.layer_norm(
            "norm", stream, tensors(f"{norm}.weight"), tensors(f"{norm}.bias"),
            input_scale=2.0**-STREAM_BITS,
        )  # fmt: skip
        unit = np.array(2.0**-STREAM_BITS)
        return self.neuron("lif", normed, size, levels, bits, unit, np.zeros(size))

    def shifted_projection(
        self, part: str, spikes: str, previous: str, mix: FloatArray, weight: FloatArray
    ) -> Projection:
        """Hard token shift and projection ``part``."""
        levels = self.configuration.levels_input
        chosen = mix.reshape(-1) > 0.5
        port = self.spike_port(chosen.size, levels)
        shifted = self.hard_shift(f"shift_{part}", spikes, previous, chosen, port)
        projection = self.spike_projection(part, weight, levels)
        self.dense(part, shifted, projection)
        return projection


def _builder(
    path: str,
    configuration: SpikeGPTConfiguration,
    ranges: Mapping[str, float],
    settings: QuantisationSettings,
) -> SpikeDrivenBuilder:
    build = SpikeDrivenBuilder(path, settings, ranges)
    build.configuration = configuration
    return build


def build_srwkv(
    path: str, stream: str, norm: str, mixer: str, tensors: Tensors, ranges: Mapping[str, float],
    settings: QuantisationSettings, configuration: SpikeGPTConfiguration,
) -> Builder:  # fmt: skip
    """``S = Lif(norm1(U)); U + output(Lif(product_norm(sigmoid(r) * wkv(k, v))))``."""
    build = _builder(path, configuration, ranges, settings)
    spikes, previous = _spikes_and_delay(build, stream, norm, tensors)
    accumulated, scale = _attention(build, spikes, previous, mixer, tensors)
    build.residual("residual", stream, accumulated, scale, configuration.n_embd)
    return build


def build_srffn(
    path: str, stream: str, norm: str, mixer: str, tensors: Tensors, ranges: Mapping[str, float],
    settings: QuantisationSettings, configuration: SpikeGPTConfiguration,
) -> Builder:  # fmt: skip
    """``S = Lif(norm2(U)); U + sigmoid(r) * value(Lif(hidden_norm(key(shift_k S))))``."""
    build = _builder(path, configuration, ranges, settings)
    spikes, previous = _spikes_and_delay(build, stream, norm, tensors)
    gated = _feed_forward(build, spikes, previous, mixer, tensors)
    build.residual("residual", stream, gated, 2.0**-STREAM_BITS, configuration.n_embd)
    return build


def build_parallel(
    block: str, stream: str, tensors: Tensors, ranges: Mapping[str, float],
    settings: QuantisationSettings, configuration: SpikeGPTConfiguration,
) -> Builder:  # fmt: skip
    """A whole block whose two branches read the same spikes ``S = Lif(norm1(U))``."""
    build = _builder(f"{block}.parallel", configuration, ranges, settings)
    size = configuration.n_embd
    spikes, previous = _spikes_and_delay(build, stream, f"{block}.ln1", tensors)
    accumulated, scale = _attention(build, spikes, previous, f"{block}.att", tensors)
    gated = _feed_forward(build, spikes, previous, f"{block}.ffn", tensors, prefix="ffn_")
    both = build.residual("ffn_residual", stream, gated, 2.0**-STREAM_BITS, size)
    build.residual("residual", both, accumulated, scale, size)
    return build


def _spikes_and_delay(
    build: SpikeDrivenBuilder, stream: str, norm: str, tensors: Tensors
) -> tuple[str, str]:
    """``Lif(norm(U))``, and the same of the token before."""
    spikes = build.input_spikes(stream, norm, tensors)
    configuration = build.configuration
    port = build.spike_port(configuration.n_embd, configuration.levels_input)
    return spikes, build.delay("previous", spikes, port)


def _attention(
    build: SpikeDrivenBuilder, spikes: str, previous: str, mixer: str, tensors: Tensors
) -> tuple[str, npt.NDArray[np.float64]]:
    """``output(Lif(product_norm(sigmoid(r) * wkv(k, v))))``: accumulators and their unit."""
    size, levels = build.configuration.n_embd, build.configuration.levels_product
    projections = {
        part: build.shifted_projection(
            part, spikes, previous, tensors(f"{mixer}.time_mix_{part[0]}"),
            tensors(f"{mixer}.{part}.weight"),
        )
        for part in ("key", "value", "receptance")
    }  # fmt: skip
    wkv, wkv_scale = build.wkv(
        "wkv", build.name("key"), build.name("value"), projections["key"].scale,
        projections["value"].scale, tensors(f"{mixer}.time_decay"),
        tensors(f"{mixer}.time_first"),
    )  # fmt: skip
    gate = build.gate("gate", build.name("receptance"), projections["receptance"].scale)
    gated = build.product(
        "product",
        gate,
        wkv,
        wkv_scale,
        Port(size, **GRADED_STREAM),  # type: ignore[arg-type]
    )
    gain, offset = channel_norm(tensors, f"{mixer}.product_norm")
    fired = build.neuron(
        "product_lif", gated, size, levels, build.current_bits("product_lif.membrane"),
        gain * 2.0**-STREAM_BITS, offset,
    )  # fmt: skip
    output = build.spike_projection("output", tensors(f"{mixer}.output.weight"), levels)
    return build.dense("output", fired, output), output.scale


def _feed_forward(
    build: SpikeDrivenBuilder, spikes: str, previous: str, mixer: str, tensors: Tensors,
    prefix: str = "",
) -> str:  # fmt: skip
    """``sigmoid(r) * value(Lif(hidden_norm(key(shift_k S))))`` in the stream's format."""
    size, levels = build.configuration.n_embd, build.configuration.levels_hidden
    key, receptance = (
        build.shifted_projection(
            f"{prefix}{part}", spikes, previous, tensors(f"{mixer}.time_mix_{part[0]}"),
            tensors(f"{mixer}.{part}.weight"),
        )
        for part in ("key", "receptance")
    )  # fmt: skip
    gain, offset = channel_norm(tensors, f"{mixer}.hidden_norm")
    fired = build.neuron(
        "hidden_lif", build.name(f"{prefix}key"), gain.size, levels,
        build.current_bits("hidden_lif.membrane"), key.scale * gain, offset,
    )  # fmt: skip
    value = build.spike_projection(f"{prefix}value", tensors(f"{mixer}.value.weight"), levels)
    accumulated = build.dense(f"{prefix}value", fired, value)
    gate = build.gate(f"{prefix}gate", build.name(f"{prefix}receptance"), receptance.scale)
    return build.product(
        f"{prefix}product", gate, accumulated, value.scale,
        Port(size, **GRADED_STREAM),  # type: ignore[arg-type]
    )  # fmt: skip


def build_head(
    stream: str, norm: tuple[FloatArray, FloatArray], weight: FloatArray,
    ranges: Mapping[str, float], settings: QuantisationSettings,
    configuration: SpikeGPTConfiguration,
) -> Builder:  # fmt: skip
    """``head(Lif(ln_out(U)))``: the spiking head."""
    build = _builder("head", configuration, ranges, settings)
    normed = build.layer_norm("norm", stream, *norm, input_scale=2.0**-STREAM_BITS)
    size, levels = configuration.n_embd, configuration.levels_head
    bits = build.current_bits("norm")
    unit = np.array(2.0**-STREAM_BITS)
    spikes = build.neuron("lif", normed, size, levels, bits, unit, np.zeros(size))
    build.readout(spikes, build.spike_projection("projection", weight, levels))
    return build
