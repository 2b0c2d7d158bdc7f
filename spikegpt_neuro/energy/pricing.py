"""From counts to parts, whatever the method of the profile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.energy.arithmetic import price_arithmetic
from spikegpt_neuro.energy.event_driven import alone, price_event_driven
from spikegpt_neuro.energy.parts import NotCounted, Part, price
from spikegpt_neuro.energy.timing import Mode, Timing, token_time
from spikegpt_neuro.events.measurement import SYSTEM
from spikegpt_neuro.hardware_profiles import Figure, Profile
from spikegpt_neuro.mapping import Mapping
from spikegpt_neuro.mapping.machine import layers_as_they_are
from spikegpt_neuro.network import Network


@dataclass(frozen=True)
class Bill:
    """Everything a profile can say about a run; ``parts`` is empty where it has no energies."""

    parts: tuple[Part, ...]
    not_counted: tuple[NotCounted, ...]
    timing: Timing | None

    @property
    def joules_per_token(self) -> Fraction:
        """Exact sum of all parts."""
        return sum((part.value for part in self.parts), Fraction(0))


def bill(
    network: Network, layers: tuple[LayerActivity, ...], profile: Profile,
    mapping: Mapping | None, mode: Mode,
) -> Bill:  # fmt: skip
    """Price the counts of a run. ``layers``: of what the mapping holds."""
    if profile.method == "arithmetic":
        parts, missing = price_arithmetic(layers, profile)
        return Bill(tuple(parts), tuple(missing), None)
    if profile.method == "event-driven":
        timing = None if mapping is None else token_time(layers, mapping, profile, mode)
        machine = layers_as_they_are(network) if mapping is None else mapping.machine
        occupancy = None if mode == "pipelined" else alone(machine)
        parts, missing = price_event_driven(layers, profile, mapping, timing, occupancy)
        return Bill(tuple(parts), tuple(missing), timing)
    figure = profile.coefficients.get("energy_per_token")
    if figure is None:
        why = "no per-operation data" if profile.method == "structure-only" else "no figure given"
        return Bill((), (NotCounted("all operations of the network", None, why),), None)
    tokens = layers[0].tokens
    whole = price(SYSTEM, "system", "one token of the whole system", figure, tokens, tokens)
    return Bill((whole,), (), None)


@dataclass(frozen=True)
class Sensitivity:
    """What one coefficient does to the total.

    ``elasticity``: relative change of the total for a relative change of the coefficient (0.5: ten
    per cent more in the coefficient gives five per cent more in the total). ``at_low`` and
    ``at_high``: joules a token with only this coefficient at the ends of its range.
    """

    coefficient: str
    elasticity: float
    at_low: float
    at_high: float


_STEP = Fraction(1, 100)


def _with(profile: Profile, name: str, value: Fraction) -> Profile:
    """The profile with one coefficient fixed to a value."""
    old = profile.coefficients[name]
    fixed: Figure = replace(old, value=value, low=value, high=value)
    return replace(profile, coefficients={**profile.coefficients, name: fixed})


def sensitivity(
    network: Network, layers: tuple[LayerActivity, ...], profile: Profile,
    mapping: Mapping | None, mode: Mode,
) -> tuple[Sensitivity, ...]:  # fmt: skip
    """Every coefficient that moves the total, the strongest first.

    The whole bill is priced again for each coefficient, so times that only act through static
    energy are seen too.
    """

    def total(changed: Profile) -> Fraction:
        return bill(network, layers, changed, mapping, mode).joules_per_token

    base = total(profile)
    if base == 0:
        return ()
    found = []
    for name, figure in profile.coefficients.items():
        more = total(_with(profile, name, figure.value * (1 + _STEP)))
        elasticity = float((more - base) / base / _STEP)
        at_low = at_high = float(base)
        if figure.has_range:
            at_low = float(total(_with(profile, name, figure.low)))
            at_high = float(total(_with(profile, name, figure.high)))
        if elasticity or at_low != at_high:
            found.append(Sensitivity(name, elasticity, at_low, at_high))
    for name, curve in profile.curves.items():
        steeper = replace(curve, points=tuple((x, y * (1 + _STEP)) for x, y in curve.points))
        more = total(replace(profile, curves={**profile.curves, name: steeper}))
        elasticity = float((more - base) / base / _STEP)
        if elasticity:
            found.append(Sensitivity(name, elasticity, float(base), float(base)))
    return tuple(sorted(found, key=lambda s: (-s.elasticity, s.coefficient)))
