"""The energy report: a network, the counts of a run, and a hardware profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from spikegpt_neuro.energy.activity import LayerActivity, activities
from spikegpt_neuro.energy.parts import (
    CATEGORIES,
    Energy,
    NotCounted,
    PricedPart,
    settle,
    total,
)
from spikegpt_neuro.energy.pricing import Sensitivity, bill, sensitivity
from spikegpt_neuro.energy.spikes import spike_statement
from spikegpt_neuro.energy.timing import Mode, Timing, check_mode
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
from spikegpt_neuro.network import Chain, LanguageModel, Network

ALWAYS_NOT_COUNTED = (
    "look-up of the embedding, which the host does",
    "tokenisation, sampling and everything else the host does",
    "loading weights, configuration and start-up",
    "off-chip memory, voltage conversion, cooling, boards",
    "queues in routers: a link's own time is counted, waiting behind other packets is not",
)
"""What no profile prices."""


def _shape(network: Network) -> dict[str, Any]:
    """What a report says of a network's size; a chain has values in and out, and no blocks."""
    if isinstance(network, LanguageModel):
        info = network.info
        return {
            "layout": info.layout,
            "layers": info.n_layer,
            "width": info.n_embd,
            "vocabulary_size": info.vocabulary_size,
        }
    assert isinstance(network, Chain)
    return {
        "layout": network.info.layout,
        "inputs": network.input_size,
        "outputs": network.output_size,
    }


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

    ``mode``: ``pipelined`` (prefill, scoring) or ``fall-through`` (generation). ``energy`` is None
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
        """What to know before quoting: the profile's sentences, and a power no chip can draw."""
        return self.profile.warnings + power_warnings(self)

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
        """Plain JSON values. Keys carry their unit; see docs/energy.md."""
        energy = self.energy
        return {
            "profile": self.profile.name,
            "profile_title": self.profile.title,
            "method": self.profile.method,
            "mode": self.mode,
            **_shape(self.network),
            "tokens": self.counters.tokens,
            "energy_joules_per_token": None if energy is None else energy.value,
            "energy_joules_per_token_low": None if energy is None else energy.low,
            "energy_joules_per_token_high": None if energy is None else energy.high,
            "energy_note": "estimate from counts and published coefficients, not a measurement"
            if energy is not None
            else "no per-operation data",
            "energy_joules_per_sequence": self.joules_per_sequence,
            "power_watts": self.power_watts,
            "energy_joules_per_token_by_category": {
                category: e.to_dict() for category, e in self.by_category.items()
            },
            "time": None
            if self.timing is None
            else _timing_dict(self.timing, self.counters.tokens),
            "synaptic_operations_per_token": self.per_token("synaptic_operations"),
            "accumulates_per_token": self.per_token("accumulates"),
            "multiply_accumulates_per_token": self.per_token("multiply_accumulates"),
            "dense_operations_per_token": self.per_token("dense_operations"),
            "spikes_per_token": sum(layer.output_events for layer in self.layers if layer.fires)
            / self.counters.tokens,
            "event_bits_per_token": self.per_token("event_bits"),
            "spike_statement": list(self.statement),
            "per_layer": [self._layer_dict(layer) for layer in self.layers],
            "bill": [
                {
                    "category": line.category,
                    "event": line.event,
                    "count_per_token": line.count,
                    "coefficient": line.coefficient,
                    "status": line.status,
                    "energy_joules_per_token": line.energy.value,
                    "energy_joules_per_token_low": line.energy.low,
                    "energy_joules_per_token_high": line.energy.high,
                }
                for line in self.lines
            ],
            "parts": [_part_dict(p) for p in self.parts],
            "sensitivity": [
                {
                    "coefficient": s.coefficient,
                    "elasticity": s.elasticity,
                    "energy_joules_per_token_at_low": s.at_low,
                    "energy_joules_per_token_at_high": s.at_high,
                }
                for s in self.sensitivity
            ],
            "coefficients": coefficient_rows(self.profile),
            "not_counted": [
                {"what": n.what, "count_per_token": n.count_per_token, "why": n.why}
                for n in self.not_counted
            ],
            "never_counted": list(ALWAYS_NOT_COUNTED),
            "unpublished": list(self.profile.unpublished),
            "warnings": list(self.warnings),
            "violations": [v.to_dict() for v in self.violations],
            "mapping": None if self.mapping is None else _mapping_summary(self.mapping),
            "machine": None if self.mapping is None else self._machine_dict(self.mapping),
        }

    def _machine_dict(self, mapping: Mapping) -> dict[str, Any]:
        """What the target runs, and what of it is synaptic work."""
        populations = [unit for unit in self.units if unit.role == "neuron"]
        return {
            "graph": "fine" if mapping.machine.is_fine else "layers",
            "populations": len(populations),
            "neurons": sum(unit.size for unit in populations),
            "time_steps_per_token": mapping.machine.steps,
            "synaptic_operations_per_token": sum(u.synaptic_operations for u in self.units)
            / self.counters.tokens,
        }

    def _layer_dict(self, layer: LayerActivity) -> dict[str, Any]:
        energy = self.by_layer.get(layer.name)
        packets, hops = None, None
        if self.mapping is not None:
            sent = [
                found
                for name, found in self.mapping.transport.items()
                if self.mapping.machine.owners[name] == layer.name
            ]
            packets = sum(number for number, _ in sent)
            if self.mapping.has_mesh:
                hops = sum(travelled.total for _, travelled in sent)
        return {
            "name": layer.name,
            "kind": layer.kind,
            "stage": layer.stage,
            "operand": layer.operand,
            "operand_bits": layer.payload_bits,
            "input_rate": layer.input_rate,
            "output_rate": layer.output_rate,
            "energy_joules_per_token": None if energy is None else energy.value,
            "accumulates": layer.accumulates,
            "multiply_accumulates": layer.multiply_accumulates,
            "dense_operations": layer.dense_operations,
            "unit_additions": layer.unit_additions,
            "elementwise_operations": dict(layer.elementwise),
            "neuron_updates_active": layer.active_updates,
            "neuron_updates_idle": layer.idle_updates,
            "input_events": layer.input_events,
            "output_events": layer.output_events,
            "output_bits": layer.output_bits,
            "event_bits": layer.event_bits,
            "weights_read": layer.weights_read,
            "state_words_read": layer.state_words_read,
            "state_words_written": layer.state_words_written,
            "parameter_words_read": layer.parameter_words_read,
            "activation_words_read": layer.activation_words_read,
            "activation_words_written": layer.activation_words_written,
            "packets_per_token": packets,
            "hops_per_token": hops,
            "saturations": layer.saturations,
            "overflows": layer.overflows,
        }


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


