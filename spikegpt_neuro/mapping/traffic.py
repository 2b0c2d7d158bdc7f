"""Spike traffic between cores: who sends how many packets to whom, and how far they travel."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.mapping.cores import Core
from spikegpt_neuro.mapping.roles import Graph
from spikegpt_neuro.mapping.units import Unit
from spikegpt_neuro.network import TOKEN
from spikegpt_neuro.network.schema import Layer

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fan:
    """Cores that all send to the same cores, for the synapses of layer number ``layer``.

    ``source[i]`` sends ``packets[i]`` packets a token to *each* of ``target``: a full product,
    held as its two sides, so that memory grows with cores and not with pairs of cores.
    """

    layer: int
    source: Int64Array
    packets: FloatArray
    target: Int64Array


@dataclass(frozen=True)
class Traffic:
    """Edges between cores. ``source[e]`` sends ``packets[e]`` packets a token to ``target[e]`` for
    the synapses or neurons of layer number ``layer[e]``; source -1 is the host. ``fans``: the
    edges of projections whose operands go to all cores that hold their synapses."""

    source: Int64Array
    target: Int64Array
    packets: FloatArray
    layer: Int64Array
    assumed_dense: bool
    fans: tuple[Fan, ...] = ()

    @cached_property
    def total(self) -> float:
        """Packets a token."""
        return float(self.packets.sum()) + math.fsum(
            float(fan.packets.sum()) * fan.target.size for fan in self.fans
        )

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that packets are for."""
        return tuple(sorted({*self.layer.tolist(), *(fan.layer for fan in self.fans)}))

    def of(self, layers: Collection[int]) -> Traffic:
        """The part that is for these layers."""
        mask = np.isin(self.layer, np.array(sorted(layers), np.int64))
        return Traffic(
            self.source[mask], self.target[mask], self.packets[mask], self.layer[mask],
            self.assumed_dense, tuple(fan for fan in self.fans if fan.layer in layers),
        )  # fmt: skip

    def ports(self, cores: int) -> tuple[FloatArray, FloatArray]:
        """Packets a token each core receives, and sends: float64 [cores] twice."""
        received, sent = np.zeros(cores), np.zeros(cores)
        np.add.at(received, self.target, self.packets)
        inside = self.source >= 0
        np.add.at(sent, self.source[inside], self.packets[inside])
        for fan in self.fans:
            np.add.at(received, fan.target, float(fan.packets.sum()))
            inside = fan.source >= 0
            np.add.at(sent, fan.source[inside], fan.packets[inside] * fan.target.size)
        return received, sent


def _origins(network: Graph, name: str) -> Iterator[tuple[str, float]]:
    """Neuron or input layers that feed ``name``'s vector, with the share of its channels."""
    layer = network[name]
    if layer.role != "wiring":
        yield name, 1.0
        return
    for source, share in zip(layer.inputs, layer.input_shares(), strict=True):
        if share:
            for origin, part in _origins(network, source):
                yield origin, part * share


def _without_delays(network: Graph, name: str) -> Layer:
    """The layer ``name``, or where a chain's delays lead from it."""
    layer = network[name]
    while layer.role == "wiring" and len(layer.inputs) == 1:
        layer = network[layer.inputs[0]]
    return layer


def _columns(part: tuple[int, int, int], size: int, columns: int) -> tuple[float, float]:
    """First and last column of an image that a slice of its channels covers, ends excluded."""
    return part[1] * columns / size, part[2] * columns / size


def _stripes(
    sources: list[tuple[int, int, int]],
    targets: list[tuple[int, int, int]],
    geometry: tuple[int, ...],
    sent: float,
) -> Iterator[tuple[int, int, float]]:
    """Packets between stripes of a convolution's input and output: every value goes to the cores
    whose receptive fields hold its column. Events are taken as spread evenly over columns."""
    wide, made = geometry[2], geometry[5]
    kernel, stride, padding, dilation = (geometry[i] for i in (7, 9, 11, 13))
    size = geometry[0] * geometry[1] * wide
    out = geometry[3] * geometry[4] * made
    edges = np.array([place[1] for place in sources]) * wide / size
    for target in targets:
        first, last = _columns(target, out, made)
        begin = np.floor(first) * stride - padding
        end = (np.ceil(last) - 1) * stride - padding + dilation * (kernel - 1) + 1
        near = slice(
            max(0, int(np.searchsorted(edges, begin, "right")) - 1),
            int(np.searchsorted(edges, end, "left")),
        )
        for source in sources[near]:
            left, right = _columns(source, size, wide)
            shared = min(right, end) - max(left, begin)
            if shared > 0:
                yield source[0], target[0], sent * shared / wide


