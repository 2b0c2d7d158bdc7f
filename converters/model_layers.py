"""Quantise a whole model: its float tensors, ranges and settings become integer layers.

The one way from numbers to integers: the export writes these layers, integer-true training runs
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spikegpt_neuro.converters import spike_driven, upstream
from spikegpt_neuro.converters.builder import Builder, QuantisationSettings, Tensors
from spikegpt_neuro.converters.trained_weights import TrainedWeights
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.lif import upstream_neuron


@dataclass(frozen=True)
class Quantisation:
    """All that decides a model's integers beside its tensors.

    ``ranges``: largest magnitudes the float model showed on a calibration text, by layer name; a
    mapping that still fills may be given, as a block reads only its own. ``settings``: the bits.
    """

    ranges: Mapping[str, float]
    settings: QuantisationSettings

    @property
    def weights(self) -> TrainedWeights | None:
        """The rounding that training chose, None where weights are the nearest of 8 bits."""
        rounding = self.settings.rounding
        return rounding if isinstance(rounding, TrainedWeights) else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors, as stored in checkpoints."""
        values: dict[str, Any] = {
            "activation_bits": self.settings.activation_bits,
            "accumulator_bits": self.settings.accumulator_bits,
            "ranges": dict(self.ranges),
        }
        if self.weights is not None:
            values["weights"] = self.weights.to_dict()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Quantisation:
        """From a checkpoint; ``InputError`` lists what cannot be used."""
        bits, accumulator, ranges = (
            values.get(name) for name in ("activation_bits", "accumulator_bits", "ranges")
        )
        problems = [
            f"unknown key {name!r}"
            for name in sorted(
                set(values) - {"activation_bits", "accumulator_bits", "ranges", "weights"}
            )
        ]
        if bits is not None and (type(bits) is not int or not 2 <= bits <= 15):
            problems.append(f"activation_bits is {bits!r}; allowed: None, 2..15")
        if type(accumulator) is not int or not 8 <= accumulator <= 32:
            problems.append(f"accumulator_bits is {accumulator!r}; allowed: 8..32")
        if not isinstance(ranges, Mapping):
            problems.append(f"ranges is {ranges!r}, must map layer names to numbers")
        else:
            problems += [
                f"ranges: {name!r} is {value!r}, must be finite and at least 0"
                for name, value in ranges.items()
                if type(value) is not float or not math.isfinite(value) or value < 0
            ]
        if problems:
            raise InputError("The checkpoint's quantisation cannot be used.", problems)
        settings = QuantisationSettings(bits, accumulator)  # type: ignore[arg-type]
        if "weights" in values:
            settings = replace(settings, rounding=TrainedWeights.from_dict(values["weights"]))
        return cls(dict(ranges), settings)  # type: ignore[arg-type]


def embedding_layers(tensors: Tensors, configuration: SpikeGPTConfiguration) -> Builder:
    """Embedding and ``ln0``."""
    return upstream.build_embedding(
        tensors("emb.weight"),
        (tensors("blocks.0.ln0.weight"), tensors("blocks.0.ln0.bias")),
        binary=configuration.embedding == "binary",
    )


def block_layers(
    index: int, stream: str, tensors: Tensors, quantisation: Quantisation,
    configuration: SpikeGPTConfiguration,
) -> Iterator[Builder]:  # fmt: skip
    """The parts of a block, one where its branches are parallel; ``stream`` is the layer before."""
    block = f"blocks.{index}"
    attention = (f"{block}.srwkv", f"{block}.ln1", f"{block}.att")
    feed_forward = (f"{block}.srffn", f"{block}.ln2", f"{block}.ffn")
    ranges, settings = quantisation.ranges, quantisation.settings
    if configuration.branches == "parallel":
        yield spike_driven.build_parallel(block, stream, tensors, ranges, settings, configuration)
        return
    if configuration.layout == "spike-driven":
        for names, build in (
            (attention, spike_driven.build_srwkv),
            (feed_forward, spike_driven.build_srffn),
        ):
            path, norm, mixer = names
            part = build(path, stream, norm, mixer, tensors, ranges, settings, configuration)
            yield part
            stream = part.layers[-1].name
        return
    first_neuron, second_neuron = (
        upstream_neuron(configuration, index, which) if configuration.layout == "upstream" else None
        for which in (0, 1)
    )
    every = configuration.rescale_every
    divisor = 2.0 ** (index // every) if every else 1.0
    if index == 0 and configuration.ffn_pre:
        first = upstream.build_srffn(
            f"{block}.srffn_pre", stream, f"{block}.ln1", f"{block}.ffnPre", tensors, ranges,
            settings, 1.0, False, first_neuron,
        )  # fmt: skip
    else:
        path, norm, mixer = attention
        first = upstream.build_srwkv(
            path, stream, norm, mixer, tensors, ranges, settings, divisor, first_neuron
        )
    yield first
    path, norm, mixer = feed_forward
    yield upstream.build_srffn(
        path, first.layers[-1].name, norm, mixer, tensors, ranges, settings, divisor,
        bool(every) and (index + 1) % every == 0, second_neuron,
    )  # fmt: skip


def head_layers(
    stream: str, tensors: Tensors, quantisation: Quantisation, configuration: SpikeGPTConfiguration
) -> Builder:
    """Final norm, head projection and readout."""
    norm = (tensors("ln_out.weight"), tensors("ln_out.bias"))
    weight = tensors("head.weight")
    ranges, settings = quantisation.ranges, quantisation.settings
    if configuration.layout == "spike-driven" and configuration.levels_head:
        return spike_driven.build_head(stream, norm, weight, ranges, settings, configuration)
    return upstream.build_head(stream, norm, weight, ranges, settings)


def model_layers(
    tensors: Tensors, quantisation: Quantisation, configuration: SpikeGPTConfiguration
) -> Iterator[Builder]:
    """All parts of a model in order, ranges known beforehand."""
    part = embedding_layers(tensors, configuration)
    yield part
    for index in range(configuration.n_layer):
        stream = part.layers[-1].name
        for part in block_layers(index, stream, tensors, quantisation, configuration):
            yield part
    yield head_layers(part.layers[-1].name, tensors, quantisation, configuration)
