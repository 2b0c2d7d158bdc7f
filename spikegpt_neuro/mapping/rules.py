"""Design rules: named checks that say what does not fit a target, where, and by how much.

Each rule is a function that yields the subject and a sentence; its name is the rule's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping.axons import input_axons as ending
from spikegpt_neuro.mapping.axons import output_axons as leaving
from spikegpt_neuro.mapping.axons import reach
from spikegpt_neuro.mapping.cores import Core, Limits, weights_per_core
from spikegpt_neuro.mapping.demand import WORD_BYTES, capacity_needed, demands
from spikegpt_neuro.mapping.roles import Graph


@dataclass(frozen=True)
class Violation:
    """One broken rule."""

    rule: str
    subject: str
    message: str

    def to_dict(self) -> dict[str, str]:
        """Plain JSON values."""
        return {"rule": self.rule, "subject": self.subject, "message": self.message}

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.message}"


@dataclass(frozen=True)
class Design:
    """All a rule may look at. ``cores`` is empty for targets without described cores."""

    network: Graph
    profile: Profile
    packing: str
    cores: tuple[Core, ...]
    counters: Counters | None


Finding = tuple[str, str]
Rule = Callable[[Design], Iterator[Finding]]


def weight_width(design: Design) -> Iterator[Finding]:
    """Weights are as wide as the largest of a layer needs; the target must hold it."""
    limit = design.profile.limit("weight_bits")
    if limit is None:
        return
    for layer in design.network.layers:
        bits = layer.weight_width
        if bits > limit:
            yield layer.name, f"weights need {bits} bits, the target holds {limit}"


def payload_width(design: Design) -> Iterator[Finding]:
    """Values sent between neurons must fit the target's spikes."""
    limit = design.profile.limit("payload_bits")
    if limit is None:
        return
    for layer in design.network.layers:
        if layer.output.payload == "accumulator" or layer is design.network.layers[-1]:
            continue
        if layer.output.bits > limit:
            yield layer.name, f"sends {layer.output.bits} bits, a spike carries {limit}"


def graded_spikes(design: Design) -> Iterator[Finding]:
    """A target whose spikes carry no payload cannot take graded operands at its synapses."""
    if design.profile.can("graded_spikes") is not False:
        return
    for layer in design.network.layers:
        if layer.role != "synapse":
            continue
        source = design.network[layer.inputs[0]]
        if source.output.payload != "binary":
            yield (
                layer.name,
                (
                    f"takes graded operands of {source.output.bits} bits from {source.name}; "
                    "spikes of this target carry no payload"
                ),
            )


def accumulator_width(design: Design) -> Iterator[Finding]:
    """Sums must fit the accumulator: by the proven bound, or by no overflow in a run."""
    limit = design.profile.limit("accumulator_bits")
    if limit is None:
        return
    for layer in design.network.layers:
        if layer.role != "synapse":
            continue
        bits = design.network.bound(layer).bit_length() + 1
        if bits <= limit:
            continue
        # a chain's sums wrap where the chip's do; whether one did is not counted
        counted = layer.counts_overflows and layer.sum_bits == limit
        if design.counters is None or not counted:
            yield layer.name, f"sums may need {bits} bits, the accumulator has {limit}"
        elif overflows := design.counters.count(layer.name, "overflows"):
            yield (
                layer.name,
                (
                    f"{overflows} sums in {design.counters.tokens} tokens left the {limit} bits "
                    "of the accumulator"
                ),
            )


def neuron_program(design: Design) -> Iterator[Finding]:
    """Neurons other than LIF need programmable neurons."""
    if design.profile.can("programmable_neurons") is not False:
        return
    kinds: dict[str, int] = {}
    for layer in design.network.layers:
        if layer.role == "neuron" and not layer.fixed_neuron:
            kinds[layer.kind] = kinds.get(layer.kind, 0) + 1
    for kind, count in sorted(kinds.items()):
        yield kind, f"{count} layers of this kind; the target's neurons are fixed"


def lif_neurons(design: Design) -> Iterator[Finding]:
    """LIF layers need neurons that leak and fire."""
    if design.profile.can("lif_neurons") is not False:
        return
    for name in design.network.spiking_layers:
        yield name, "the target has no leaky integrate-and-fire neurons"


def neuron_fits_core(design: Design) -> Iterator[Finding]:
    """All synapses of one neuron must be on its core."""
    if not design.cores:
        return
    capacity = weights_per_core(design.profile, design.packing)
    for demand in demands(design.network):
        limits = Limits.of(design.profile, design.packing)
        needed = limits.bytes_of(demand, 1)
        if needed > capacity:
            yield (
                demand.layer.name,
                (
                    f"one neuron has {demand.fan_in} weights, a core holds "
                    f"{capacity * demand.fan_in // needed}"
                ),
            )


def fan_in(design: Design) -> Iterator[Finding]:
    """Synapses that end at one neuron."""
    limit = design.profile.limit("fan_in_per_neuron")
    if limit is None:
        return
    for demand in demands(design.network):
        if demand.fan_in > limit:
            yield demand.layer.name, f"fan-in {demand.fan_in}, the target allows {limit}"


def input_axons(design: Design) -> Iterator[Finding]:
    """Axons that end at a core: one for each operand its synapses read."""
    limit = design.profile.limit("input_axons_per_core")
    if limit is None or not design.cores:
        return
    reported = set()
    for core in design.cores:
        axons = ending(design.network, core)
        layers = ", ".join(part.layer for part in core.slices)
        if axons > limit and layers not in reported:
            reported.add(layers)
            yield layers, f"{axons} axons end at a core, the target allows {limit}"


