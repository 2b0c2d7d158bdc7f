"""Energy of event-driven hardware, and what its profile has no price for.

    E = N_syn e_syn + N_active e_act + N_idle e_idle + N_ops e_op
      + N_spikes e_out + N_packets (e_packet + e_tile) + N_EW e_EW + N_NS e_NS
      + (P_static chips + P_core cores + P_host) t

A synaptic operation's energy includes reading its weight; a neuron update's includes its state.
"""

from __future__ import annotations

from fractions import Fraction

from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.energy.parts import NotCounted, Part, price
from spikegpt_neuro.energy.timing import Timing, extra_operations, synaptic_work
from spikegpt_neuro.events.measurement import SYSTEM
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import Mapping
from spikegpt_neuro.mapping.roles import balancing_words

_NO_PRICE = "the profile has no coefficient for it"


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
    layers: tuple[LayerActivity, ...], profile: Profile, mapping: Mapping | None,
    timing: Timing | None, steps: int | None,
) -> tuple[list[Part], list[NotCounted]]:  # fmt: skip
    """Parts of every layer and of the system, and the events without a price.

    ``steps``: time steps a token needs in fall-through mode, None when pipelined. Without
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
            visits = 1
            if steps is not None and mapping is not None:
                visits = len(mapping.machine.visits[name])
            active = layer.active_updates
            if visits > 1:  # once a step instead of once a token
                active = min(active * visits, tokens * layer.size * visits)
            bill.add(name, "neuron", "neuron updates, active", "neuron_update_active", active)
            bill.add(
                name, "neuron", "neuron updates, idle", "neuron_update_idle", layer.idle_updates
            )
            if steps is not None:
                waiting = tokens * layer.size * (steps - visits)
                bill.add(
                    name, "neuron", "neuron updates, waiting for other layers",
                    "neuron_update_idle", waiting, low=0,
                )  # fmt: skip
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
        if mapping.machine.is_fine:
            pass
        elif steps is None and balancing_words(mapping.network):
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
    not_counted += _over_time(bill, mapping, timing)
    return bill.parts, [*bill.not_counted(), *not_counted]


def _transport(bill: _Bill, mapping: Mapping) -> None:
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


def _over_time(bill: _Bill, mapping: Mapping | None, timing: Timing | None) -> list[NotCounted]:
    """Powers times the time of a token: the chips at rest, cores in use, and the host."""
    chips = mapping.chips if mapping is not None else 1
    static = "static_power_per_chip"
    if chips > 1 and f"{static}_in_system" in bill.profile.coefficients:
        static += "_in_system"
    cores = len(mapping.cores) if mapping is not None else 0
    rows = [
        ("static", static, chips, f"static power of {chips} chip{'s' * (chips > 1)}"),
        ("host", "host_power", 1, "power of the host"),
    ]
    if "power_per_core_in_use" in bill.profile.coefficients:
        rows.append(("static", "power_per_core_in_use", cores, f"power of {cores} cores in use"))
    missing = []
    for category, name, count, event in rows:
        figure = bill.profile.coefficients.get(name)
        if figure is None:
            missing.append(NotCounted(event, None, "not published for this target"))
        elif timing is None:
            why = "no time per operation is published"
            if mapping is None:
                why = "the profile describes no cores, so the time is not known"
            missing.append(NotCounted(event, None, why))
        else:
            low, value, high = (
                Fraction(t) * count for t in (timing.low, timing.value, timing.high)
            )
            bill.parts.append(
                Part(
                    SYSTEM, category, f"{event} over the time of a token", value, name,
                    figure.status, low * figure.low, value * figure.value, high * figure.high,
                )
            )  # fmt: skip
    return missing
