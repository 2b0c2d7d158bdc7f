"""Neurons of which each leaks at a rate of its own: learned time constants, one a channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from spikegpt_neuro.arithmetic.formats import MEMBRANE_LIMIT
from spikegpt_neuro.network.elementwise import (
    Elementwise,
    multiplier_field,
    shift_field,
    vector_field,
)
from spikegpt_neuro.network.neurons import Lif
from spikegpt_neuro.network.registry import layer_kind
from spikegpt_neuro.network.schema import (
    Array,
    Layer,
    Port,
    Range,
    Role,
    State,
    array_field,
    scalar_field,
)
from spikegpt_neuro.network.slayer_layers import Cuba, Recurrent, RecurrentCuba

Decay = int | Array
"""The part of 4096 that leaks away a step: of all neurons, or of each."""


def decays_field() -> Any:
    """The part of 4096 that leaks away a step, one a channel."""
    return array_field("int32", "n", 0, 4096)


@layer_kind
@dataclass(frozen=True, eq=False)
class VariedLif(Elementwise):
    """``Lif`` neurons with decays of their own, see ``arithmetic.varied_neurons``."""

    kind: ClassVar[str] = "varied_lif"
    fires: ClassVar[bool] = True
    sparse: ClassVar[bool] = True
    fixed_neuron: ClassVar[bool] = True
    states: ClassVar[tuple[State, ...]] = (State("v", -MEMBRANE_LIMIT, MEMBRANE_LIMIT),)
    equation: ClassVar[str] = Lif.equation
    multiplier: Array = multiplier_field()
    shift: Array = shift_field()
    offset: Array = vector_field(24)
    voltage_decay: Array = decays_field()
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
        """See ``Layer.levels_compared``."""
        return self.levels

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
class VariedCuba(Layer):
    """``Cuba`` neurons with decays of their own, see ``arithmetic.varied_neurons``."""

    kind: ClassVar[str] = "varied_cuba"
    input_count: ClassVar[int] = 1
    driver: ClassVar[int] = 0
    output_bits: ClassVar[tuple[int, bool] | None] = (1, False)
    chip_role: ClassVar[Role] = "neuron"
    fires: ClassVar[bool] = True
    sparse: ClassVar[bool] = True
    fixed_neuron: ClassVar[bool] = True
    states: ClassVar[tuple[State, ...]] = Cuba.states
    equation: ClassVar[str] = Cuba.equation
    bias: Array = array_field("int32", "n", -(1 << 15), (1 << 15) - 1)
    current_decay: Array = decays_field()
    voltage_decay: Array = decays_field()
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
class RecurrentVariedCuba(Recurrent, VariedCuba):
    """``VariedCuba`` neurons with recurrent synapses; the state's last part is the last spikes."""

    kind: ClassVar[str] = "recurrent_varied_cuba"
    states: ClassVar[tuple[State, ...]] = RecurrentCuba.states
    equation: ClassVar[str] = RecurrentCuba.equation


def current_based(
    name: str, source: str, output: Port, bias: Array, decays: tuple[Decay, Decay], threshold: int,
    weight: Array | None = None,
) -> Layer:  # fmt: skip
    """The layer of current-based LIF neurons of the kind that its decays need.

    ``decays`` of current and voltage: integers, or arrays [n] where neurons differ. ``weight``:
    of recurrent synapses, int16 [n, n].
    """
    varied = any(isinstance(decay, np.ndarray) and np.ptp(decay) for decay in decays)
    held: list[Any] = [
        np.broadcast_to(decay, bias.shape).astype(np.int32) if varied else int(np.ravel(decay)[0])
        for decay in decays
    ]
    kinds: tuple[Any, Any] = (Cuba, RecurrentCuba)
    if varied:
        kinds = VariedCuba, RecurrentVariedCuba
    made: Layer
    if weight is None:
        made = kinds[0](name, (source,), output, bias, *held, threshold)
    else:
        made = kinds[1](name, (source,), output, bias, *held, threshold, weight)
    return made
