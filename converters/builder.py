"""The pieces both layouts are quantised with: projections, norms, gates, and the fixed formats.

Formats (real value = integer * scale): residual stream and normalised values have 12 fraction bits
in 24; gates 15; logits 16; base-2 exponents 16; LIF currents ``CURRENT_BITS`` fraction bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.formats import (
    CURRENT_LIMIT,
    NORMALISED_BITS,
    RESULT_BITS,
    VALUE_LIMIT,
)
from spikegpt_neuro.arithmetic.tables import EXPONENT_BITS, GATE_BITS, SIGMOID_INPUT_BITS
from spikegpt_neuro.converters.quantisers import (
    PayloadChoice,
    choose_payload,
    mantissa_and_shift,
    paired_mantissas,
    quantise_rows,
)
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.lif import NeuronConstants
from spikegpt_neuro.network.layers import (
    Delay,
    Dense,
    LayerNorm,
    Lif,
    Product,
    Readout,
    Residual,
    Sigmoid,
    TokenShift,
    VariedLif,
    Wkv,
)
from spikegpt_neuro.network.schema import Layer, Port

FloatArray = npt.NDArray[np.float32]
Tensors = Callable[[str], FloatArray]
"""Gives a checkpoint's tensor by name as float32."""

STREAM_BITS = 12
"""Fraction bits of the residual stream and of normalised values."""
LOGIT_BITS = 16
"""Fraction bits of the logits."""
CURRENT_BITS = 10
"""Fraction bits of a LIF's input current: +-128 in steps of 2**-10."""
HEADROOM = 2.0
"""A LIF's current may be this much larger than on the calibration text before it is clipped."""
LAYER_NORM_EPSILON = 1e-5
LOG2_E = 1.0 / math.log(2.0)

GRADED_STREAM = {"payload": "graded", "bits": 24, "signed": True, "scale": 2.0**-STREAM_BITS}


Rounding = Callable[[str, FloatArray], tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]]
"""Integers (plain or packed) and row scales of the dense layer of that name, from real weights."""


def to_bytes(name: str, weight: FloatArray) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
    """The nearest of 8 bits, whatever the layer."""
    return quantise_rows(weight)


@dataclass(frozen=True)
class QuantisationSettings:
    """What a user may choose. ``activation_bits`` None: chosen per projection (quantisers.py)."""

    activation_bits: int | None = None
    accumulator_bits: int = 24
    rounding: Rounding = field(default=to_bytes, compare=False)


@dataclass(frozen=True)
class Projection:
    """A quantised weight matrix, and the operand format chosen for it."""

    weight: npt.NDArray[np.int8]
    row_scale: npt.NDArray[np.float64]
    operand_scale: float
    signed: bool
    payload: PayloadChoice

    @property
    def scale(self) -> npt.NDArray[np.float64]:
        """Real value of one unit of each accumulator, [outputs]."""
        return self.row_scale * self.operand_scale

    def port(self, size: int) -> Port:
        """The port its operands come from."""
        return Port(size, "graded", self.payload.bits, self.signed, self.operand_scale)


