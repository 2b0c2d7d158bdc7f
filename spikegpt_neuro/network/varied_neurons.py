"""Neurons of which each leaks at a rate of its own: learned time constants, one a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from spikegpt_neuro.network.neurons import LifNeurons
from spikegpt_neuro.network.registry import layer_kind
from spikegpt_neuro.network.schema import Array, Layer, Port, State, array_field
from spikegpt_neuro.network.slayer_layers import Cuba, Recurrent, RecurrentCuba, StockNeurons

Decay = int | Array
"""The part of 4096 that leaks away a step: of all neurons, or of each."""


def decays_field() -> Any:
    """The part of 4096 that leaks away a step, one a channel."""
    return array_field("int32", "n", 0, 4096)


@layer_kind
@dataclass(frozen=True, eq=False)
class VariedLif(LifNeurons):
    """``Lif`` neurons with decays of their own, see ``arithmetic.varied_neurons``."""

    kind: ClassVar[str] = "varied_lif"
    voltage_decay: Array = decays_field()


@layer_kind
@dataclass(frozen=True, eq=False)
class VariedCuba(StockNeurons):
    """``Cuba`` neurons with decays of their own, see ``arithmetic.varied_neurons``."""

    kind: ClassVar[str] = "varied_cuba"
    fixed_neuron: ClassVar[bool] = True
    states: ClassVar[tuple[State, ...]] = Cuba.states
    equation: ClassVar[str] = Cuba.equation
    current_decay: Array = decays_field()
    voltage_decay: Array = decays_field()


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
