"""A network mapped onto a target: cores, chips, places, traffic, utilisation, broken rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import Profile, System
from spikegpt_neuro.mapping.cores import PACKINGS, Core, weights_per_core
from spikegpt_neuro.mapping.links import relieve_links
from spikegpt_neuro.mapping.machine import machine_of
from spikegpt_neuro.mapping.partition import partition
from spikegpt_neuro.mapping.placement import Placement, in_order, keep_local
from spikegpt_neuro.mapping.roles import synapses_of
from spikegpt_neuro.mapping.rules import Violation, check_rules, unchecked_rules
from spikegpt_neuro.mapping.traffic import FloatArray, Hops, Traffic, busiest_link, hops, measure
from spikegpt_neuro.mapping.units import Machine
from spikegpt_neuro.mapping.work import time_of, work_of
from spikegpt_neuro.network import Network


@dataclass(frozen=True)
class Use:
    """How full a core or chip is: amounts and their share of the limit (None: no limit known).

    ``weight_share``: of the synaptic memory, which weights of few bits fill less.
    """

    weights: int
    weight_share: float
    neurons: int
    neuron_share: float | None
    bytes: int
    byte_share: float | None


@dataclass(frozen=True)
class Load:
    """Packets a token that each core receives and sends (float64 [cores]), and those over the
    busiest link."""

    received: FloatArray
    sent: FloatArray
    link: float


@dataclass(frozen=True, eq=False, repr=False)
class Mapping:
    """Where everything is. ``chips`` is the number of chips the cores fill."""

    machine: Machine
    profile: Profile
    packing: str
    spread: str
    cores: tuple[Core, ...]
    placement: Placement
    baseline: Placement
    traffic: Traffic
    violations: tuple[Violation, ...]

    def __repr__(self) -> str:
        return (
            f"<Mapping on {self.profile.name}, {self.packing} packing: {len(self.cores)} cores on "
            f"{self.chips} chips, {len(self.violations)} design rules broken>"
        )

    @property
    def network(self) -> Network:
        """The network that is mapped."""
        return self.machine.network

    @cached_property
    def chips(self) -> int:
        """Chips used."""
        return int(self.placement.chip.max()) + 1 if self.cores else 0

    def under(self, counters: Counters) -> Mapping:
        """The same cores in the same places, with the traffic of another run."""
        counted = self.machine.counters(counters)
        return replace(self, traffic=measure(self.machine, self.cores, counted))

    @property
    def has_mesh(self) -> bool:
        """True where the profile says how routers lie, so that hops can be counted."""
        return self.profile.limit("mesh_width") is not None

    @cached_property
    def hops(self) -> Hops:
        """Hop-weighted traffic a token of this placement."""
        p = self.placement
        return hops(self.traffic, p.chip, p.x, p.y)

    @cached_property
    def baseline_hops(self) -> Hops:
        """The same for the cores placed in execution order."""
        p = self.baseline
        return hops(self.traffic, p.chip, p.x, p.y)

    @cached_property
    def transport(self) -> dict[str, tuple[float, Hops]]:
        """Packets and hops a token by the layer that receives them."""
        p = self.placement
        found = {}
        for number in self.traffic.layers:
            part = self.traffic.of({number})
            if part.total > 0:
                found[self.machine.layers[number].name] = (part.total, hops(part, p.chip, p.x, p.y))
        return found

    @cached_property
    def loads(self) -> dict[int, Load]:
        """Traffic of every time step of a token, and of all of them together under 0."""
        ends = synapses_of(self.machine)
        steps: dict[int, set[int]] = {}
        numbers = {layer.name: i for i, layer in enumerate(self.machine.layers)}
        for name, visits in self.machine.visits.items():
            if self.machine[name].role == "neuron":
                steps.setdefault(visits[0], set()).add(numbers[name])
                steps.setdefault(visits[-1], set()).update(numbers[n] for n in ends.get(name, ()))
        found = {0: self._load(self.traffic)}
        for number, layers in steps.items():
            if number:
                found[number] = self._load(self.traffic.of(layers))
        return found

    def load_of(self, number: int) -> Load:
        """Traffic of a time step; of one in which values only wait, none."""
        found = self.loads.get(number)
        if found is None:
            nothing = np.zeros(len(self.cores))
            found = Load(nothing, nothing, 0.0)
        return found

    def _load(self, traffic: Traffic) -> Load:
        received, sent = traffic.ports(len(self.cores))
        p = self.placement
        link = busiest_link(traffic, p.chip, p.x, p.y) if self.has_mesh else 0.0
        return Load(received, sent, link)

    @cached_property
    def system(self) -> System | None:
        """The smallest known system with enough chips, or None."""
        fitting = [s for s in self.profile.systems if s.chips >= self.chips]
        return min(fitting, key=lambda s: s.chips, default=None)

    @cached_property
    def tiles_per_chip(self) -> int:
        """Routers in use on the fullest chip."""
        p = self.placement
        used = {
            (c, x, y) for c, x, y in zip(p.chip.tolist(), p.x.tolist(), p.y.tolist(), strict=True)
        }
        per_chip = [0] * self.chips
        for chip, _, _ in used:
            per_chip[chip] += 1
        return max(per_chip, default=0)

    def use_of_core(self, index: int) -> Use:
        """Utilisation of one core."""
        return self._use(self.cores[index : index + 1], 1)

    def use_of_chip(self, chip: int) -> Use:
        """Utilisation of one chip, against all the cores it offers."""
        members = np.flatnonzero(self.placement.chip == chip).tolist()
        available = self.profile.limit("cores_per_chip") or len(members)
        return self._use(tuple(self.cores[i] for i in members), available)

    def _use(self, cores: tuple[Core, ...], available: int) -> Use:
        weights = sum(c.weights for c in cores)
        neurons = sum(c.neurons for c in cores)
        stored = sum(c.bytes for c in cores)
        most_neurons = self.profile.limit("neurons_per_core")
        memory = self.profile.limit("memory_per_core")
        capacity = weights_per_core(self.profile, self.packing)
        return Use(
            weights,
            sum(c.synapse_bytes for c in cores) / (capacity * available),
            neurons,
            neurons / (most_neurons * available) if most_neurons else None,
            stored,
            stored / (memory * available) if memory else None,
        )

    @cached_property
    def cores_by_stage(self) -> dict[str, int]:
        """Cores of every stage, in order."""
        counts: dict[str, int] = {}
        for core in self.cores:
            counts[core.stage] = counts.get(core.stage, 0) + 1
        return counts

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; keys carry their unit."""
        return {
            "profile": self.profile.name,
            "packing": self.packing,
            "spread": self.spread,
            "weights_per_core": weights_per_core(self.profile, self.packing),
            "cores": len(self.cores),
            "chips": self.chips,
            "smallest_system": None
            if self.system is None
            else {"name": self.system.name, "chips": self.system.chips},
            "packets_per_token": self.traffic.total,
            "hops_per_token": self.hops.total if self.has_mesh else None,
            "hops_east_west_per_token": self.hops.east_west if self.has_mesh else None,
            "hops_north_south_per_token": self.hops.north_south if self.has_mesh else None,
            "chip_crossings_per_token": self.hops.chip_crossings,
            "baseline_hops_per_token": self.baseline_hops.total if self.has_mesh else None,
            "traffic_assumes_every_value_non_zero": self.traffic.assumed_dense,
            "cores_by_stage": dict(self.cores_by_stage),
            "chip_utilisation": [
                {"chip": chip, **_use_dict(self.use_of_chip(chip))} for chip in range(self.chips)
            ],
            "core_utilisation": [
                {
                    "core": i,
                    "chip": int(self.placement.chip[i]),
                    "x": int(self.placement.x[i]),
                    "y": int(self.placement.y[i]),
                    "stage": core.stage,
                    "layers": [
                        {"name": s.layer, "begin": s.begin, "end": s.end} for s in core.slices
                    ],
                    **_use_dict(self.use_of_core(i)),
                }
                for i, core in enumerate(self.cores)
            ],
            "violations": [v.to_dict() for v in self.violations],
            "rules_not_checked": list(unchecked_rules(self.profile)),
        }


