"""What bounds each step of a token, as cores are given to one population or another.

A model of ``timing`` that knows groups of populations instead of cores, so that thousands of
divisions can be looked at in seconds: a group g on c_g cores is busy in a step for

    max(compute_g, synapses_g) / c_g      what its neurons do and hear, divided evenly
    (received_g + own_g / c_g) t_in       packets of projections reach all of its cores, those of
                                          single channels one
    sent_g t_out / c_g                    to all cores of the groups it sends to
    sent_g t_link / 2 max(1, c_g / tile)  the same over the two links along a row of its routers

and a step lasts as long as its busiest group, but no less than the overhead. Where routers lie is
left out: ``mapping_choice`` prices the mappings themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.energy.timing import neuron_times
from spikegpt_neuro.mapping import Mapping
from spikegpt_neuro.mapping.demand import Demand, demands
from spikegpt_neuro.mapping.partition import cores_of_groups, group_of
from spikegpt_neuro.mapping.roles import synapses_of
from spikegpt_neuro.mapping.units import Machine
from spikegpt_neuro.mapping.work import time_of

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

Worth = Callable[[Int64Array, FloatArray], float]
"""What cores of the groups, and the seconds of each step, are worth; less is better."""
PREFILL = 0
"""The row of the step in which every layer works, as steps of a token count from 1."""
WAYS = 2
"""Links along a row that leave a router."""
RATIOS = (0.98, 0.9, 0.7)
"""How much shorter a move makes a step, each tried."""


@dataclass(frozen=True, eq=False)
class Busy:
    """Nanoseconds of every group in every step: row 0 is prefill, the others generation's.

    ``work`` and ``own`` float64 [steps, groups], on one core; ``received`` the same, on each core.
    ``start`` and ``most`` int64 [groups]: cores under the packed partition, and neurons of the
    largest layer.
    Packets ``sent`` go in step ``step`` from group ``source`` to all cores of ``target`` that hold
    neurons of the layer they are for, which has ``reach`` neurons.
    """

    groups: tuple[str, ...]
    start: Int64Array
    most: Int64Array
    work: FloatArray
    received: FloatArray
    own: FloatArray
    step: Int64Array
    source: Int64Array
    target: Int64Array
    reach: Int64Array
    sent: FloatArray
    out_time: float
    link_time: float
    per_tile: int
    overhead: float

    @cached_property
    def floor(self) -> FloatArray:
        """The least each step lasts, float64 [steps]."""
        return np.maximum(self.received.max(axis=1, initial=0.0), self.overhead)

    def _alone_and_leaving(self, counts: Int64Array) -> tuple[FloatArray, FloatArray]:
        """Nanoseconds of every group in every step on one core, and on one router's links."""
        packets = np.zeros_like(self.work)
        targets = np.minimum(counts[self.target], self.reach)
        np.add.at(packets, (self.step, self.source), self.sent * targets)
        return (
            np.maximum(self.work, packets * self.out_time),
            packets * self.link_time / WAYS,
        )

    def seconds(self, counts: Int64Array) -> FloatArray:
        """Seconds of every step when the groups have so many cores, float64 [steps]."""
        alone, leaving = self._alone_and_leaving(counts)
        routers = np.maximum(1.0, counts / self.per_tile)
        busiest = np.maximum(alone / counts, leaving / routers)
        busiest = np.maximum(busiest, self.received + self.own / counts)
        return 1e-9 * np.maximum(busiest.max(axis=1), self.floor)

    def shortened(self, counts: Int64Array, step: int, seconds: float) -> Int64Array:
        """Cores with which no group keeps that step longer; no fewer than there are, and no more
        than neurons."""
        alone, leaving = (part[step] for part in self._alone_and_leaving(counts))
        limit = 1e9 * seconds * (1 + 1e-9)
        wanted = np.ceil(alone / limit)
        crowded = leaving > limit
        wanted[crowded] = np.maximum(wanted, np.ceil(self.per_tile * leaving / limit))[crowded]
        own, room = self.own[step], limit - self.received[step]
        more = (own > 0) & (room > 0)
        wanted[more] = np.maximum(wanted[more], np.ceil(own[more] / room[more]))
        return np.maximum(counts, np.minimum(wanted, self.most).astype(np.int64))


