"""The energy report: a network, the counts of a run, and a hardware profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from spikegpt_neuro.energy.activity import LayerActivity, activities
from spikegpt_neuro.energy.choosing import closed_loop_problem
from spikegpt_neuro.energy.mapping_choice import Aim, mapping_for
from spikegpt_neuro.energy.parts import (
    CATEGORIES,
    Energy,
    NotCounted,
    PricedPart,
    settle,
    total,
)
from spikegpt_neuro.energy.pricing import Sensitivity, bill, sensitivity
from spikegpt_neuro.energy.report_values import report_values
from spikegpt_neuro.energy.spikes import spike_statement
from spikegpt_neuro.energy.timing import CLOSED_LOOP, EVERY_MODE, Mode, Timing, check_mode
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.events.measurement import SYSTEM
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.hardware_profiles.schema import COEFFICIENTS
from spikegpt_neuro.mapping import (
    Mapping,
    Violation,
    check_rules,
    describes_cores,
    map_network,
)
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.network import as_language_model
from spikegpt_neuro.network.selection import as_selecting, with_selection


@dataclass(frozen=True)
class BillLine:
    """All parts of one event at one coefficient, over layers: ``count`` events a token."""

    category: str
    event: str
    coefficient: str
    status: str
    count: float
    energy: Energy

    @property
    def over_time(self) -> bool:
        """True for powers: ``count`` is then a time in seconds, summed over chips."""
        return COEFFICIENTS.get(self.coefficient, ("",))[0] == "W"

    @property
    def joules_each(self) -> float:
        """Mean joules of one event; of powers, watts."""
        return self.energy.value / self.count if self.count else 0.0


@dataclass(frozen=True, eq=False, repr=False)
class EnergyReport:
    """Energy and time of one token on one target, in one mode, with everything they rest on.

    ``mode``: ``pipelined`` (prefill, scoring), ``fall-through`` (generation) or ``closed-loop``
    (generation of a chip left to itself; ``network`` then chooses its tokens). ``energy`` is None
    where the profile holds no energies: there is no such thing as an energy of zero here.
    ``units``: what was priced (``mapping.machine``); ``parts`` carry the layer each belongs to.
    """

    network: Network
    counters: Counters
    profile: Profile
    mode: Mode
    layers: tuple[LayerActivity, ...]
    units: tuple[LayerActivity, ...]
    parts: tuple[PricedPart, ...]
    not_counted: tuple[NotCounted, ...]
    timing: Timing | None
    mapping: Mapping | None
    violations: tuple[Violation, ...]
    statement: tuple[str, ...]

    def __repr__(self) -> str:
        if self.energy is None:
            return f"<EnergyReport: {self.profile.name}, {self.mode}: no energies known>"
        low, value, high = (
            f"{1e6 * joules:.4g}"
            for joules in (self.energy.low, self.energy.value, self.energy.high)
        )
        return (
            f"<EnergyReport: {self.profile.name}, {self.mode}: estimated {value} microjoules a "
            f"token ({low} to {high})>"
        )

    @cached_property
    def energy(self) -> Energy | None:
        """Joules a token: exactly the sum of ``parts``."""
        return total(self.parts) if self.parts else None

    @cached_property
    def sensitivity(self) -> tuple[Sensitivity, ...]:
        """Every coefficient that moves the total, the strongest first; takes a bill for each."""
        return sensitivity(self.network, self.units, self.profile, self.mapping, self.mode)

    @property
    def joules_per_sequence(self) -> float | None:
        """Joules of the whole text as one sequence. While a pipeline fills, chips and host draw
        their power and no token leaves: that is added to the tokens' own energy."""
        return self.joules_of(self.counters.tokens)

    def joules_of(self, tokens: float) -> float | None:
        """Joules of a sequence of (on average) so many tokens like these; see above."""
        found = self.energy_of(tokens)
        return None if found is None else found.value

    def energy_of(self, tokens: float) -> Energy | None:
        """``joules_of`` with its range."""
        if self.energy is None:
            return None
        steps = self.timing.fill_steps if self.timing is not None else 0
        powers = total(p for p in self.parts if p.part.category in ("static", "host"))
        return Energy(
            self.energy.low * tokens + powers.low * steps,
            self.energy.value * tokens + powers.value * steps,
            self.energy.high * tokens + powers.high * steps,
        )

    @property
    def power_watts(self) -> float | None:
        """Mean power over the time of a token."""
        if self.energy is None or self.timing is None or self.timing.value == 0:
            return None
        return self.energy.value / self.timing.value

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before quoting: the profile's sentences, a power no chip can draw, and what
        a loop on the chip rests on."""
        return self.profile.warnings + power_warnings(self) + loop_warnings(self)

    @cached_property
    def by_category(self) -> dict[str, Energy]:
        """Joules a token by category; they sum to ``energy`` exactly."""
        present = {p.part.category for p in self.parts}
        return {
            category: total(p for p in self.parts if p.part.category == category)
            for category in CATEGORIES
            if category in present
        }

    @cached_property
    def by_layer(self) -> dict[str, Energy]:
        """Joules a token by layer, and of the system; they sum to ``energy`` exactly."""
        grouped: dict[str, list[PricedPart]] = {}
        for priced in self.parts:
            grouped.setdefault(priced.part.layer, []).append(priced)
        names = [layer.name for layer in self.layers] + [SYSTEM]
        return {name: total(grouped[name]) for name in names if name in grouped}

    @cached_property
    def lines(self) -> tuple[BillLine, ...]:
        """The bill: parts of all layers together, by category; they sum to ``energy`` exactly."""
        grouped: dict[tuple[str, str, str, str], list[PricedPart]] = {}
        for p in self.parts:
            key = (p.part.category, p.part.event, p.part.coefficient, p.part.status)
            grouped.setdefault(key, []).append(p)
        ordered = sorted(grouped.items(), key=lambda item: CATEGORIES.index(item[0][0]))
        return tuple(
            BillLine(*key, float(sum(p.part.count for p in found)), total(found))
            for key, found in ordered
        )

    @cached_property
    def by_stage(self) -> dict[str, dict[str, Energy]]:
        """Joules a token by stage and category."""
        stage = {layer.name: layer.stage for layer in self.layers}
        grouped: dict[str, dict[str, list[PricedPart]]] = {}
        for priced in self.parts:
            where = stage.get(priced.part.layer, SYSTEM)
            by = grouped.setdefault(where, {})
            by.setdefault(priced.part.category, []).append(priced)
        return {
            where: {c: total(by[c]) for c in CATEGORIES if c in by} for where, by in grouped.items()
        }

    def per_token(self, field: str) -> float:
        """Mean over tokens of a count of ``LayerActivity``, summed over layers."""
        return sum(getattr(layer, field) for layer in self.layers) / self.counters.tokens

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, see ``energy.report_values``."""
        return report_values(self)


