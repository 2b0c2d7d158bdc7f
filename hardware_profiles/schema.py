"""What a hardware profile may say: every name with its unit, and every number with its source.

A profile is a TOML file with the tables ``coefficients`` (energy and time of one event),
``curves`` (a figure that depends on a size), ``limits`` (what fits), ``features`` (what the target
can do), ``systems`` (boards one can have). This module is the one place that names them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

STATUSES: Final = ("measured", "simulated", "vendor", "derived", "assumed")
"""How a number was obtained. ``measured``: read off hardware by the source. ``simulated``: from
circuit or pre-silicon simulation by the makers. ``vendor``: a specification. ``derived``:
arithmetic on other numbers, given in the note. ``assumed``: a stand-in, not published for this
target."""

METHODS: Final = ("event-driven", "arithmetic", "per-token", "structure-only")
"""How a profile turns counts into energy. ``event-driven``: energy of synaptic operations, neuron
updates, spikes and hops. ``arithmetic``: energy of additions, multiplications and memory accesses.
``per-token``: a measured figure of a whole system. ``structure-only``: no per-operation data."""

_PJ, _NS = "pJ", "ns"

COEFFICIENTS: Final[dict[str, tuple[str, str]]] = {
    "synaptic_operation": (_PJ, "one non-zero operand meeting one non-zero weight"),
    "neuron_update_active": (_PJ, "update of a neuron that received input"),
    "neuron_update_idle": (_PJ, "update of a neuron that received none"),
    "neuron_operation": (_PJ, "one element-wise operation beyond those of a LIF update"),
    "spike_out": (_PJ, "generation of one spike"),
    "spike_in_tile": (_PJ, "delivery of one spike packet inside its tile"),
    "packet_out": (_PJ, "one spike packet leaving its core"),
    "hop_east_west": (_PJ, "one packet crossing one router east or west"),
    "hop_north_south": (_PJ, "one packet crossing one router north or south"),
    "synaptic_add": (_PJ, "addition to a synaptic accumulator"),
    "synaptic_multiply": (_PJ, "multiplication of an operand by a weight"),
    "elementwise_add": (_PJ, "element-wise addition"),
    "elementwise_multiply": (_PJ, "element-wise multiplication"),
    "elementwise_shift": (_PJ, "element-wise shift"),
    "elementwise_compare": (_PJ, "element-wise comparison"),
    "elementwise_table": (_PJ, "reading a small table"),
    "synaptic_operation_time": (_NS, "time of one synaptic operation in a core"),
    "neuron_update_active_time": (_NS, "time of one active neuron update in a core"),
    "neuron_update_idle_time": (_NS, "time of one idle neuron update in a core"),
    "neuron_operation_time": (_NS, "time of one element-wise operation beyond a LIF update"),
    "spike_out_time": (_NS, "time a core needs to send one packet"),
    "spike_in_time": (_NS, "time a core needs to receive one packet"),
    "hop_east_west_time": (_NS, "time of one hop east or west"),
    "hop_north_south_time": (_NS, "time of one hop north or south"),
    "link_time": (_NS, "time a link between two routers is busy with one packet"),
    "step_time": (
        _NS,
        "time of a step beyond its work: synchronisation and the like",
    ),
    "hidden_work_time": (
        _NS,
        "work of a core a step that hides behind the overhead: spreading it gains nothing",
    ),
    "host_round_trip_time": (_NS, "a result sent to the host and its answer back"),
    "static_power_per_chip": ("W", "power of one chip that does nothing"),
    "static_power_per_chip_in_system": ("W", "the same on a board of several chips, a chip"),
    "power_per_core_in_use": ("W", "power of a core because it takes part in a run"),
    "power_ceiling_per_chip": ("W", "most that a chip was ever said to draw"),
    "dynamic_power_per_chip": ("W", "power of one chip in use, beyond static power"),
    "host_power": ("W", "power of the host that feeds the chips"),
    "energy_per_token": ("J", "energy of one token of the whole system"),
}
"""Coefficient names, their unit, and the event they price."""

CURVES: Final[dict[str, tuple[str, str, str]]] = {
    "sram_access": ("bytes", _PJ, "one 64-bit access to an on-chip memory of this size"),
    "barrier_time": ("tiles", _NS, "synchronisation of one time step over this many tiles"),
}
"""Curve names, the unit of their argument, the unit of their value, and what they price."""

LIMITS: Final[dict[str, tuple[str, str]]] = {
    "cores_per_chip": ("cores", "neuro cores of a chip that a network can use"),
    "cores_per_tile": ("cores", "cores that share a router"),
    "mesh_width": ("tiles", "routers from west to east"),
    "neurons_per_core": ("neurons", "neurons of a core"),
    "neurons_per_chip": ("neurons", "neurons of a chip"),
    "synapses_per_chip": ("synapses", "synapses of a chip"),
    "synapse_memory_per_core": ("bytes", "memory of a core that only holds synapses"),
    "memory_per_core": ("bytes", "memory of a core that its contents share"),
    "memory_per_chip": ("bytes", "memory of a chip"),
    "state_per_neuron": ("bytes", "largest state of one neuron"),
    "synapse_word": ("bits", "synaptic memory is filled in whole words of an axon's weights"),
    "neuron_overhead": ("bytes", "memory a neuron takes beyond its state and parameters"),
    "weights_per_core_pessimistic": ("weights", "weights a core holds, worst packing seen"),
    "weights_per_core_middle": ("weights", "weights a core holds, usual packing"),
    "weights_per_core_optimistic": ("weights", "weights a core holds, nothing lost"),
    "weight_bits": ("bits", "widest weight"),
    "payload_bits": ("bits", "widest graded spike"),
    "accumulator_bits": ("bits", "signed width of a synaptic accumulator"),
    "fan_in_per_neuron": ("synapses", "most synapses that end at one neuron"),
    "input_axons_per_core": ("axons", "most axons that end at a core"),
    "output_axons_per_core": ("axons", "most axons that leave a core"),
}
"""Limit names, their unit, and what they bound."""

FEATURES: Final[dict[str, str]] = {
    "graded_spikes": "spikes carry an integer payload",
    "programmable_neurons": "neurons run a program of the user's",
    "lif_neurons": "neurons leak, integrate and fire",
    "event_driven_synapses": "a zero operand costs nothing",
    "fine_graph": "networks are loaded as their fine graph, which is what is mapped and priced",
    "closed_loop": "neurons drive neurons of earlier layers, so that a graph runs on by itself",
}
"""Feature names and what they say."""


@dataclass(frozen=True)
class Figure:
    """A number with its unit, the range sources give, and where it comes from.

    ``low <= value <= high``; all three exact (``Fraction`` of the decimal digits in the file).
    """

    name: str
    value: Fraction
    low: Fraction
    high: Fraction
    unit: str
    status: str
    source: str
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "value": float(self.value),
            "low": float(self.low),
            "high": float(self.high),
            "unit": self.unit,
            "status": self.status,
            "source": self.source,
            "note": self.note,
        }

    @property
    def has_range(self) -> bool:
        """True where sources disagree."""
        return self.low != self.high


@dataclass(frozen=True)
class Curve:
    """A figure that depends on a size: straight lines between points, constant beyond the ends."""

    name: str
    points: tuple[tuple[Fraction, Fraction], ...]
    argument_unit: str
    unit: str
    status: str
    source: str
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "points": [[float(x), float(y)] for x, y in self.points],
            "argument_unit": self.argument_unit,
            "unit": self.unit,
            "status": self.status,
            "source": self.source,
            "note": self.note,
        }

    def at(self, argument: int | Fraction) -> Fraction:
        """Value at ``argument``, in ``unit``."""
        x = Fraction(argument)
        if x <= self.points[0][0]:
            return self.points[0][1]
        for (x0, y0), (x1, y1) in pairwise(self.points):
            if x <= x1:
                return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
        return self.points[-1][1]


@dataclass(frozen=True)
class Feature:
    """Something the target can or cannot do."""

    name: str
    value: bool
    status: str
    source: str
    note: str = ""


@dataclass(frozen=True)
class System:
    """A board or machine one can have, and its number of chips."""

    name: str
    chips: int
    status: str
    source: str
    note: str = ""


@dataclass(frozen=True)
class Profile:
    """A hardware target: what it costs, what fits, and what nobody published about it."""

    name: str
    title: str
    summary: str
    method: str
    coefficients: dict[str, Figure] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    limits: dict[str, Figure] = field(default_factory=dict)
    features: dict[str, Feature] = field(default_factory=dict)
    systems: tuple[System, ...] = ()
    warnings: tuple[str, ...] = ()
    unpublished: tuple[str, ...] = ()

    def limit(self, name: str) -> int | None:
        """A limit as an integer, or None where the profile does not state it."""
        if name not in LIMITS:
            raise KeyError(name)
        figure = self.limits.get(name)
        return None if figure is None else int(figure.value)

    def can(self, feature: str) -> bool | None:
        """Whether the target has a feature; None where the profile does not say."""
        if feature not in FEATURES:
            raise KeyError(feature)
        known = self.features.get(feature)
        return None if known is None else known.value
