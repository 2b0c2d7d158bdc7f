"""Partition of a network's neurons and synapses over neuro cores.

Two ways: ``packed`` fills as few cores as the limits allow, layer after layer (what a simple
compiler does); ``spread`` starts from there and gives the free cores of the same chips to whatever
keeps a core busy longest, until the busiest core is as short as it gets.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping.encoding import BYTE_BITS
from spikegpt_neuro.mapping.roles import Graph, made_by, synapses_of
from spikegpt_neuro.mapping.synapses import Synapses, projection, recurrent, stored_bytes
from spikegpt_neuro.network.schema import Layer

PACKINGS: Final = ("pessimistic", "middle", "optimistic")
"""How much a core's synaptic memory holds: the worst packing a compiler showed, its whole memory
as listed, nothing lost."""

SPREADS: Final = ("spread", "packed")
"""How cores are used: all cores of the chips that are needed anyway, or as few as possible."""

WORD_BYTES: Final = 4
"""State and parameters are 32-bit words."""


@dataclass(frozen=True)
class Slice:
    """Channels ``begin`` to ``end - 1`` of a neuron layer on one core, with all their synapses.

    Channels of an image are numbered column by column, so that a slice is a stripe of the image:
    the receptive field of a stripe lies on few cores. ``weights`` counts synapses (a shared kernel
    once), ``words`` state and parameters, ``synapse_bytes`` the memory the synapses take.
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
        """Bytes of synaptic memory."""
        return sum(s.synapse_bytes for s in self.slices)

    @property
    def bytes(self) -> int:
        """Bytes of synapses, state and per-neuron parameters."""
        return self.synapse_bytes + WORD_BYTES * sum(s.words for s in self.slices)


@dataclass(frozen=True)
class Demand:
    """What one neuron layer needs: its synapses, words of one neuron, and how it may be cut.

    ``columns``: columns of the image its channels form, 1 where they form none.
    """

    layer: Layer
    synapses: tuple[Synapses, ...]
    words_per_neuron: int
    columns: int

    @property
    def fan_in(self) -> int:
        """Synapses that end at one neuron."""
        return sum(s.fan_in for s in self.synapses)

    @property
    def shares(self) -> bool:
        """Whether its neurons share cores with others of their stage: without synapses, or few."""
        return all(s.light for s in self.synapses)

    def weights(self, neurons: int) -> int:
        """Weights stored for some of its neurons; a convolution's kernels once."""
        return sum(s.kernel or s.fan_in * neurons for s in self.synapses)


def image_columns(network: Graph) -> dict[str, int]:
    """Columns of the images that layers' channels form: what convolutions read and make."""
    found: dict[str, int] = {}
    for name, synapses in synapses_of(network).items():
        for synapse in synapses:
            geometry = projection(network, synapse).geometry
            if geometry is None:
                continue
            found[name] = geometry[5]
            for origin in made_by(network, network[synapse].inputs[0]):
                found.setdefault(origin, geometry[2])
    return found


