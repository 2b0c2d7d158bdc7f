"""Quantise the released SpikeGPT layout (residual LIFs, every projection on graded operands), and
plain RWKV-4, which is the same without neurons: ``neuron`` None adds what they would receive."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from spikegpt_neuro.arithmetic.formats import CURRENT_LIMIT
from spikegpt_neuro.arithmetic.tables import GATE_BITS
from spikegpt_neuro.converters.builder import (
    GRADED_STREAM,
    STREAM_BITS,
    Builder,
    FloatArray,
    QuantisationSettings,
    Tensors,
)
from spikegpt_neuro.converters.quantisers import mantissa_and_shift
from spikegpt_neuro.model.lif import NeuronConstants
from spikegpt_neuro.network.layers import BinaryEmbedding, RealEmbedding, Requantise, SquaredRelu
from spikegpt_neuro.network.network import TOKEN
from spikegpt_neuro.network.schema import Layer, Port

SQUARE_SHIFT = 14
"""Right shift after squaring: the squared ReLU's root then has 11 bits for 8-bit results."""


def build_embedding(
    weight: FloatArray, norm: tuple[FloatArray, FloatArray], *, binary: bool
) -> Builder:
    """Embedding and ``ln0``. ``weight`` [vocabulary, n] float32.

    Bits are the sign of the float32 weight before any quantisation; 0 and -0 count as 1.
    """
    size = weight.shape[1]
    build = Builder("embedding", QuantisationSettings(), {})
    if binary:
        first: Layer = BinaryEmbedding(
            "embedding.table",
            (TOKEN,),
            Port(size, "binary", 1, False, 1.0),
            table=np.packbits(weight >= 0, axis=1),
        )
        input_scale, input_shift = 2.0**-STREAM_BITS, STREAM_BITS
    else:
        input_scale, input_shift = max(float(np.abs(weight).max()), 1e-30) / 32767, 0
        first = RealEmbedding(
            "embedding.table",
            (TOKEN,),
            Port(size, "graded", 16, True, input_scale),
            table=np.rint(weight / np.float32(input_scale)).astype(np.int16),
        )
    build.add(first)
    build.layer_norm("norm", first.name, *norm, input_scale=input_scale, input_shift=input_shift)
    return build


def build_srwkv(
    path: str, stream: str, norm: str, mixer: str, tensors: Tensors,
    ranges: Mapping[str, float], settings: QuantisationSettings, divisor: float,
    neuron: NeuronConstants | None,
) -> Builder:  # fmt: skip
    """One SRWKV with its LIF. ``norm``, ``mixer``: keys (``blocks.0.ln1``, ``blocks.0.att``).

    ``divisor`` divides the output weights (upstream's run-time rescaling, 1 without).
    """
    build = Builder(path, settings, ranges)
    size = tensors(f"{norm}.weight").size
    normed = build.layer_norm(
        "norm", stream, tensors(f"{norm}.weight"), tensors(f"{norm}.bias"),
        input_scale=2.0**-STREAM_BITS,
    )  # fmt: skip
    previous = build.delay("previous", normed, Port(size, **GRADED_STREAM))  # type: ignore[arg-type]
    projections = {}
    for part, mix in (("key", "k"), ("value", "v"), ("receptance", "r")):
        projection = build.projection(
            part, tensors(f"{mixer}.{part}.weight"), f"shift_{part}", unit=2.0**-STREAM_BITS
        )
        shifted = build.token_shift(
            f"shift_{part}", normed, previous, tensors(f"{mixer}.time_mix_{mix}"), projection
        )
        build.dense(part, shifted, projection)
        projections[part] = projection
    wkv, wkv_scale = build.wkv(
        "wkv", build.name("key"), build.name("value"), projections["key"].scale,
        projections["value"].scale, tensors(f"{mixer}.time_decay"),
        tensors(f"{mixer}.time_first"),
    )  # fmt: skip
    gate = build.gate("gate", build.name("receptance"), projections["receptance"].scale)
    output = build.projection(
        "output",
        tensors(f"{mixer}.output.weight") / np.float32(divisor),
        "product",
        unit=build.range_of("value") * 2.0**-GATE_BITS,
    )
    channels = projections["value"].weight.shape[0]
    operand = build.product("product", gate, wkv, wkv_scale, output.port(channels))
    accumulated = build.dense("output", operand, output)
    if neuron is None:
        build.residual("residual", stream, accumulated, output.scale, size)
        return build
    bits = build.current_bits("output")
    spikes = build.upstream_lif("lif", accumulated, output.scale * 2.0**bits, size, bits, neuron)
    build.residual("residual", stream, spikes, 1.0, size)
    return build