def power_warnings(report: EnergyReport) -> tuple[str, ...]:
    """A sentence where the mean power of a chip is above the most that was ever published.

    Energies of operations that cannot be drawn in the time they are said to take: one of the two is
    wrong, so this is a rule that warns.
    """
    ceiling = report.profile.coefficients.get("power_ceiling_per_chip")
    if ceiling is None or report.power_watts is None or report.mapping is None:
        return ()
    each = report.power_watts / report.mapping.chips
    if each <= ceiling.value:
        return ()
    return (
        f"Mean power is {each:.2f} W a chip; the published ceiling is {float(ceiling.value):.2f} W "
        f"({ceiling.source}): this time is too short, or these energies are too large.",
    )


def loop_warnings(report: EnergyReport) -> tuple[str, ...]:
    """What a figure of a loop on the chip rests on; nothing in other modes."""
    if report.mode != CLOSED_LOOP:
        return ()
    readout = as_selecting(report.network).logits
    found = (
        "Closed on the chip means greedy: the most probable token, always. Sampling would need "
        "random numbers on the chip.",
        "The loop was run on the CPU models of lava-fine, never on silicon: that a chip left to "
        "itself takes the same time steps, one after the other and no others, is assumed.",
    )
    clipped = report.counters.count(readout.name, "saturations")
    if clipped:
        found += (
            f"{clipped} logits in {report.counters.tokens} tokens were clipped to "
            f"{readout.output.bits} bits: between such the choice may be another than the host's.",
        )
    return found


