"""What a search is asked and what it answers: budgets, choices, points of the front, fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from spikegpt_neuro.converters.reduction import Candidate, Choice, adopt
from spikegpt_neuro.converters.spike_levels import Clip, clip_spikes
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import LanguageModel


@dataclass(frozen=True)
class Budget:
    """What must be kept: one of the three. ``joules`` are of a token."""

    cores: int | None = None
    chips: int | None = None
    joules: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.cores, self.chips, self.joules) if value is not None]
        if len(given) != 1:
            raise InputError("give one budget: chips, cores or joules.")
        if not given[0] > 0:
            raise InputError(f"a budget of {given[0]} cannot be kept; give more than 0.")


@dataclass(frozen=True)
class Point:
    """One network of the front. ``bits_per_token`` on the text; ``joules`` and ``seconds`` None
    where the profile has no energies or times; ``bits`` a weight, as stored; ``levels``: largest
    graded spike, mean over the neurons, None where no spikes are graded.
    """

    bits_per_token: float
    loss: float
    cores: int
    chips: int
    joules: float | None
    seconds: float | None
    bits: float
    levels: float | None = None
    chosen: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Chosen:
    """One way for each projection; of populations, those whose levels were searched."""

    weights: Mapping[str, Candidate]
    levels: Mapping[str, Clip] = field(default_factory=dict)

    def network(self, whole: LanguageModel) -> LanguageModel:
        """``whole`` with these in place of its own."""
        return clip_spikes(adopt(whole, self.weights), self.levels)


@dataclass(frozen=True)
class Fit:
    """The network that keeps the budget, the choice for each projection, the levels of populations
    where they were searched, and the front."""

    network: LanguageModel
    choices: Mapping[str, Choice]
    levels: Mapping[str, int]
    point: Point
    front: tuple[Point, ...]