def busy_groups(layers: tuple[LayerActivity, ...], packed: Mapping) -> Busy:
    """The model of a machine whose packed mapping is ``packed``. ``layers``: of its units."""
    machine, profile = packed.machine, packed.profile
    listed = demands(machine)
    counts = cores_of_groups(packed.cores, listed)
    number = {name: i for i, name in enumerate(counts)}
    group = {d.layer.name: number[group_of(d)] for d in listed}
    shape = machine.steps + 1, len(counts)
    most = np.ones(len(counts), np.int64)
    for demand in listed:
        g = group[demand.layer.name]
        most[g] = max(most[g], demand.layer.output.size)
    holder = [group[core.slices[0].layer] for core in packed.cores]
    heard = _heard(machine)
    spike_in = time_of(profile, "spike_in")
    received, own = np.zeros(shape), np.zeros(shape)
    sent = []
    for fan in packed.traffic.fans:
        target, packets = holder[int(fan.target[0])], float(fan.packets.sum())
        steps, reach = heard[fan.layer]
        for step in steps:
            received[step, target] += packets * spike_in
            if fan.source[0] >= 0:  # not the host's
                sent.append((step, holder[int(fan.source[0])], target, reach, packets))
    traffic = packed.traffic
    for core, each, layer in zip(
        traffic.target.tolist(), traffic.packets.tolist(), traffic.layer.tolist(), strict=True
    ):
        for step in heard[layer][0]:
            own[step, holder[core]] += each * spike_in
    columns = np.array([row[:4] for row in sent], np.int64).reshape(-1, 4)
    step_of, source_of, target_of, reach_of = (columns[:, i] for i in range(4))
    return Busy(
        tuple(counts), np.array(list(counts.values()), np.int64), most,
        _work(layers, packed, listed, group, shape), received, own,
        step_of, source_of, target_of, reach_of,
        np.array([row[4] for row in sent]), time_of(profile, "spike_out"),
        time_of(profile, "link"), profile.limit("cores_per_tile") or 1,
        time_of(profile, "step"),
    )  # fmt: skip


def _heard(machine: Machine) -> dict[int, tuple[tuple[int, ...], int]]:
    """By number of a layer, as traffic has them: the steps in which its packets are heard, prefill
    among them, and the neurons that hear them."""
    number = {layer.name: i for i, layer in enumerate(machine.layers)}
    ends = synapses_of(machine)
    steps: dict[int, set[int]] = {}
    sizes: dict[int, int] = {}
    for layer in machine.layers:
        if layer.role != "neuron":
            continue
        visits = machine.visits[layer.name]
        ending = ((name, visits[-1]) for name in ends.get(layer.name, ()))
        for name, step in ((layer.name, visits[0]), *ending):
            steps.setdefault(number[name], {PREFILL}).add(step)
            sizes[number[name]] = max(layer.output.size, sizes.get(number[name], 0))
    return {i: (tuple(sorted(found)), sizes[i]) for i, found in steps.items()}


def _work(
    layers: tuple[LayerActivity, ...], packed: Mapping, listed: tuple[Demand, ...],
    group: dict[str, int], shape: tuple[int, int],
) -> FloatArray:  # fmt: skip
    """See ``Busy.work``: in generation neurons that wait for other steps are updated idle."""
    compute, synapses = np.zeros(shape), np.zeros(shape)
    idle = time_of(packed.profile, "neuron_update_idle")
    each = neuron_times(layers, packed.machine, packed.profile, "value")
    for demand in listed:
        name, size = demand.layer.name, demand.layer.output.size
        g, visits = group[name], packed.machine.visits[name]
        active, heard = (size * time for time in each[name])
        compute[PREFILL, g] += active
        synapses[PREFILL, g] += heard
        compute[PREFILL + 1 :, g] += size * idle
        for step in visits:
            compute[step, g] += active - size * idle
        synapses[visits[-1], g] += heard
    return np.maximum(compute, synapses)


def divisions(busy: Busy, spare: int, worth: Worth) -> Iterator[Int64Array]:
    """Cores of the groups, from as few as possible on, with up to ``spare`` more.

    A move makes one step shorter by giving cores to every group that keeps it longer; of all moves
    the one that lowers ``worth`` most for each core is taken, until none does.
    """
    counts = busy.start
    yield counts
    while spare > 0:
        moved = _move(busy, counts, spare, worth)
        if moved is None:
            return
        spare -= int((moved - counts).sum())
        counts = moved
        yield counts


def _move(busy: Busy, counts: Int64Array, spare: int, worth: Worth) -> Int64Array | None:
    seconds, floor = busy.seconds(counts), 1e-9 * busy.floor
    now = worth(counts, seconds)
    best, most = None, 0.0
    for step in np.flatnonzero(seconds > floor * (1 + 1e-6)).tolist():
        for ratio in RATIOS:
            wider = busy.shortened(counts, step, max(ratio * seconds[step], floor[step]))
            extra = int((wider - counts).sum())
            if not 0 < extra <= spare:
                continue
            gain = (now - worth(wider, busy.seconds(wider))) / extra
            if gain > most:
                best, most = wider, gain
    return best