def demands(network: Graph) -> tuple[Demand, ...]:
    """Every neuron layer with the synapses that end at it, in execution order."""
    ends = synapses_of(network)
    columns = image_columns(network)
    found = []
    for layer in network.layers:
        if layer.role != "neuron":
            continue
        synapses = [projection(network, name) for name in ends.get(layer.name, ())]
        if layer.fan_in:
            synapses.append(recurrent(layer))
        words = layer.state_words + layer.parameter_words
        found.append(
            Demand(
                layer, tuple(synapses), -(-words // layer.output.size), columns.get(layer.name, 1)
            )
        )
    return tuple(found)


def capacity_needed(network: Graph) -> dict[str, int]:
    """Totals a chip without described cores is checked against: neurons, weights, bytes.

    A convolution's kernels count once; bytes are those of the weights' encodings.
    """
    listed = demands(network)
    neurons = sum(d.layer.output.size for d in listed)
    weights = sum(d.weights(d.layer.output.size) for d in listed)
    words = sum(d.layer.output.size * d.words_per_neuron for d in listed)
    stored = sum(
        stored_bytes(s, d.layer.output.size, BYTE_BITS, exact=False)
        for d in listed
        for s in d.synapses
    )
    return {"neurons": neurons, "weights": weights, "bytes": stored + WORD_BYTES * words}


def weights_per_core(profile: Profile, packing: str) -> int:
    """Bytes of synaptic memory of a core under a packing: as many 8-bit weights as it holds.

    Raises InputError where the profile has none.
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


def reach(network: Graph, cores: tuple[Core, ...]) -> dict[str, int]:
    """For every neuron layer whose values meet synapses, the cores each value is sent to.

    These are the output axons of one of its neurons. Of a convolution these are the cores whose
    receptive fields hold the value, at most.
    """
    ends = synapses_of(network)
    holders: dict[str, int] = {}
    for core in cores:
        for part in core.slices:
            holders[part.layer] = holders.get(part.layer, 0) + 1
    found: dict[str, int] = {}
    for name, synapses in ends.items():
        for synapse in synapses:
            reached = holders[name]
            geometry = projection(network, synapse).geometry
            if geometry is not None:
                # columns of the output one column of the input meets, and the stripes they lie in
                met = -(-((geometry[7] - 1) * geometry[13] + 1) // geometry[9])
                stripe = geometry[5] / reached
                reached = min(reached, 1 + int(-(-(met - 1) // max(1.0, stripe))))
            for origin in made_by(network, network[synapse].inputs[0]):
                found[origin] = found.get(origin, 0) + reached
        # recurrent synapses: a neuron's spikes also go to the cores of its own layer
        if network[name].fan_in and name in holders:
            found[name] = found.get(name, 0) + holders[name]
    return found


def output_axons(core: Core, reached: Mapping[str, int]) -> int:
    """Axons that leave a core: one for each neuron and each core it sends to."""
    return sum(part.neurons * reached.get(part.layer, 0) for part in core.slices)


@dataclass(frozen=True)
class Limits:
    """What one core holds under a packing."""

    synapses: int
    neurons: int
    axons: int
    memory: int
    overhead: int
    word_bits: int
    exact: bool

    @classmethod
    def of(cls, profile: Profile, packing: str) -> Limits:
        """The limits of a profile; what it does not state does not bind."""
        return cls(
            weights_per_core(profile, packing),
            profile.limit("neurons_per_core") or 1 << 30,
            profile.limit("output_axons_per_core") or 1 << 60,
            profile.limit("memory_per_core") or 1 << 60,
            profile.limit("neuron_overhead") or 0,
            profile.limit("synapse_word") or BYTE_BITS,
            packing == "optimistic",
        )

    def hold(self, demand: Demand, neurons: int, axons: int) -> bool:
        """True if so many neurons of a layer, alone on a core, keep all limits."""
        synapses = self.bytes_of(demand, neurons)
        state = neurons * (WORD_BYTES * demand.words_per_neuron + self.overhead)
        return (
            synapses <= self.synapses
            and neurons <= self.neurons
            and neurons * axons <= self.axons
            and synapses + state <= self.memory
        )

    def bytes_of(self, demand: Demand, neurons: int) -> int:
        """Synaptic memory of so many neurons."""
        return sum(
            stored_bytes(s, neurons, self.word_bits, exact=self.exact) for s in demand.synapses
        )

    def slice_of(self, demand: Demand, begin: int, end: int) -> Slice:
        """The slice of these channels."""
        count = end - begin
        return Slice(
            demand.layer.name, begin, end, demand.weights(count), demand.words_per_neuron * count,
            self.bytes_of(demand, count),
        )  # fmt: skip


def partition(
    network: Graph, profile: Profile, packing: str, spread: str = "packed",
    work: Mapping[str, float] | None = None, enough: float = 0.0,
) -> tuple[Core, ...]:  # fmt: skip
    """Cut every neuron layer into slices that fit a core.

    A layer with synapses fills cores of its own, neurons cut evenly (images at whole columns);
    layers without, or with few (delays, norms, element-wise neurons), of one stage share cores.
    Where output axons are limited, layers are cut smaller until no core has too many; smaller
    slices of one layer are more cores for another to send to, so this is repeated. A layer one of
    whose neurons does not fit a core gets one neuron a core, and ``mapping.rules`` reports it.

    ``spread``: one of ``SPREADS``; ``work`` is then the time of each layer a token, in any
    unit, and a core that works no longer than ``enough`` gets no help.
    """
    if spread not in SPREADS:
        raise InputError(f"spread {spread!r} is unknown; allowed: {', '.join(SPREADS)}.")
    limits = Limits.of(profile, packing)
    reached: dict[str, int] = {}
    listed = demands(network)
    cores = _cut(listed, limits, reached, {})
    while profile.limit("output_axons_per_core") is not None:
        now = reach(network, cores)
        if now == reached or all(output_axons(core, now) <= limits.axons for core in cores):
            break
        reached = now
        cores = _cut(listed, limits, reached, {})
    if spread == "packed" or not work:
        return cores
    per_chip = profile.limit("cores_per_chip") or len(cores)
    spare = -len(cores) % per_chip
    while spare:
        wider = _cut(listed, limits, reached, _shares(cores, listed, work, spare, enough))
        now = reach(network, wider)
        fits = len(wider) <= len(cores) + spare
        if fits and all(output_axons(core, now) <= limits.axons for core in wider):
            return wider
        spare //= 2
    return cores


def _group(demand: Demand) -> str:
    """What shares cores: a layer with many synapses stands alone, others with their stage."""
    return f"{demand.layer.stage}: shared" if demand.shares else demand.layer.name


def _shares(
    cores: tuple[Core, ...], listed: tuple[Demand, ...], work: Mapping[str, float], spare: int,
    enough: float,
) -> dict[str, int]:  # fmt: skip
    """Cores of every group when ``spare`` more go, one by one, to the group with the busiest."""
    group = {d.layer.name: _group(d) for d in listed}
    counts: dict[str, int] = {}
    for core in cores:
        name = group[core.slices[0].layer]
        counts[name] = counts.get(name, 0) + 1
    total: dict[str, float] = {}
    most: dict[str, int] = {}
    for d in listed:
        name = group[d.layer.name]
        total[name] = total.get(name, 0.0) + work.get(d.layer.name, 0.0)
        most[name] = max(most.get(name, 0), d.layer.output.size)
    heap = [(-total[name] / count, name) for name, count in counts.items() if total[name]]
    heapq.heapify(heap)
    while spare and heap:
        busiest, name = heapq.heappop(heap)
        if counts[name] >= most[name] or -busiest <= enough:
            break  # the busiest core holds one neuron, or its work is short beside the step
        counts[name] += 1
        spare -= 1
        heapq.heappush(heap, (-total[name] / counts[name], name))
    return counts


def _cut(
    listed: tuple[Demand, ...],
    limits: Limits,
    reached: Mapping[str, int],
    counts: Mapping[str, int],
) -> tuple[Core, ...]:
    """Slices that keep all limits, output axons with the ``reached`` cores taken as given.

    ``counts``: cores of a group where it is to have more than it needs.
    """
    cores: list[Core] = []
    waiting: list[Demand] = []

    def close() -> None:
        if waiting:
            wanted = counts.get(_group(waiting[0]), 0)
            cores.extend(
                _evenly(waiting, limits, wanted) if wanted else _next_fit(waiting, limits, reached)
            )
            waiting.clear()

    for demand in listed:
        if waiting and demand.layer.stage != waiting[0].layer.stage:
            close()
        if demand.shares:
            waiting.append(demand)
            continue
        size = demand.layer.output.size
        axons = reached.get(demand.layer.name, 0)
        rows = _most(demand, limits, axons)
        bounds = _bounds(size, demand.columns, max(-(-size // rows), counts.get(_group(demand), 0)))
        if max(b - a for a, b in bounds) > rows:  # whole columns do not fit: cut them
            bounds = _bounds(size, 1, len(bounds))
        cores += [Core(demand.layer.stage, (limits.slice_of(demand, *pair),)) for pair in bounds]
    close()
    return tuple(cores)


def _most(demand: Demand, limits: Limits, axons: int) -> int:
    """Most neurons of a layer on one core: whole columns where one fits; at least one."""
    low, high = 1, demand.layer.output.size
    while low < high:
        middle = (low + high + 1) // 2
        if limits.hold(demand, middle, axons):
            low = middle
        else:
            high = middle - 1
    column = demand.layer.output.size // demand.columns
    return low - low % column if demand.columns > 1 and low >= column else low


def _bounds(size: int, columns: int, count: int) -> list[tuple[int, int]]:
    """Even cuts into ``count`` slices, at whole columns while there are enough of them."""
    unit = size // columns if columns > 1 and count <= columns else 1
    steps = size // unit
    count = min(count, steps)
    edges = [unit * (steps * i // count) for i in range(count + 1)]
    return list(pairwise(edges))


def _evenly(shared: list[Demand], limits: Limits, count: int) -> list[Core]:
    """Layers of one stage over ``count`` cores: the same part of each, so that values of one
    channel stay on their core."""
    cores = []
    for i in range(count):
        parts = []
        for d in shared:
            begin, end = d.layer.output.size * i // count, d.layer.output.size * (i + 1) // count
            if end > begin:
                parts.append(limits.slice_of(d, begin, end))
        if parts:
            cores.append(Core(shared[0].layer.stage, tuple(parts)))
    return cores


def _next_fit(shared: list[Demand], limits: Limits, reached: Mapping[str, int]) -> list[Core]:
    """Layers of one stage one after the other, a new core when one is full."""
    cores: list[Core] = []
    held: list[Slice] = []
    stage = shared[0].layer.stage

    def close() -> None:
        if held:
            cores.append(Core(stage, tuple(held)))
            held.clear()

    for demand in shared:
        size, words = demand.layer.output.size, demand.words_per_neuron
        each = WORD_BYTES * words + limits.overhead
        synapses = -(-limits.bytes_of(demand, size) // size)
        each += synapses
        axons = reached.get(demand.layer.name, 0)
        begin = 0
        while begin < size:
            used = Core(stage, tuple(held))
            room = limits.neurons - used.neurons
            if synapses:
                room = min(room, (limits.synapses - used.synapse_bytes) // synapses)
            if each:
                taken = used.bytes + limits.overhead * used.neurons
                room = min(room, (limits.memory - taken) // each)
            if axons:
                room = min(room, (limits.axons - output_axons(used, reached)) // axons)
            if room < 1 and held:
                close()
                continue
            end = min(size, begin + max(1, room))
            held.append(limits.slice_of(demand, begin, end))
            begin = end
    close()
    return cores
