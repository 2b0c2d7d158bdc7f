"""Energy of event-driven hardware, and what its profile has no price for.

    E = N_syn e_syn + N_active e_act + N_idle e_idle + N_ops e_op
      + N_spikes e_out + N_packets (e_packet + e_tile) + N_EW e_EW + N_NS e_NS
      + (P_static chips + P_core cores + P_host) t

A synaptic operation's energy includes reading its weight; a neuron update's includes its state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.energy.parts import NotCounted, Part, price
from spikegpt_neuro.energy.timing import extra_operations, synaptic_work
from spikegpt_neuro.events.measurement import SYSTEM
from spikegpt_neuro.hardware_profiles import Figure, Profile
from spikegpt_neuro.mapping import Mapping as Placed
from spikegpt_neuro.mapping.roles import balancing_words
from spikegpt_neuro.mapping.units import Machine

ACTIVE = "neuron_update_active"
_NO_PRICE = "the profile has no coefficient for it"


class Duration(Protocol):
    """Seconds a token takes the target."""

    @property
    def low(self) -> float:
        """At the low end."""

    @property
    def value(self) -> float:
        """In the middle."""

    @property
    def high(self) -> float:
        """At the high end."""


@dataclass(frozen=True)
class Occupancy:
    """Time steps of the chip a token, and of these those in which each unit works, a token.

    ``least`` and ``most``: the same at the ends of the range where the schedule depends on times.
    """

    steps: Fraction
    working: Mapping[str, Fraction]
    least: Occupancy | None = None
    most: Occupancy | None = None

    def waiting(self, unit: str) -> Fraction:
        """Steps a token in which a unit waits for others."""
        return self.steps - self.working[unit]


def alone(machine: Machine) -> Occupancy:
    """One token walks through the machine, the next enters when it has left."""
    working = {name: Fraction(len(visits)) for name, visits in machine.visits.items()}
    return Occupancy(Fraction(machine.steps), working)


class _Bill:
    """Prices events, and collects those without a price."""

    def __init__(self, profile: Profile, tokens: int) -> None:
        self.profile = profile
        self.tokens = tokens
        self.parts: list[Part] = []
        self._missing: dict[str, Fraction] = {}

    def add(
        self, layer: str, category: str, event: str, coefficient: str, count: int | Fraction,
        low: int | Fraction | None = None, high: int | Fraction | None = None,
    ) -> None:  # fmt: skip
        """Add events over the text; none of them costs nothing, whatever its price."""
        if count == 0 and not high:
            return
        figure = self.profile.coefficients.get(coefficient)
        if figure is None:
            self._missing[event] = self._missing.get(event, Fraction(0)) + Fraction(count)
            return
        self.parts.append(price(layer, category, event, figure, self.tokens, count, low, high))

    def not_counted(self) -> list[NotCounted]:
        """Events without a price, with their number a token."""
        return [
            NotCounted(event, float(count / self.tokens), _NO_PRICE)
            for event, count in self._missing.items()
        ]


def price_event_driven(
    layers: tuple[LayerActivity, ...], profile: Profile, mapping: Placed | None,
    duration: Duration | None, occupancy: Occupancy | None,
) -> tuple[list[Part], list[NotCounted]]:  # fmt: skip
    """Parts of every layer and of the system, and the events without a price.

    ``occupancy``: None where tokens are pipelined and every step works on all layers. Without
    ``mapping`` (targets that describe no cores) transport and static energy are not counted.
    """
    tokens = layers[0].tokens
    bill = _Bill(profile, tokens)
    unpaid = profile.can("graded_spikes") is False
    for layer in layers:
        name = layer.name
        if layer.operand:
            repeated = layer.operand == "graded" and unpaid
            operations = synaptic_work(layer, profile)
            bill.add(
                name, "synaptic", f"synaptic operations, {layer.operand}", "synaptic_operation",
                operations, high=max(layer.unit_additions, operations) if repeated else None,
            )  # fmt: skip
        if layer.role == "neuron":
            _updates(bill, layer, occupancy)
            bill.add(
                name, "elementwise", "element-wise operations beyond a LIF update",
                "neuron_operation", extra_operations(layer),
            )  # fmt: skip
            if "spike_out" in profile.coefficients:
                bill.add(name, "transport", "spikes sent", "spike_out", layer.output_events)
    not_counted: list[NotCounted] = []
    if mapping is not None:
        _transport(bill, mapping)
        if not mapping.has_mesh:
            not_counted.append(
                NotCounted(
                    "hops of packets",
                    mapping.traffic.total,
                    "the profile does not say how routers lie; count is packets",
                )
            )
        if not mapping.machine.is_fine and occupancy is None and balancing_words(mapping.network):
            not_counted.append(
                NotCounted(
                    "words waiting in delay lines of skip connections",
                    float(balancing_words(mapping.network)),
                    "how a compiler builds them is not published",
                )
            )
        crossings = mapping.hops.chip_crossings
        if crossings:
            not_counted.append(
                NotCounted(
                    "packets between chips", crossings, "no energy between chips was published"
                )
            )
    else:
        not_counted.append(
            NotCounted("transport of spikes", None, "the profile describes no cores")
        )
    not_counted += _over_time(bill, mapping, duration)
    return bill.parts, [*bill.not_counted(), *not_counted]


def _updates(bill: _Bill, layer: LayerActivity, occupancy: Occupancy | None) -> None:
    """Updates of a layer's neurons: with input, without, and while only others work."""
    name, every = layer.name, bill.tokens * layer.size
    idle = "neuron_update_idle"
    if occupancy is None:
        bill.add(name, "neuron", "neuron updates, active", ACTIVE, layer.active_updates)
        bill.add(name, "neuron", "neuron updates, idle", idle, layer.idle_updates)
        return
    least, most = occupancy.least or occupancy, occupancy.most or occupancy
    # once a step that it works in instead of once a token
    bill.add(
        name, "neuron", "neuron updates, active", ACTIVE,
        *(layer.active_updates * each.working[name] for each in (occupancy, least, most)),
    )  # fmt: skip
    bill.add(name, "neuron", "neuron updates, idle", idle, layer.idle_updates)
    bill.add(
        name, "neuron", "neuron updates, waiting for other layers", idle,
        every * occupancy.waiting(name), 0, every * most.waiting(name),
    )  # fmt: skip