@dataclass
class Builder:
    """Collects the layers of one part of the network under a common path.

    ``units``: real value of one unit of each accumulator [outputs], by layer name; what other
    layers' units are worth, their ports say.
    """

    path: str
    settings: QuantisationSettings
    ranges: Mapping[str, float]
    layers: list[Layer] = field(default_factory=list)
    units: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def name(self, part: str) -> str:
        """Full layer name of ``part``."""
        return f"{self.path}.{part}"

    def add(self, layer: Layer) -> str:
        """Append a layer; its name."""
        self.layers.append(layer)
        return layer.name

    def range_of(self, part: str) -> float:
        """Largest magnitude calibration saw at ``part``; 1 where it was always 0."""
        name = self.name(part)
        if name not in self.ranges:
            raise InputError(
                f"the range of {name} is not known.", advice="Calibrate the checkpoint again."
            )
        largest = float(self.ranges[name])
        return largest if largest > 0 else 1.0

    def projection(
        self, part: str, weight: FloatArray, operand: str, *, signed: bool = True, unit: float = 0.0
    ) -> Projection:
        """Quantise the weight of ``part``; the format of its operands is chosen by their range.

        ``unit``: real value of one unit of what the operands are made of. Where training has driven
        a layer to almost nothing, operands smaller than it round to 0, and their format need not
        resolve them.
        """
        integers, row_scale = self.settings.rounding(self.name(part), weight)
        payload = choose_payload(
            integers,
            signed=signed,
            accumulator_bits=self.settings.accumulator_bits,
            bits=self.settings.activation_bits,
        )
        steps = (1 << (payload.bits - 1)) - 1 if signed else (1 << payload.bits) - 1
        return Projection(
            integers, row_scale, max(self.range_of(operand), unit) / steps, signed, payload
        )

    def dense(self, part: str, source: str, projection: Projection) -> str:
        """Synapses of ``projection``, driven by layer ``source``."""
        size = projection.weight.shape[0]
        self.units[self.name(part)] = projection.scale
        return self.add(
            Dense(
                self.name(part), (source,), Port(size, "accumulator", 32, True, 0.0),
                weight=projection.weight, accumulator_bits=self.settings.accumulator_bits,
            )
        )  # fmt: skip

    def layer_norm(
        self, part: str, source: str, weight: FloatArray, bias: FloatArray, *,
        input_scale: float, input_shift: int = 0,
    ) -> str:  # fmt: skip
        """Layer norm; ``input_scale`` is the real value of one unit after ``input_shift``."""
        size = weight.size
        factors = (
            weight.astype(np.float64) * math.sqrt(size) * 2.0 ** (STREAM_BITS - NORMALISED_BITS)
        )
        multiplier, shift = mantissa_and_shift(factors, self.name(part))
        mean_multiplier, mean_shift = mantissa_and_shift(np.array([1.0 / size]))
        return self.add(
            LayerNorm(
                self.name(part), (source,), Port(size, **GRADED_STREAM),  # type: ignore[arg-type]
                multiplier=multiplier, shift=shift,
                offset=np.rint(bias.astype(np.float64) * 2**STREAM_BITS).astype(np.int32),
                input_shift=input_shift, mean_multiplier=int(mean_multiplier[0]),
                mean_shift=int(mean_shift[0]),
                epsilon=max(1, round(LAYER_NORM_EPSILON * size / input_scale**2)),
            )
        )  # fmt: skip

    def delay(self, part: str, source: str, port: Port) -> str:
        """The previous token's vector of ``source``."""
        return self.add(Delay(self.name(part), (source,), port))

    def hard_shift(
        self, part: str, current: str, previous: str, chosen: npt.NDArray[Any], port: Port
    ) -> str:
        """``current`` where ``chosen`` is 1, ``previous`` where it is 0: routing of spikes."""
        this = chosen.astype(np.int32)
        return self.add(
            TokenShift(
                self.name(part), (current, previous), port, current_multiplier=this,
                previous_multiplier=1 - this, shift=np.zeros(this.size, np.int32),
            )
        )  # fmt: skip

    def token_shift(
        self, part: str, current: str, previous: str, mix: FloatArray, projection: Projection
    ) -> str:
        """``mix * current + (1 - mix) * previous`` in the projection's operand format."""
        unit = 2.0**-STREAM_BITS / projection.operand_scale
        mix64 = mix.reshape(-1).astype(np.float64)
        first, second, shift = paired_mantissas(mix64 * unit, (1.0 - mix64) * unit, self.name(part))
        return self.add(
            TokenShift(
                self.name(part), (current, previous), projection.port(mix64.size),
                current_multiplier=first, previous_multiplier=second, shift=shift,
            )
        )  # fmt: skip

    def gate(self, part: str, source: str, unit: npt.NDArray[np.float64]) -> str:
        """Sigmoid of a projection's accumulators; ``unit`` is the real value of one, [outputs]."""
        multiplier, shift = mantissa_and_shift(unit * 2**SIGMOID_INPUT_BITS, self.name(part))
        return self.add(
            Sigmoid(
                self.name(part),
                (source,),
                Port(multiplier.size, "graded", GATE_BITS, False, 2.0**-GATE_BITS),
                multiplier=multiplier,
                shift=shift,
            )
        )

    def wkv(
        self, part: str, key_source: str, value_source: str,
        key_unit: npt.NDArray[np.float64], value_unit: npt.NDArray[np.float64],
        time_decay: FloatArray, time_first: FloatArray,
    ) -> tuple[str, float]:  # fmt: skip
        """The SRWKV recurrence; its name and the real value of one unit of its result.

        ``key_unit``, ``value_unit``: real values of one unit of the accumulators, [outputs].
        """
        value_scale = self.range_of("value") / VALUE_LIMIT
        unit = LOG2_E * 2**EXPONENT_BITS
        key_multiplier, key_shift = mantissa_and_shift(key_unit * unit, self.name(part))
        value_multiplier, value_shift = mantissa_and_shift(
            value_unit / value_scale, self.name(part)
        )
        limit = (1 << 23) - 1
        decay = np.clip(np.rint(-np.exp(time_decay.astype(np.float64)) * unit), -limit, 0)
        first = np.clip(np.rint(time_first.astype(np.float64) * unit), -limit, limit)
        scale = value_scale / (1 << RESULT_BITS)
        name = self.add(
            Wkv(
                self.name(part), (key_source, value_source),
                Port(decay.size, "graded", 16, True, scale),
                key_multiplier=key_multiplier, key_shift=key_shift,
                value_multiplier=value_multiplier, value_shift=value_shift,
                decay=decay.reshape(-1).astype(np.int32), first=first.reshape(-1).astype(np.int32),
            )
        )  # fmt: skip
        return name, scale

    def product(self, part: str, gate: str, value: str, value_scale: Any, port: Port) -> str:
        """Gate times value in ``port``'s format; ``value_scale`` real value of a unit of value."""
        factors = np.broadcast_to(
            np.asarray(value_scale, np.float64) * 2.0**-GATE_BITS / port.scale, (port.size,)
        )
        multiplier, shift = mantissa_and_shift(factors, self.name(part))
        return self.add(
            Product(self.name(part), (gate, value), port, multiplier=multiplier, shift=shift)
        )

    def residual(self, part: str, stream: str, branch: str, branch_scale: Any, size: int) -> str:
        """Add a branch (real value of one unit: ``branch_scale``) to the residual stream."""
        factors = np.broadcast_to(np.asarray(branch_scale, np.float64) * 2**STREAM_BITS, (size,))
        multiplier, shift = mantissa_and_shift(factors, self.name(part))
        return self.add(
            Residual(
                self.name(part), (stream, branch), Port(size, **GRADED_STREAM),  # type: ignore[arg-type]
                multiplier=multiplier, shift=shift,
            )
        )  # fmt: skip

    def readout(self, operand: str, projection: Projection) -> None:
        """The head's synapses and the logits, one scale for the whole vocabulary."""
        accumulated = self.dense("projection", operand, projection)
        multiplier, shift = mantissa_and_shift(
            projection.scale * 2**LOGIT_BITS, self.name("readout")
        )
        self.add(
            Readout(
                self.name("readout"),
                (accumulated,),
                Port(multiplier.size, "graded", 32, True, 2.0**-LOGIT_BITS),
                multiplier=multiplier,
                shift=shift,
            )
        )

    def current_bits(self, part: str) -> int:
        """Fraction bits of a LIF current, fewer than usual only where its range demands."""
        bits = CURRENT_BITS
        while bits > 0 and HEADROOM * self.range_of(part) * 2**bits > CURRENT_LIMIT:
            bits -= 1
        return bits

    def upstream_lif(
        self, part: str, source: str, factors: Any, size: int, bits: int, neuron: NeuronConstants
    ) -> str:
        """SpikingJelly's LIF (tau 2, threshold 1, hard reset) as Lava's fixed-point LIF.

        ``h = keep v + x/2, spike if h >= 1`` is ``V = keep V + x, spike if V >= 2`` with V = 2 h;
        the bias of one least significant bit turns Lava's strict comparison into ``>=``. Decays
        of their own make it a ``VariedLif``.
        """
        multiplier, shift = mantissa_and_shift(
            np.broadcast_to(np.asarray(factors, np.float64), (size,)), self.name(part)
        )
        varied = neuron.varied
        decay: Any = np.array(neuron.decay_4096, np.int32) if varied else neuron.decay_4096
        return self.add(
            (VariedLif if varied else Lif)(
                self.name(part), (source,), Port(size, "binary", 1, False, 1.0),
                multiplier=multiplier, shift=shift, offset=np.zeros(size, np.int32),
                voltage_decay=decay, threshold=2 << bits, bias=1, levels=1,
                soft_reset=int(neuron.soft_reset),
            )
        )  # fmt: skip