def coefficient_rows(profile: Profile) -> list[dict[str, Any]]:
    """Every coefficient and curve of a profile with range, unit, status, source and note."""
    figures = [figure.to_dict() for figure in profile.coefficients.values()]
    return figures + [curve.to_dict() for curve in profile.curves.values()]


def _timing_dict(timing: Timing, tokens: int) -> dict[str, Any]:
    return {
        "seconds_per_sequence": timing.seconds(tokens),
        "seconds_per_token": timing.value,
        "seconds_per_token_low": timing.low,
        "seconds_per_token_high": timing.high,
        "latency_seconds": timing.latency,
        "tokens_per_second": 1.0 / timing.value if timing.value else None,
        "time_steps_per_token": timing.steps if timing.mode == "fall-through" else 1,
        "busiest_core": timing.busiest_core,
        "busiest_core_layers": list(timing.busiest_layers),
        "overhead_share": timing.overhead_share,
        "host_seconds_per_token": timing.host_seconds,
        "seconds_per_token_by_bottleneck": timing.bottlenecks,
        "steps": [
            {
                "step": step.number,
                "seconds": step.seconds,
                "bottleneck": step.bottleneck,
                "busiest_core_layers": list(step.layers),
            }
            for step in timing.each_step
        ],
    }


def _part_dict(priced: PricedPart) -> dict[str, Any]:
    part = priced.part
    return {
        "layer": part.layer,
        "category": part.category,
        "event": part.event,
        "count_per_token": float(part.count),
        "coefficient": part.coefficient,
        "status": part.status,
        "energy_joules_per_token": priced.energy.value,
        "energy_joules_per_token_low": priced.energy.low,
        "energy_joules_per_token_high": priced.energy.high,
    }


def _mapping_summary(mapping: Mapping) -> dict[str, Any]:
    values = mapping.to_dict()
    return {k: v for k, v in values.items() if k not in ("core_utilisation", "violations")}


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
    modes: Sequence[str] = ("pipelined", "fall-through"), packing: str = "middle",
    spread: str = "spread",
) -> tuple[EnergyReport, ...]:  # fmt: skip
    """Reports of every profile in every mode; each profile is mapped once."""
    reports = []
    for profile in profiles:
        mapping = None
        if describes_cores(profile):
            mapping = map_network(network, profile, packing, counters, spread)
        used = modes if profile.method == "event-driven" else tuple(modes)[:1]
        reports += [build_report(network, counters, profile, mode=m, mapping=mapping) for m in used]
    return tuple(reports)
