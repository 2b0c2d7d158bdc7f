"""Partition of a network's neurons and synapses over neuro cores.

Two ways: ``packed`` fills as few cores as the limits allow, layer after layer (what a simple
compiler does); ``spread`` starts from there and gives the free cores of the same chips to whatever
keeps a core busy longest, until the busiest core is as short as it gets.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import groupby, pairwise
from typing import Final

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping.axons import input_axons, output_axons, reach
from spikegpt_neuro.mapping.cores import Core, Limits, Slice
from spikegpt_neuro.mapping.demand import WORD_BYTES, Demand, demands
from spikegpt_neuro.mapping.roles import Graph

SPREADS: Final = ("spread", "packed")
"""How cores are used: all cores of the chips that are needed anyway, or as few as possible."""


def partition(
    network: Graph, profile: Profile, packing: str, spread: str = "packed",
    work: Mapping[str, float] | None = None, enough: float = 0.0,
) -> tuple[Core, ...]:  # fmt: skip
    """Cut every neuron layer into slices that fit a core.

    A layer with synapses fills cores of its own, neurons cut evenly (images at whole columns);
    layers without, or with few (delays, norms, element-wise neurons), of one stage share cores.
    Where output axons are limited, layers are cut smaller until no core has too many; smaller
    slices of one layer are more cores for another to send to, so this is repeated. Where it saves
    a chip, what is left of a stage's layers beside full cores shares cores, too. A layer one of
    whose neurons does not fit a core gets one neuron a core, and ``mapping.rules`` reports it.

    ``spread``: one of ``SPREADS``; ``work`` is then the time of each layer a token, in any
    unit, and a core that works no longer than ``enough`` gets no help.
    """
    if spread not in SPREADS:
        raise InputError(f"spread {spread!r} is unknown; allowed: {', '.join(SPREADS)}.")
    limits, listed = Limits.of(profile, packing), demands(network)
    cores, reached = _packed(network, profile, listed, limits)
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


def cut_into(
    network: Graph, profile: Profile, packing: str, counts: Mapping[str, int]
) -> tuple[Core, ...] | None:
    """The partition with so many cores for each group; None where a core would break a limit.

    ``counts``: by ``group_of``, at least those of the packed partition.
    """
    limits, listed = Limits.of(profile, packing), demands(network)
    _, reached = _packed(network, profile, listed, limits)
    cores = _cut(listed, limits, reached, counts)
    now = reach(network, cores)
    if all(limits.keeps(core) and output_axons(core, now) <= limits.axons for core in cores):
        return cores
    return None


def _packed(
    network: Graph, profile: Profile, listed: tuple[Demand, ...], limits: Limits
) -> tuple[tuple[Core, ...], Mapping[str, int]]:
    """As few cores as the limits allow, and the cores each layer was taken to reach."""
    reached: dict[str, int] = {}
    cores = _cut(listed, limits, reached, {})
    while profile.limit("output_axons_per_core") is not None:
        now = reach(network, cores)
        if now == reached or all(output_axons(core, now) <= limits.axons for core in cores):
            break
        reached = now
        cores = _cut(listed, limits, reached, {})
    per_chip = profile.limit("cores_per_chip") or len(cores)
    tight = _tight(listed, limits, reached)
    if -(-len(tight) // per_chip) < -(-len(cores) // per_chip):
        now, most = reach(network, tight), profile.limit("input_axons_per_core")
        if all(
            output_axons(core, now) <= limits.axons
            and (most is None or input_axons(network, core) <= most)
            for core in tight
        ):
            return tight, now
    return cores, reached


def _tight(
    listed: tuple[Demand, ...], limits: Limits, reached: Mapping[str, int]
) -> tuple[Core, ...]:
    """Full cores, and what is left of a stage's layers together on few.

    Used where it saves a chip: cores of one layer alone, evenly cut, are what compilers show.
    """
    cores: list[Core] = []
    for stage, members in groupby(listed, key=lambda demand: demand.layer.stage):
        shared: list[Demand] = []
        rests: list[Slice] = []
        for demand in members:
            if demand.shares:
                shared.append(demand)
                continue
            size = demand.layer.output.size
            rows = _most(demand, limits, reached.get(demand.layer.name, 0))
            *full, (begin, _) = [(a, min(a + rows, size)) for a in range(0, size, rows)]
            cores += [Core(stage, (limits.slice_of(demand, *pair),)) for pair in full]
            rests.append(limits.slice_of(demand, begin, size))
        bins = _next_fit(shared, limits, reached) if shared else []
        for rest in sorted(rests, key=lambda found: found.synapse_bytes, reverse=True):
            _first_fit(bins, rest, stage, limits, reached)
        cores += bins
    return tuple(cores)


def _first_fit(
    bins: list[Core], rest: Slice, stage: str, limits: Limits, reached: Mapping[str, int]
) -> None:
    """Put a slice on the first core that holds it beside its own, or on a new one."""
    for i, core in enumerate(bins):
        joined = Core(stage, (*core.slices, rest))
        if limits.keeps(joined) and output_axons(joined, reached) <= limits.axons:
            bins[i] = joined
            return
    bins.append(Core(stage, (rest,)))


def group_of(demand: Demand) -> str:
    """What shares cores: a layer with many synapses stands alone, others with their stage."""
    return f"{demand.layer.stage}: shared" if demand.shares else demand.layer.name


def cores_of_groups(cores: tuple[Core, ...], listed: tuple[Demand, ...]) -> dict[str, int]:
    """Cores of every group of layers that share cores."""
    group = {d.layer.name: group_of(d) for d in listed}
    counts: dict[str, int] = {}
    for core in cores:
        name = group[core.slices[0].layer]
        counts[name] = counts.get(name, 0) + 1
    return counts


def _shares(
    cores: tuple[Core, ...], listed: tuple[Demand, ...], work: Mapping[str, float], spare: int,
    enough: float,
) -> dict[str, int]:  # fmt: skip
    """Cores of every group when ``spare`` more go, one by one, to the group with the busiest."""
    counts = cores_of_groups(cores, listed)
    total: dict[str, float] = {}
    most: dict[str, int] = {}
    for d in listed:
        name = group_of(d)
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
            wanted = counts.get(group_of(waiting[0]), 0)
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
        bounds = _bounds(
            size, demand.columns, max(-(-size // rows), counts.get(group_of(demand), 0))
        )
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
