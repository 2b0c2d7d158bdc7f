"""The layers of stock NetX chains, as made with SLAYER; see ``arithmetic.slayer_neurons``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from spikegpt_neuro.arithmetic.formats import SPIKE_STATE_BITS, STATE_LIMIT
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
from spikegpt_neuro.network.slayer_connections import (
    DENDRITE_BITS,
    GEOMETRY,
    LARGEST_WEIGHT,
    LONGEST_DELAY,
    ChannelDelay,
    NetxConvolution,
    NetxDense,
    NetxWeights,
    RasterInput,
    netx_weight_bits,
    weights_field,
)

__all__ = [
    "DENDRITE_BITS",
    "GEOMETRY",
    "LARGEST_WEIGHT",
    "LONGEST_DELAY",
    "ChannelDelay",
    "NetxConvolution",
    "NetxDense",
    "RasterInput",
    "netx_weight_bits",
    "Alif",
    "Cuba",
    "Delta",
    "LeakyIntegrator",
    "Recurrent",
    "RecurrentAlif",
    "RecurrentCuba",
    "Sigma",
    "SigmaDelta",
    "StockNeurons",
]

_CURRENT = State("current", 1 - STATE_LIMIT, STATE_LIMIT)
_VOLTAGE = State("voltage", 1 - STATE_LIMIT, STATE_LIMIT - 1)
_RAISED = (State("raised", -WORD, WORD), State("refractory", -WORD, WORD))
_LAST_SPIKES = State("last_spikes", 0, 1)

_WRAPPED_CURRENT = """\
u = wide - 16777216 if wide > 8388608 else wide
u = wide + 16777216 if u <= -8388608 else u
current = u
"""


@dataclass(frozen=True, eq=False)
class StockNeurons(Layer):
    """Base of stock LIF neurons: their decays are one number, or one a channel."""

    input_count: ClassVar[int] = 1
    driver: ClassVar[int] = 0
    output_bits: ClassVar[tuple[int, bool] | None] = (1, False)
    chip_role: ClassVar[Role] = "neuron"
    fires: ClassVar[bool] = True
    sparse: ClassVar[bool] = True
    bias: Array = array_field("int32", "n", -(1 << 15), (1 << 15) - 1)
    current_decay: Any = scalar_field(0, 4096)
    voltage_decay: Any = scalar_field(0, 4096)
    threshold: int = scalar_field(0, 1 << 17)

    @property
    def is_biased(self) -> bool:
        """See ``Layer.is_biased``."""
        return bool(self.bias.any())

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``."""
        return 0, 1


@layer_kind
@dataclass(frozen=True, eq=False)
class Cuba(StockNeurons):
    """Current-based LIF neurons with current and voltage decay."""

    kind: ClassVar[str] = "cuba"
    fixed_neuron: ClassVar[bool] = True
    states: ClassVar[tuple[State, ...]] = (_CURRENT, _VOLTAGE)
    equation: ClassVar[str] = (
        "wide = leak(current, 4096 - current_decay) + (a << 6)\n"
        + _WRAPPED_CURRENT
        + """\
wide = leak(voltage, 4096 - voltage_decay) + u + (bias << 6)
v = clip(wide, -8388607, 8388607)
s = v > threshold << 6
voltage = 0 if s else v"""
    )


@layer_kind
@dataclass(frozen=True, eq=False)
class LeakyIntegrator(Layer):
    """Neurons that never fire and send their voltage, in 1/64 of the weights' unit."""

    kind: ClassVar[str] = "leaky_integrator"
    input_count: ClassVar[int] = 1
    driver: ClassVar[int] = 0
    output_bits: ClassVar[tuple[int, bool] | None] = (24, True)
    chip_role: ClassVar[Role] = "neuron"
    fires: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    fixed_neuron: ClassVar[bool] = False
    states: ClassVar[tuple[State, ...]] = (_CURRENT, _VOLTAGE)
    equation: ClassVar[str] = (
        "wide = leak(current, 4096 - current_decay) + (a << 6)\n"
        + _WRAPPED_CURRENT
        + """\
wide = leak(voltage, 4096 - voltage_decay) + u + (bias << 6)
s = clip(wide, -8388607, 8388607)
voltage = s"""
    )
    bias: Array = array_field("int32", "n", -(1 << 15), (1 << 15) - 1)
    current_decay: int = scalar_field(0, 4096)
    voltage_decay: int = scalar_field(0, 4096)

    @property
    def is_biased(self) -> bool:
        """See ``Layer.is_biased``."""
        return bool(self.bias.any())

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``: the voltage saturates."""
        return 1 - STATE_LIMIT, STATE_LIMIT - 1


@layer_kind
@dataclass(frozen=True, eq=False)
class Alif(StockNeurons):
    """Adaptive LIF neurons: a threshold and a refractory state that spikes raise."""

    kind: ClassVar[str] = "alif"
    fixed_neuron: ClassVar[bool] = False
    states: ClassVar[tuple[State, ...]] = (_CURRENT, _VOLTAGE, *_RAISED)
    equation: ClassVar[str] = (
        "wide = leak(current, 4096 - current_decay) + ((a + bias) << 6)\n"
        + _WRAPPED_CURRENT
        + """\