def output_axons(design: Design) -> Iterator[Finding]:
    """Axons that leave a core: one for each neuron and each core it sends to."""
    limit = design.profile.limit("output_axons_per_core")
    if limit is None or not design.cores:
        return
    reached = reach(design.network, design.cores)
    reported = set()
    for core in design.cores:
        axons = leaving(core, reached)
        layers = ", ".join(part.layer for part in core.slices)
        if axons > limit and layers not in reported:
            reported.add(layers)
            yield layers, f"{axons} axons leave a core, the target allows {limit}"


def core_memory(design: Design) -> Iterator[Finding]:
    """Weights, state and parameters of a core must fit its memory."""
    limit = design.profile.limit("memory_per_core")
    synapses = design.profile.limit("synapse_memory_per_core")
    for number, core in enumerate(design.cores):
        if limit is not None and core.bytes > limit:
            yield f"core {number}", f"holds {core.bytes} bytes, its memory has {limit}"
        if synapses is not None and core.synapse_bytes > synapses:
            yield (
                f"core {number}",
                f"holds {core.synapse_bytes} bytes of weights, its synapse memory has {synapses}",
            )


def neuron_state(design: Design) -> Iterator[Finding]:
    """State and parameters of one neuron."""
    limit = design.profile.limit("state_per_neuron")
    if limit is None:
        return
    for demand in demands(design.network):
        needed = WORD_BYTES * demand.words_per_neuron
        if needed > limit:
            yield demand.layer.name, f"a neuron has {needed} bytes of state, allowed are {limit}"


def neurons_per_core(design: Design) -> Iterator[Finding]:
    """Neurons of a core."""
    limit = design.profile.limit("neurons_per_core")
    if limit is None:
        return
    for number, core in enumerate(design.cores):
        if core.neurons > limit:
            yield f"core {number}", f"holds {core.neurons} neurons, the target allows {limit}"


def chip_capacity(design: Design) -> Iterator[Finding]:
    """Contents of a chip; a target without described cores is one chip for everything."""
    held = [("network", capacity_needed(design.network))]
    if design.cores:
        per_chip = design.profile.limit("cores_per_chip") or len(design.cores)
        held = []
        for chip, begin in enumerate(range(0, len(design.cores), per_chip)):
            cores = design.cores[begin : begin + per_chip]
            amounts = {
                "neurons": sum(core.neurons for core in cores),
                "weights": sum(core.weights for core in cores),
                "bytes": sum(core.bytes for core in cores),
            }
            held.append((f"chip {chip}", amounts))
    for subject, needs in held:
        for name, needed, unit in (
            ("neurons_per_chip", needs["neurons"], "neurons"),
            ("synapses_per_chip", needs["weights"], "synapses"),
            ("memory_per_chip", needs["bytes"], "bytes"),
        ):
            limit = design.profile.limit(name)
            if limit is not None and needed > limit:
                yield subject, f"needs {needed} {unit}, a chip has {limit}"


def system_size(design: Design) -> Iterator[Finding]:
    """The largest known system must have enough chips."""
    if not design.cores or not design.profile.systems:
        return
    per_chip = design.profile.limit("cores_per_chip") or 1
    chips = -(-len(design.cores) // per_chip)
    largest = max(design.profile.systems, key=lambda s: s.chips)
    if chips > largest.chips:
        yield "network", f"needs {chips} chips, {largest.name} has {largest.chips}"


RULES: Final[tuple[Rule, ...]] = (
    weight_width, payload_width, graded_spikes, accumulator_width, neuron_program, lif_neurons,
    neuron_fits_core, fan_in, input_axons, output_axons, core_memory, neuron_state,
    neurons_per_core, chip_capacity, system_size,
)  # fmt: skip
"""All design rules, in the order they are reported."""


_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "weight_width": ("weight_bits",),
    "payload_width": ("payload_bits",),
    "graded_spikes": ("graded_spikes",),
    "accumulator_width": ("accumulator_bits",),
    "neuron_program": ("programmable_neurons",),
    "lif_neurons": ("lif_neurons",),
    "neuron_fits_core": ("cores_per_chip",),
    "fan_in": ("fan_in_per_neuron",),
    "input_axons": ("input_axons_per_core",),
    "output_axons": ("output_axons_per_core",),
    "core_memory": ("memory_per_core", "synapse_memory_per_core"),
    "neuron_state": ("state_per_neuron",),
    "neurons_per_core": ("neurons_per_core",),
    "chip_capacity": ("neurons_per_chip", "synapses_per_chip", "memory_per_chip"),
    "system_size": ("systems",),
}
"""What a profile must state, at least one of it, for a rule to say anything."""

_ON_CORES: Final = (
    "neuron_fits_core", "input_axons", "output_axons", "core_memory", "neurons_per_core",
    "system_size",
)  # fmt: skip
"""Rules about cores, which a profile must describe."""


def unchecked_rules(profile: Profile) -> tuple[str, ...]:
    """Rules the profile states nothing for: that none of them is broken means nothing."""
    stated = {*profile.limits, *profile.features, *(("systems",) if profile.systems else ())}
    cores = profile.limit("cores_per_chip") is not None
    return tuple(
        rule.__name__
        for rule in RULES
        if not stated.intersection(_NEEDS[rule.__name__])
        or (rule.__name__ in _ON_CORES and not cores)
    )


def check_rules(
    network: Graph, profile: Profile, packing: str, cores: tuple[Core, ...],
    counters: Counters | None = None,
) -> tuple[Violation, ...]:  # fmt: skip
    """Every broken rule. ``cores`` is the partition, empty for targets without described cores."""
    design = Design(network, profile, packing, cores, counters)
    return tuple(
        Violation(rule.__name__, subject, message)
        for rule in RULES
        for subject, message in rule(design)
    )
