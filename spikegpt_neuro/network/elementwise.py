"""What the kinds of neurons that work channel by channel have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from spikegpt_neuro.network.schema import (
    Layer,
    Role,
    State,
    array_field,
)


def multiplier_field() -> Any:
    """15-bit mantissas of factors, one a channel."""
    return array_field("int32", "n", -(1 << 15), 1 << 15)


def shift_field() -> Any:
    """Their powers of two."""
    return array_field("int32", "n", 0, 62)


def vector_field(bits: int) -> Any:
    """Signed integers of ``bits`` bits, one a channel."""
    return array_field("int32", "n", -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


@dataclass(frozen=True, eq=False)
class Elementwise(Layer):
    """Base of the neurons that work channel by channel and keep nothing."""

    input_count: ClassVar[int] = 1
    driver: ClassVar[int] = 0
    output_bits: ClassVar[tuple[int, bool] | None] = None
    chip_role: ClassVar[Role] = "neuron"
    fires: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    fixed_neuron: ClassVar[bool] = False
    states: ClassVar[tuple[State, ...]] = ()