v = clip(leak(voltage, 4096 - voltage_decay) + u, -8388607, 8388607)
voltage = v
rest = leak(raised, 4096 - threshold_decay)
held = leak(refractory, 4096 - refractory_decay)
limit = (threshold << 6) + rest
s = v - held >= limit
raised = rest + (threshold_step << 6 if s else 0)
refractory = held + (2 * limit if s else 0)"""
    )
    threshold_decay: int = scalar_field(0, 4096)
    refractory_decay: int = scalar_field(0, 4096)
    threshold_step: int = scalar_field(0, 1 << 17)


@dataclass(frozen=True, eq=False)
class Recurrent(NetxWeights):
    """Neurons that hear each other's spikes of the time step before through ``weight``.

    ``a`` of their equation is the input and what they hear.
    """

    weight: Array = weights_field("n n")

    def problems(self) -> Iterator[str]:
        """See ``Layer.problems``."""
        yield from super().problems()
        if self.weight.ndim == 2 and self.weight.shape[1] != self.output.size:
            yield f"{self.name}/weight: {self.weight.shape}, must be square"


@layer_kind
@dataclass(frozen=True, eq=False)
class RecurrentCuba(Recurrent, Cuba):
    """``Cuba`` neurons with recurrent synapses; the state's last part is the last spikes."""

    kind: ClassVar[str] = "recurrent_cuba"
    states: ClassVar[tuple[State, ...]] = (*Cuba.states, _LAST_SPIKES)
    equation: ClassVar[str] = Cuba.equation + "\nlast_spikes = s"


@layer_kind
@dataclass(frozen=True, eq=False)
class RecurrentAlif(Recurrent, Alif):
    """``Alif`` neurons with recurrent synapses; the state's last part is the last spikes."""

    kind: ClassVar[str] = "recurrent_alif"
    states: ClassVar[tuple[State, ...]] = (*Alif.states, _LAST_SPIKES)
    equation: ClassVar[str] = Alif.equation + "\nlast_spikes = s"


@dataclass(frozen=True, eq=False)
class _Sums(Layer):
    """Base of the neurons of sigma-delta chains, whose sums are 32-bit words that wrap."""

    input_count: ClassVar[int] = 1
    driver: ClassVar[int] = 0
    output_bits: ClassVar[tuple[int, bool] | None] = None
    chip_role: ClassVar[Role] = "neuron"
    fires: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    fixed_neuron: ClassVar[bool] = False

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``: nothing bounds a running sum but its word."""
        return -WORD - 1, WORD


_SUM, _LAST, _RESIDUE = (State(name, -WORD - 1, WORD) for name in ("total", "last", "residue"))
_SENT_CHANGES = """
change = x - last + residue
sent = change if abs(change) >= threshold << (spike_bits + 6) else 0
residue = change - sent
last = x
s = sent >> 6"""


@layer_kind
@dataclass(frozen=True, eq=False)
class Sigma(_Sums):
    """Running sum: the decoder at the end of a sigma-delta chain."""

    kind: ClassVar[str] = "sigma"
    output_bits: ClassVar[tuple[int, bool] | None] = (32, True)
    states: ClassVar[tuple[State, ...]] = (_SUM,)
    equation: ClassVar[str] = "total = total + a\ns = total"


@layer_kind
@dataclass(frozen=True, eq=False)
class Delta(_Sums):
    """Sends changes of at least ``threshold``: the encoder of a sigma-delta chain."""

    kind: ClassVar[str] = "delta"
    states: ClassVar[tuple[State, ...]] = (_LAST, _RESIDUE)
    equation: ClassVar[str] = "x = a << (spike_bits + 6)" + _SENT_CHANGES
    threshold: int = scalar_field(0, (1 << 17) - 1)
    spike_bits: int = scalar_field(0, 6)

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``: a change is a word, sent without its fraction bits."""
        return -WORD - 1 >> SPIKE_STATE_BITS, WORD >> SPIKE_STATE_BITS


@layer_kind
@dataclass(frozen=True, eq=False)
class SigmaDelta(_Sums):
    """Sums changes, adds a bias, rectifies, and sends its own changes."""

    kind: ClassVar[str] = "sigma_delta"
    states: ClassVar[tuple[State, ...]] = (_SUM, _LAST, _RESIDUE)
    equation: ClassVar[str] = (
        "total = total + a\nx = max(total + (bias << (spike_bits + 6)), 0)" + _SENT_CHANGES
    )
    bias: Array = array_field("int32", "n", -(1 << 15), (1 << 15) - 1)
    threshold: int = scalar_field(0, (1 << 17) - 1)
    spike_bits: int = scalar_field(0, 6)

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``: a change is a word, sent without its fraction bits."""
        return -WORD - 1 >> SPIKE_STATE_BITS, WORD >> SPIKE_STATE_BITS

    @property
    def is_biased(self) -> bool:
        """See ``Layer.is_biased``."""
        return bool(self.bias.any())