def build_report(
    network: Network, counters: Counters, profile: Profile, *, mode: str = "pipelined",
    packing: str = "middle", spread: str = "spread", mapping: Mapping | None = None,
) -> EnergyReport:  # fmt: skip
    """Price a run.

    ``counters`` are of any backend's run of ``network``. ``mapping`` may be given to save the time
    of mapping again; otherwise the network is mapped where the profile describes cores. Raises
    InputError for an unknown mode or packing, counters of another network, or a layer kind without
    a cost model.
    """
    checked = check_mode(mode)
    layers = units = activities(network, counters)
    if mapping is None and describes_cores(profile):
        mapping = map_network(network, profile, packing, counters, spread)
    owners: dict[str, str] = {}
    if mapping is not None:
        violations = mapping.violations
        if mapping.machine.is_fine:
            counted = mapping.machine.counters(counters)
            assert counted is not None
            units = activities(mapping.machine, counted)
            owners = dict(mapping.machine.owners)
    else:
        violations = check_rules(network, profile, packing, (), counters)
    paid = bill(network, units, profile, mapping, checked)
    parts = [replace(part, layer=owners.get(part.layer, part.layer)) for part in paid.parts]
    return EnergyReport(
        network=network,
        counters=counters,
        profile=profile,
        mode=checked,
        layers=layers,
        units=units,
        parts=settle(parts),
        not_counted=paid.not_counted,
        timing=paid.timing,
        mapping=mapping,
        violations=violations,
        statement=spike_statement(network, layers),
    )


def build_reports(
    network: Network, counters: Counters, profiles: Sequence[Profile], *,
    modes: Sequence[str] = EVERY_MODE, packing: str = "middle", spread: str = "spread",
    aim: Aim | None = None, choosing: Counters | None = None,
) -> tuple[EnergyReport, ...]:  # fmt: skip
    """Reports of every profile in every mode; each profile is mapped once, for least ``aim``, and
    once more for a closed loop, whose network has layers more.

    ``choosing``: the run's counts with those layers (``choosing.ChoiceCounter``). Without them, and
    on targets without a closed loop, that mode is left out.
    """
    checked = [check_mode(mode) for mode in modes]
    opened = [mode for mode in checked if mode != CLOSED_LOOP]
    reports = []
    for profile in profiles:
        if not opened and profile.method != "event-driven":
            continue
        used = opened if profile.method == "event-driven" else opened[:1]
        mapping = None
        if describes_cores(profile) and used:
            mapping = mapping_for(
                network, profile, counters, aim, packing=packing, spread=spread, modes=used
            )
        reports += [build_report(network, counters, profile, mode=m, mapping=mapping) for m in used]
        if CLOSED_LOOP in checked and choosing is not None:
            reports += _closed(network, choosing, profile, packing, spread, aim)
    return tuple(reports)


def _closed(
    network: Network, choosing: Counters, profile: Profile, packing: str, spread: str,
    aim: Aim | None,
) -> list[EnergyReport]:  # fmt: skip
    """The report of the closed loop, where the profile has one."""
    if closed_loop_problem(network, profile) or not describes_cores(profile):
        return []
    chooser = with_selection(as_language_model(network))
    mapping = mapping_for(
        chooser, profile, choosing, aim, packing=packing, spread=spread, modes=[CLOSED_LOOP]
    )
    return [build_report(chooser, choosing, profile, mode=CLOSED_LOOP, mapping=mapping)]
