"""The kind: what it holds, keeps, proves and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from spikegpt_neuro.network.registry import layer_kind
from spikegpt_neuro.network.schema import (
    Array,
    Layer,
    Range,
    Role,
    State,
    array_field,
    scalar_field,
)

LIMIT = (1 << 23) - 1


@layer_kind
@dataclass(frozen=True, eq=False)
class LeakyAverage(Layer):
    """A leaky average of its input, sent where it is large enough."""

    kind: ClassVar[str] = "leaky_average"
    input_count: ClassVar[int] = 1
    driver: ClassVar[int] = 0
    output_bits: ClassVar[tuple[int, bool] | None] = (24, True)
    chip_role: ClassVar[Role] = "neuron"
    fires: ClassVar[bool] = False
    fixed_neuron: ClassVar[bool] = False
    sparse: ClassVar[bool] = True
    states: ClassVar[tuple[State, ...]] = (State("average", -LIMIT, LIMIT),)
    equation: ClassVar[str] = """\
average = clip((average * keep >> 12) + round_shift(a * gain, shift), -8388607, 8388607)
s = average if abs(average) >= least else 0"""
    gain: Array = array_field("int32", "n", -(1 << 15), 1 << 15)
    shift: Array = array_field("int32", "n", 0, 62)
    keep: int = scalar_field(0, 4095)
    least: int = scalar_field(0, LIMIT)

    def value_range(self, inputs: Sequence[Range]) -> Range:
        """See ``Layer.value_range``: the average saturates."""
        return -LIMIT, LIMIT