def _overlaps(
    sources: list[tuple[int, int, int]], targets: list[tuple[int, int, int]]
) -> Iterator[tuple[int, int, int]]:
    """Cores of slices that share channels, and how many: both lists cover all channels in order,
    or a host holds them all, so this is a merge."""
    i = j = 0
    while i < len(sources) and j < len(targets):
        sender, begin, end = sources[i]
        target, first, last = targets[j]
        shared = min(end, last) - max(begin, first)
        if shared > 0:
            yield sender, target, shared
        if end <= last:
            i += 1
        else:
            j += 1


def measure(network: Graph, cores: tuple[Core, ...], counters: Counters | None) -> Traffic:
    """Packets a token over every edge of cores.

    Synapses: each non-zero operand goes to every core that holds rows of the matrix, or of a
    convolution to those whose receptive fields hold it. Element-wise neurons: each non-zero value
    goes to the core of the same channel, as synapses one to one do. Recurrent synapses: each spike
    goes to every core of its own layer. Events of a layer are taken as spread evenly over its
    channels. Without counters every value counts as non-zero.
    """
    places: dict[str, list[tuple[int, int, int]]] = {}
    for index, core in enumerate(cores):
        for part in core.slices:
            places.setdefault(part.layer, []).append((index, part.begin, part.end))
    for slices in places.values():
        slices.sort(key=lambda place: place[1])
    numbers = {layer.name: i for i, layer in enumerate(network.layers)}

    def events(name: str, column: str, size: int) -> float:
        if counters is None or counters.tokens == 0:
            return float(size)
        return counters.count(name, column) / counters.tokens

    rows: list[tuple[int, int, float, int]] = []
    fans: list[Fan] = []

    def fan(
        layer: int,
        sources: list[tuple[int, int, int]],
        targets: list[tuple[int, int, int]],
        each: float,
    ) -> None:
        cut = np.array(sources, np.int64)
        fans.append(
            Fan(layer, cut[:, 0], ((cut[:, 2] - cut[:, 1]) * each).astype(np.float64),
                np.array([place[0] for place in targets], np.int64))
        )  # fmt: skip

    for layer in network.layers:
        if layer.role != "neuron":
            continue
        targets = places[layer.name]
        for source in layer.inputs:
            if source == TOKEN:
                continue
            feeder = _without_delays(network, source)
            everywhere = feeder.role == "synapse"
            aligned = isinstance(feeder, Unit) and feeder.one_to_one
            vector = feeder.inputs[0] if everywhere else feeder.name
            size = network[vector].output.size
            if everywhere:
                sent = events(feeder.name, "input_events", size)
            else:
                sent = events(vector, "output_events", size)
            consumer = numbers[feeder.name if everywhere else layer.name]
            for origin, share in _origins(network, vector):
                sources = places.get(origin, [(-1, 0, network[origin].output.size)])
                geometry = feeder.receptive_field
                if everywhere and geometry is not None:
                    rows += [
                        (sender, target, packets, consumer)
                        for sender, target, packets in _stripes(
                            sources, targets, geometry, sent * share
                        )
                    ]
                elif everywhere and not aligned:
                    fan(consumer, sources, targets, sent * share / size)
                else:
                    rows += [
                        (sender, target, sent * share * channels / size, consumer)
                        for sender, target, channels in _overlaps(sources, targets)
                    ]
        if layer.fan_in:  # recurrent synapses: spikes go to every core of the layer itself
            sent = events(layer.name, "output_events", layer.output.size)
            fan(numbers[layer.name], targets, targets, sent / layer.output.size)
    source_, target_, packets_, layer_ = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Traffic(
        np.array(source_, np.int64), np.array(target_, np.int64),
        np.array(packets_, np.float64), np.array(layer_, np.int64),
        counters is None or counters.tokens == 0, tuple(fans),
    )  # fmt: skip


@dataclass(frozen=True)
class Hops:
    """Hops a token, over all packets: routers crossed east-west and north-south, and packets that
    leave their chip."""

    east_west: float
    north_south: float
    chip_crossings: float

    @property
    def total(self) -> float:
        """All router hops a token inside chips."""
        return self.east_west + self.north_south

    def __add__(self, other: Hops) -> Hops:
        return Hops(
            self.east_west + other.east_west,
            self.north_south + other.north_south,
            self.chip_crossings + other.chip_crossings,
        )


