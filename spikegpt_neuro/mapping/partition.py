"""Partition of a network's neurons and synapses over neuro cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping.encoding import (
    SynapseBlock,
    block_of,
    neurons_that_fit,
    synapse_bytes,
)
from spikegpt_neuro.mapping.roles import made_by, synapses_of
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.schema import Layer

PACKINGS: Final = ("pessimistic", "middle", "optimistic")
"""How many weights a core holds: the worst packing a compiler showed, a usual one, nothing lost."""

WORD_BYTES: Final = 4
"""State and parameters are 32-bit words."""


@dataclass(frozen=True)
class Slice:
    """Channels ``begin`` to ``end - 1`` of a neuron layer on one core, with all their synapses.

    ``weights``: of all of them, zeros included; ``synapse_bytes``: what they take there.
    """

    layer: str
    begin: int
    end: int
    weights: int
    words: int
    synapse_bytes: int

    @property
    def neurons(self) -> int:
        """Number of channels."""
        return self.end - self.begin


@dataclass(frozen=True)
class Core:
    """One neuro core's contents."""

    stage: str
    slices: tuple[Slice, ...]

    @property
    def neurons(self) -> int:
        """Neurons on the core."""
        return sum(s.neurons for s in self.slices)

    @property
    def weights(self) -> int:
        """Weights on the core, zeros included."""
        return sum(s.weights for s in self.slices)

    @property
    def synapse_bytes(self) -> int:
        """Bytes of the synapses, in their widths and encodings (``mapping.encoding``)."""
        return sum(s.synapse_bytes for s in self.slices)

    @property
    def bytes(self) -> int:
        """Bytes of synapses, state and per-neuron parameters."""
        return self.synapse_bytes + WORD_BYTES * sum(s.words for s in self.slices)


@dataclass(frozen=True)
class Demand:
    """What one neuron layer needs: fan-in (synapses of one neuron) and words of one neuron.

    A convolution's synapses are counted as if each neuron had its own: chips that share kernels
    between neurons need less.
    """

    layer: Layer
    fan_in: int
    words_per_neuron: int
    synapses: tuple[SynapseBlock, ...]