def _use_dict(use: Use) -> dict[str, Any]:
    return {
        "weights": use.weights,
        "weight_share": use.weight_share,
        "neurons": use.neurons,
        "neuron_share": use.neuron_share,
        "bytes": use.bytes,
        "byte_share": use.byte_share,
    }


def map_network(
    network: Network, profile: Profile, packing: str = "middle", counters: Counters | None = None,
    spread: str = "spread",
) -> Mapping:  # fmt: skip
    """Cut the network into cores, place them, and check the design rules.

    ``packing`` is one of ``PACKINGS``, ``spread`` one of ``SPREADS``. ``counters`` of a run weigh
    work and traffic; without them every value counts as an event. Raises InputError where the
    profile describes no cores.
    """
    machine = machine_of(network, profile)
    counted = machine.counters(counters)
    work = work_of(machine, profile, counted)
    hidden = time_of(profile, "hidden_work")
    cores = partition(machine, profile, packing, spread, work, hidden)
    return place_cores(machine, profile, packing, counted, spread, cores)


def place_cores(
    machine: Machine, profile: Profile, packing: str, counters: Counters | None, spread: str,
    cores: tuple[Core, ...],
) -> Mapping:  # fmt: skip
    """Place cores that are cut already. ``counters``: by the machine's units."""
    traffic = measure(machine, cores, counters)
    placement = keep_local(traffic, len(cores), profile)
    each = time_of(profile, "link")
    if each:  # links hide behind the overhead of a step, and behind what cores receive
        received, _ = traffic.ports(len(cores))
        hidden = float(received.max(initial=0.0)) * time_of(profile, "spike_in")
        enough = max(time_of(profile, "step"), hidden) / each
        placement = relieve_links(traffic, placement, profile, enough)
    baseline = in_order(len(cores), profile)
    violations = check_rules(machine, profile, packing, cores, counters)
    return Mapping(
        machine, profile, packing, spread, cores, placement, baseline, traffic, violations
    )


@dataclass(frozen=True)
class Size:
    """What a packing needs."""

    packing: str
    weights_per_core: int
    cores: int
    chips: int
    chips_without_head: int
    system: str | None


def sizes(network: Network, profile: Profile) -> tuple[Size, ...]:
    """Cores and chips under every packing, with and without the head's matrix."""
    per_chip = profile.limit("cores_per_chip") or 1
    found = []
    for packing in PACKINGS:
        cores = partition(machine_of(network, profile), profile, packing)
        blocks = sum(core.stage not in ("embedding", "head") for core in cores)
        chips = -(-len(cores) // per_chip)
        fitting = [s for s in profile.systems if s.chips >= chips]
        system = min(fitting, key=lambda s: s.chips, default=None)
        found.append(
            Size(
                packing,
                weights_per_core(profile, packing),
                len(cores),
                chips,
                -(-blocks // per_chip),
                system.name if system else None,
            )
        )
    return tuple(found)