def hops(traffic: Traffic, chip: Int64Array, x: Int64Array, y: Int64Array) -> Hops:
    """Hop-weighted traffic of a placement: Manhattan distances.

    Packets between chips count as leaving: no hop energy between chips was published. Packets from
    the host enter at the target.
    """
    inside = traffic.source >= 0
    source = np.where(inside, traffic.source, traffic.target)
    away = chip[source] != chip[traffic.target]
    dx = np.where(away, 0, np.abs(x[source] - x[traffic.target])).astype(np.float64)
    dy = np.where(away, 0, np.abs(y[source] - y[traffic.target])).astype(np.float64)
    found = Hops(
        float((dx * traffic.packets).sum()),
        float((dy * traffic.packets).sum()),
        float(traffic.packets[away].sum()),
    )
    for fan in traffic.fans:
        found = found + _fan_hops(fan, chip, x, y)
    return found


def _fan_hops(fan: Fan, chip: Int64Array, x: Int64Array, y: Int64Array) -> Hops:
    """Hops of a full product: distances split into columns and rows of every chip, so that the
    sum over pairs is one over the mesh."""
    inside = fan.source >= 0
    source, packets, target = fan.source[inside], fan.packets[inside], fan.target
    if source.size == 0:
        return Hops(0.0, 0.0, 0.0)
    chips = int(max(chip[source].max(), chip[target].max())) + 1
    along = []
    for place in (x, y):
        width = int(place.max()) + 1
        sent = np.bincount(chip[source] * width + place[source], packets, chips * width)
        held = np.bincount(chip[target] * width + place[target], None, chips * width)
        distance = np.abs(np.arange(width)[:, None] - np.arange(width)[None, :])
        sent, held = sent.reshape(chips, width), held.reshape(chips, width)
        # not `@`, whose sums are of another order on every processor
        reached = np.einsum("cs,st->ct", sent, distance)
        along.append(float((reached * held).sum()))
        near = float((sent.sum(axis=1) * held.sum(axis=1)).sum())
    away = float(packets.sum()) * target.size - near if chips > 1 else 0.0
    return Hops(along[0], along[1], max(0.0, away))


def busiest_link(traffic: Traffic, chip: Int64Array, x: Int64Array, y: Int64Array) -> float:
    """Packets a token on the busiest link between two routers, routed along x, then along y."""
    if chip.size == 0:
        return 0.0
    shape = int(chip.max()) + 1, int(y.max()) + 1, int(x.max()) + 1
    # differences along a row: packets that enter and leave the links east of, and west of, a router
    east, west = np.zeros(shape), np.zeros(shape)
    south, north = np.zeros(shape), np.zeros(shape)
    keep = traffic.source >= 0
    keep[keep] = chip[traffic.source[keep]] == chip[traffic.target[keep]]
    a, b, w = traffic.source[keep], traffic.target[keep], traffic.packets[keep]
    for flow, forward in ((east, x[b] > x[a]), (west, x[b] < x[a])):
        low, high = np.minimum(x[a], x[b]), np.maximum(x[a], x[b])
        np.add.at(flow, (chip[a][forward], y[a][forward], low[forward]), w[forward])
        np.subtract.at(flow, (chip[a][forward], y[a][forward], high[forward]), w[forward])
    for flow, forward in ((south, y[b] > y[a]), (north, y[b] < y[a])):
        low, high = np.minimum(y[a], y[b]), np.maximum(y[a], y[b])
        np.add.at(flow, (chip[a][forward], low[forward], x[b][forward]), w[forward])
        np.subtract.at(flow, (chip[a][forward], high[forward], x[b][forward]), w[forward])
    load = [east.cumsum(axis=2), west.cumsum(axis=2), south.cumsum(axis=1), north.cumsum(axis=1)]
    for fan in traffic.fans:
        inside = fan.source >= 0
        a, b, w = fan.source[inside], fan.target, fan.packets[inside]
        sent, held = np.zeros(shape), np.zeros(shape)
        np.add.at(sent, (chip[a], y[a], x[a]), w)
        np.add.at(held, (chip[b], y[b], x[b]), 1.0)
        columns = held.sum(axis=1)[:, None, :]
        beyond = columns.sum(axis=2, keepdims=True) - columns.cumsum(axis=2)
        load[0] += sent.cumsum(axis=2) * beyond
        before = columns.cumsum(axis=2)
        after = sent.sum(axis=2, keepdims=True) - sent.cumsum(axis=2)
        load[1] += after * before
        rows = sent.sum(axis=2, keepdims=True)
        load[2] += rows.cumsum(axis=1) * (held.sum(axis=1, keepdims=True) - held.cumsum(axis=1))
        load[3] += (rows.sum(axis=1, keepdims=True) - rows.cumsum(axis=1)) * held.cumsum(axis=1)
    return max(float(flow.max()) for flow in load)