def demands(network: Network) -> tuple[Demand, ...]:
    """Every neuron layer with the synapses that end at it, in execution order."""
    ends = synapses_of(network)
    found = []
    for layer in network.layers:
        if layer.role != "neuron":
            continue
        origins = [layer, *(network[name] for name in ends.get(layer.name, ()))]
        blocks = tuple(block_of(origin) for origin in origins if origin.fan_in)
        size = layer.output.size
        words = layer.state_words + layer.parameter_words
        fan_in = sum(block.fan_in for block in blocks)
        found.append(Demand(layer, fan_in, -(-words // size), blocks))
    return tuple(found)


def capacity_needed(network: Network) -> dict[str, int]:
    """Totals a chip without described cores is checked against: neurons, weights, bytes."""
    listed = demands(network)
    neurons = sum(d.layer.output.size for d in listed)
    weights = sum(d.layer.output.size * d.fan_in for d in listed)
    words = sum(d.layer.output.size * d.words_per_neuron for d in listed)
    stored = sum(synapse_bytes(d.synapses, d.layer.output.size) for d in listed)
    return {"neurons": neurons, "weights": weights, "bytes": stored + WORD_BYTES * words}


def weights_per_core(profile: Profile, packing: str) -> int:
    """The profile's capacity of a core, in 8-bit weights and so in bytes, under a packing.

    Raises InputError where there is none.
    """
    if packing not in PACKINGS:
        raise InputError(f"packing {packing!r} is unknown; allowed: {', '.join(PACKINGS)}.")
    capacity = profile.limit(f"weights_per_core_{packing}")
    if capacity is None or profile.limit("cores_per_chip") is None:
        raise InputError(
            f"The profile {profile.name!r} describes no neuro cores: nothing can be placed.",
            advice="Mapping needs limits.cores_per_chip and limits.weights_per_core_*.",
        )
    return capacity


def reach(network: Network, cores: tuple[Core, ...]) -> dict[str, int]:
    """For every neuron layer whose values meet synapses, the cores each value is sent to.

    These are the output axons of one of its neurons.
    """
    ends = synapses_of(network)
    holders: dict[str, int] = {}
    for core in cores:
        for part in core.slices:
            holders[part.layer] = holders.get(part.layer, 0) + 1
    found: dict[str, int] = {}
    for name, synapses in ends.items():
        for synapse in synapses:
            for origin in made_by(network, network[synapse].inputs[0]):
                found[origin] = found.get(origin, 0) + holders[name]
        # recurrent synapses: a neuron's spikes also go to the cores of its own layer
        if network[name].fan_in and name in holders:
            found[name] = found.get(name, 0) + holders[name]
    return found


def output_axons(core: Core, reached: Mapping[str, int]) -> int:
    """Axons that leave a core: one for each neuron and each core it sends to."""
    return sum(part.neurons * reached.get(part.layer, 0) for part in core.slices)


def partition(network: Network, profile: Profile, packing: str) -> tuple[Core, ...]:
    """Cut every neuron layer into slices that fit a core.

    A layer with synapses fills cores of its own, rows cut evenly; layers without synapses (delays,
    norms, element-wise neurons) of one stage share cores, next fit. Where output axons are limited,
    layers are cut smaller until no core has too many; smaller slices of one layer are more cores
    for another to send to, so this is repeated. A layer one of whose neurons does not fit a core
    gets one neuron a core, and ``mapping.rules`` reports it.
    """
    limit = profile.limit("output_axons_per_core")
    reached: dict[str, int] = {}
    cores = _cut(network, profile, packing, reached)
    while limit is not None:
        now = reach(network, cores)
        if now == reached or all(output_axons(core, now) <= limit for core in cores):
            break
        reached = now
        cores = _cut(network, profile, packing, reached)
    return cores


def _cut(
    network: Network, profile: Profile, packing: str, reached: Mapping[str, int]
) -> tuple[Core, ...]:
    """Slices that keep all limits, output axons with the ``reached`` cores taken as given."""
    capacity = weights_per_core(profile, packing)
    most_neurons = profile.limit("neurons_per_core") or 1 << 30
    most_axons = profile.limit("output_axons_per_core") or 1 << 60
    memory = profile.limit("memory_per_core") or 1 << 60
    cores: list[Core] = []
    shared: list[Slice] = []
    shared_stage = ""

    def close_shared() -> None:
        nonlocal shared
        if shared:
            cores.append(Core(shared_stage, tuple(shared)))
            shared = []

    for demand in demands(network):
        layer, fan_in, words = demand.layer, demand.fan_in, demand.words_per_neuron
        size = layer.output.size
        axons = reached.get(layer.name, 0)
        if layer.stage != shared_stage:
            close_shared()
            shared_stage = layer.stage
        if fan_in == 0:
            begin = 0
            while begin < size:
                used = Core(shared_stage, tuple(shared))
                room = most_neurons - used.neurons
                if words:
                    room = min(room, (memory - used.bytes) // (WORD_BYTES * words))
                if axons:
                    room = min(room, (most_axons - output_axons(used, reached)) // axons)
                if room < 1 and shared:
                    close_shared()
                    continue
                end = min(size, begin + max(1, room))
                shared.append(Slice(layer.name, begin, end, 0, words * (end - begin), 0))
                begin = end
            continue
        rows = max(1, neurons_that_fit(demand.synapses, capacity, min(size, most_neurons)))
        while rows > 1 and (
            synapse_bytes(demand.synapses, rows) + WORD_BYTES * words * rows > memory
        ):
            rows -= 1
        if axons:
            rows = max(1, min(rows, most_axons // axons))
        count = -(-size // rows)
        for i in range(count):
            begin, end = size * i // count, size * (i + 1) // count
            neurons = end - begin
            stored = synapse_bytes(demand.synapses, neurons)
            held = Slice(layer.name, begin, end, neurons * fan_in, neurons * words, stored)
            cores.append(Core(layer.stage, (held,)))
    close_shared()
    return tuple(cores)