def _transport(bill: _Bill, mapping: Placed) -> None:
    sent = "packet_out" in bill.profile.coefficients
    delivered = "spike_in_tile" in bill.profile.coefficients
    for name, (packets, hops) in mapping.transport.items():
        scale = bill.tokens
        if sent:
            bill.add(name, "transport", "packets sent", "packet_out", Fraction(packets) * scale)
        if delivered or not sent:
            bill.add(
                name, "transport", "packets delivered", "spike_in_tile", Fraction(packets) * scale
            )
        if not mapping.has_mesh:
            continue
        bill.add(
            name, "transport", "hops east-west", "hop_east_west", Fraction(hops.east_west) * scale
        )
        bill.add(
            name, "transport", "hops north-south", "hop_north_south",
            Fraction(hops.north_south) * scale,
        )  # fmt: skip


@dataclass(frozen=True)
class Power:
    """A power that is drawn as long as the target is on: ``count`` times a figure, if known."""

    category: str
    event: str
    count: int
    figure: Figure | None


def powers(profile: Profile, mapping: Placed | None) -> tuple[Power, ...]:
    """The chips at rest, the host, and cores in use where those are told apart."""
    chips = mapping.chips if mapping is not None else 1
    static = "static_power_per_chip"
    if chips > 1 and f"{static}_in_system" in profile.coefficients:
        static += "_in_system"
    cores = len(mapping.cores) if mapping is not None else 0
    rows = [
        ("static", static, chips, f"static power of {chips} chip{'s' * (chips > 1)}"),
        ("host", "host_power", 1, "power of the host"),
    ]
    if "power_per_core_in_use" in profile.coefficients:
        rows.append(("static", "power_per_core_in_use", cores, f"power of {cores} cores in use"))
    return tuple(
        Power(category, event, count, profile.coefficients.get(name))
        for category, name, count, event in rows
    )


def _over_time(bill: _Bill, mapping: Placed | None, duration: Duration | None) -> list[NotCounted]:
    """Powers times the time of a token."""
    missing = []
    for power in powers(bill.profile, mapping):
        figure = power.figure
        if figure is None:
            missing.append(NotCounted(power.event, None, "not published for this target"))
        elif duration is None:
            why = "no time per operation is published"
            if mapping is None:
                why = "the profile describes no cores, so the time is not known"
            missing.append(NotCounted(power.event, None, why))
        else:
            low, value, high = (
                Fraction(t) * power.count for t in (duration.low, duration.value, duration.high)
            )
            bill.parts.append(
                Part(
                    SYSTEM, power.category, f"{power.event} over the time of a token", value,
                    figure.name, figure.status, low * figure.low, value * figure.value,
                    high * figure.high,
                )
            )  # fmt: skip
    return missing