def build_srffn(
    path: str, stream: str, norm: str, mixer: str, tensors: Tensors,
    ranges: Mapping[str, float], settings: QuantisationSettings, divisor: float, halve: bool,
    neuron: NeuronConstants | None,
) -> Builder:  # fmt: skip
    """One SRFFN with its LIF; ``halve`` halves the stream after it (run-time rescaling)."""
    build = Builder(path, settings, ranges)
    size = tensors(f"{norm}.weight").size
    normed = build.layer_norm(
        "norm", stream, tensors(f"{norm}.weight"), tensors(f"{norm}.bias"),
        input_scale=2.0**-STREAM_BITS,
    )  # fmt: skip
    previous = build.delay("previous", normed, Port(size, **GRADED_STREAM))  # type: ignore[arg-type]
    projections = {}
    for part, mix in (("key", "k"), ("receptance", "r")):
        projection = build.projection(
            part, tensors(f"{mixer}.{part}.weight"), f"shift_{part}", unit=2.0**-STREAM_BITS
        )
        shifted = build.token_shift(
            f"shift_{part}", normed, previous, tensors(f"{mixer}.time_mix_{mix}"), projection
        )
        build.dense(part, shifted, projection)
        projections[part] = projection
    value = build.projection(
        "value", tensors(f"{mixer}.value.weight") / np.float32(divisor), "square", signed=False,
        unit=float(projections["key"].scale.max()) ** 2,
    )  # fmt: skip
    root_scale = math.sqrt(value.operand_scale / 2**SQUARE_SHIFT)
    multiplier, shift = mantissa_and_shift(
        projections["key"].scale / root_scale, build.name("square")
    )
    square = build.add(
        SquaredRelu(
            build.name("square"), (build.name("key"),), value.port(multiplier.size),
            multiplier=multiplier, shift=shift, square_shift=SQUARE_SHIFT,
        )
    )  # fmt: skip
    accumulated = build.dense("value", square, value)
    gate = build.gate("gate", build.name("receptance"), projections["receptance"].scale)
    if neuron is not None:
        bits = build.current_bits("product")
        port = Port(size, "graded", CURRENT_LIMIT.bit_length() + 1, True, 2.0**-bits)
        current = build.product("product", gate, accumulated, value.scale, port)
        branch, unit = build.upstream_lif("lif", current, 1.0, size, bits, neuron), 1.0
    else:
        port = Port(size, **GRADED_STREAM)  # type: ignore[arg-type]
        branch, unit = build.product("product", gate, accumulated, value.scale, port), port.scale
    added = build.residual("residual", stream, branch, unit, size)
    if halve:
        multiplier, shift = mantissa_and_shift(np.full(size, 0.5))
        build.add(
            Requantise(
                build.name("rescale"), (added,), Port(size, **GRADED_STREAM),  # type: ignore[arg-type]
                multiplier=multiplier, shift=shift,
            )
        )  # fmt: skip
    return build


def build_head(
    stream: str, norm: tuple[FloatArray, FloatArray], weight: FloatArray,
    ranges: Mapping[str, float], settings: QuantisationSettings,
) -> Builder:  # fmt: skip
    """Final norm, head projection of graded operands, and readout."""
    build = Builder("head", settings, ranges)
    normed = build.layer_norm("norm", stream, *norm, input_scale=2.0**-STREAM_BITS)
    projection = build.projection("projection", weight, "norm", unit=2.0**-STREAM_BITS)
    multiplier, shift = mantissa_and_shift(
        np.full(weight.shape[1], 2.0**-STREAM_BITS / projection.operand_scale)
    )
    operand = build.add(
        Requantise(
            build.name("requantise"), (normed,), projection.port(weight.shape[1]),
            multiplier=multiplier, shift=shift,
        )
    )  # fmt: skip
    build.readout(operand, projection)
    return build
