"""Parts of an energy: a count times a coefficient, exact, and totals that are exactly their sum."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from spikegpt_neuro.hardware_profiles import Figure

CATEGORIES: Final = (
    "synaptic", "neuron", "elementwise", "transport", "memory", "static", "host", "system",
)  # fmt: skip
"""Groups of parts, in the order reports show them."""

_JOULES: Final = {"pJ": Fraction(1, 10**12), "J": Fraction(1)}


@dataclass(frozen=True)
class Part:
    """One line of the bill: ``count`` events of a layer at a coefficient, in joules a token.

    ``low``, ``value`` and ``high`` carry both the coefficient's range and that of the count.
    """

    layer: str
    category: str
    event: str
    count: Fraction
    coefficient: str
    status: str
    low: Fraction
    value: Fraction
    high: Fraction


@dataclass(frozen=True)
class NotCounted:
    """Something that occurred and has no price in this profile; None where it is not a count."""

    what: str
    count_per_token: float | None
    why: str


def price(
    layer: str, category: str, event: str, figure: Figure, tokens: int, count: int | Fraction,
    low: int | Fraction | None = None, high: int | Fraction | None = None,
) -> Part:  # fmt: skip
    """A part from counts over ``tokens`` tokens; ``low`` and ``high`` default to ``count``."""
    scale = _JOULES[figure.unit] / tokens
    middle = Fraction(count)
    return Part(
        layer,
        category,
        event,
        middle / tokens,
        figure.name,
        figure.status,
        (middle if low is None else Fraction(low)) * figure.low * scale,
        middle * figure.value * scale,
        (middle if high is None else Fraction(high)) * figure.high * scale,
    )


def on_common_grid(values: Sequence[Fraction], largest: Fraction) -> list[float]:
    """Round non-negative values to floats whose sum is exact in any order of addition.

    Every value becomes a multiple of one power of two, chosen so that a sum of ``largest`` (at
    least the sum of ``values``) has 51 significant bits: each partial sum is then a float, and no
    addition rounds. The error of one value is at most 2**-51 of ``largest``.
    """
    if largest == 0:
        return [0.0 for _ in values]
    unit = Fraction(2) ** (math.frexp(float(largest))[1] - 51)
    return [float(round(value / unit) * unit) for value in values]


@dataclass(frozen=True)
class Energy:
    """Joules a token with the range that sources and assumptions leave."""

    low: float
    value: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain JSON values."""
        return {"low": self.low, "value": self.value, "high": self.high}


@dataclass(frozen=True)
class PricedPart:
    """A part with its energy rounded to the grid all parts of a report share."""

    part: Part
    energy: Energy


def settle(parts: Iterable[Part]) -> tuple[PricedPart, ...]:
    """Round all parts of a report to one grid; low, value and high share it and keep order."""
    listed = tuple(parts)
    largest = sum((part.high for part in listed), Fraction(0))
    low = on_common_grid([part.low for part in listed], largest)
    value = on_common_grid([part.value for part in listed], largest)
    high = on_common_grid([part.high for part in listed], largest)
    return tuple(
        PricedPart(part, Energy(*row))
        for part, row in zip(listed, zip(low, value, high, strict=True), strict=True)
    )


def total(parts: Iterable[PricedPart]) -> Energy:
    """Exact sum of settled parts; the order of addition does not matter."""
    listed = tuple(parts)
    return Energy(
        sum(p.energy.low for p in listed),
        sum(p.energy.value for p in listed),
        sum(p.energy.high for p in listed),
    )
