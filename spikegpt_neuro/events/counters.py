"""Event counts of a run: the same integers from every backend, and all an energy report needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from spikegpt_neuro.errors import InputError

COLUMNS: Final = (
    "input_events",
    "unit_input_events",
    "synaptic_operations",
    "unit_synaptic_operations",
    "unit_additions",
    "output_events",
    "active_updates",
    "saturations",
    "overflows",
    "sum_events",
    "statistic_events",
)
"""What is counted per layer, each summed over all tokens:

``input_events``              non-zero operands (elements of the first input vector)
``unit_input_events``         of these, those of magnitude 1
``synaptic_operations``       sum over non-zero operands of the non-zero weights each reaches
``unit_synaptic_operations``  of these, those whose operand is +1 or -1
``unit_additions``            sum over operands of ``|operand|`` x the non-zero weights each reaches
``output_events``             non-zero outputs (spikes, for LIF neurons)
``active_updates``            neuron updates that received a non-zero input
``saturations``               results clipped to the range of the layer's port
``overflows``                 accumulators outside the declared accumulator width
``sum_events``                of a layer norm: non-zero limbs of its channels' values and squares
``statistic_events``          of a layer norm: non-zero ones of mean, root and its shift
"""


@dataclass(frozen=True)
class Counters:
    """Counts of a run over ``tokens`` tokens: ``layers[layer name][column]``, Python integers.

    A column a layer does not list is 0. Two counters are equal when all their counts are.
    """

    tokens: int = 0
    layers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = []
        if isinstance(self.tokens, bool) or not isinstance(self.tokens, int) or self.tokens < 0:
            problems.append(f"tokens is {self.tokens!r}, must be an integer >= 0")
        for name, counts in self.layers.items():
            for column, count in counts.items():
                if column not in COLUMNS:
                    problems.append(f"{name}: unknown column {column!r}")
                elif isinstance(count, bool) or not isinstance(count, int) or count < 0:
                    problems.append(f"{name}/{column} is {count!r}, must be an integer >= 0")
        if problems:
            raise InputError("These are not event counters:", problems)

    def count(self, layer: str, column: str) -> int:
        """One count; 0 where the layer or its column is not listed."""
        if column not in COLUMNS:
            raise KeyError(column)
        return self.layers.get(layer, {}).get(column, 0)

    def total(self, column: str) -> int:
        """Sum of a column over all layers."""
        return sum(self.count(layer, column) for layer in self.layers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counters):
            return NotImplemented
        return self.difference(other) is None

    __hash__ = None  # type: ignore[assignment]

    def _names(self, other: Counters) -> list[str]:
        """Layer names of both, in order of first appearance."""
        return list(dict.fromkeys([*self.layers, *other.layers]))

    def __add__(self, other: Counters) -> Counters:
        """Counts of two runs together."""
        layers = {
            name: {
                column: self.count(name, column) + other.count(name, column) for column in COLUMNS
            }
            for name in self._names(other)
        }
        return Counters(self.tokens + other.tokens, layers)

    def __sub__(self, earlier: Counters) -> Counters:
        """What happened since ``earlier``, a snapshot of the same session. Raises InputError if
        that would make a count negative."""
        layers = {
            name: {
                column: self.count(name, column) - earlier.count(name, column) for column in COLUMNS
            }
            for name in self._names(earlier)
        }
        return Counters(self.tokens - earlier.tokens, layers)

    def difference(self, other: Counters) -> str | None:
        """The first layer and column in which two counters differ, as a sentence; None if equal."""
        if self.tokens != other.tokens:
            return f"tokens: {self.tokens} and {other.tokens}"
        for name in self._names(other):
            for column in COLUMNS:
                mine, theirs = self.count(name, column), other.count(name, column)
                if mine != theirs:
                    return f"{name}/{column}: {mine} and {theirs}"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return {
            "tokens": self.tokens,
            "layers": {
                name: {column: self.count(name, column) for column in COLUMNS}
                for name in self.layers
            },
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Counters:
        """Read what ``to_dict`` wrote. Raises InputError listing everything that is wrong."""
        unknown = sorted(set(values) - {"tokens", "layers"})
        problems = [f"unknown key {key!r}" for key in unknown]
        problems += [f"missing key {key!r}" for key in ("tokens", "layers") if key not in values]
        layers = values.get("layers", {})
        if not isinstance(layers, Mapping) or not all(
            isinstance(counts, Mapping) for counts in layers.values()
        ):
            problems.append("layers must map layer names to counts by column")
        if problems:
            raise InputError("These are not event counters:", problems)
        found = cls(values["tokens"], {name: dict(counts) for name, counts in layers.items()})
        # a count that an earlier version did not make must not be taken for 0
        lacking = sorted({c for counts in layers.values() for c in set(COLUMNS) - set(counts)})
        if lacking:
            raise InputError(
                "These event counters lack what is counted now:",
                lacking,
                "They are of an earlier version, or cut: count the run again.",
            )
        return found
