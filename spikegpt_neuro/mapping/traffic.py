"""Spike traffic between cores: who sends how many packets to whom, and how far they travel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.mapping.partition import Core
from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.schema import Layer

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Traffic:
    """Edges between cores. ``source[e]`` sends ``packets[e]`` packets a token to ``target[e]`` for
    the synapses or neurons of layer number ``layer[e]``; source -1 is the host."""

    source: Int64Array
    target: Int64Array
    packets: FloatArray
    layer: Int64Array
    assumed_dense: bool

    @property
    def total(self) -> float:
        """Packets a token."""
        return float(self.packets.sum())


def _origins(network: Network, name: str) -> Iterator[tuple[str, float]]:
    """Neuron or input layers that feed ``name``'s vector, with the share of its channels."""
    layer = network[name]
    if layer.role != "wiring":
        yield name, 1.0
        return
    for source, share in zip(layer.inputs, layer.input_shares(), strict=True):
        if share:
            for origin, part in _origins(network, source):
                yield origin, part * share


def _without_delays(network: Network, name: str) -> Layer:
    """The layer ``name``, or where a chain's delays lead from it."""
    layer = network[name]
    while layer.role == "wiring" and len(layer.inputs) == 1:
        layer = network[layer.inputs[0]]
    return layer


def measure(network: Network, cores: tuple[Core, ...], counters: Counters | None) -> Traffic:
    """Packets a token over every edge of cores.

    Synapses: each non-zero operand goes to every core that holds rows of the matrix. Element-wise
    neurons: each non-zero value goes to the core of the same channel. Recurrent synapses: each
    spike goes to every core of its own layer. Events of a layer are taken as spread evenly over its
    channels. Without counters every value counts as non-zero.
    """
    places: dict[str, list[tuple[int, int, int]]] = {}
    for index, core in enumerate(cores):
        for part in core.slices:
            places.setdefault(part.layer, []).append((index, part.begin, part.end))
    numbers = {layer.name: i for i, layer in enumerate(network.layers)}

    def events(name: str, column: str, size: int) -> float:
        if counters is None or counters.tokens == 0:
            return float(size)
        return counters.count(name, column) / counters.tokens

    rows: list[tuple[int, int, float, int]] = []
    for layer in network.layers:
        if layer.role != "neuron":
            continue
        targets = places[layer.name]
        for source in layer.inputs:
            if source == TOKEN:
                continue
            feeder = _without_delays(network, source)
            everywhere = feeder.role == "synapse"
            vector = feeder.inputs[0] if everywhere else feeder.name
            size = network[vector].output.size
            if everywhere:
                sent = events(feeder.name, "input_events", size)
            else:
                sent = events(vector, "output_events", size)
            consumer = numbers[feeder.name if everywhere else layer.name]
            for origin, share in _origins(network, vector):
                sources = places.get(origin, [(-1, 0, network[origin].output.size)])
                for sender, begin, end in sources:
                    for target, first, last in targets:
                        shared = min(end, last) - max(begin, first)
                        channels = end - begin if everywhere else shared
                        if channels > 0:
                            packets = sent * share * channels / size
                            rows.append((sender, target, packets, consumer))
        if layer.fan_in:  # recurrent synapses: spikes go to every core of the layer itself
            sent = events(layer.name, "output_events", layer.output.size)
            for sender, begin, end in targets:
                share = (end - begin) / layer.output.size
                rows += [(sender, t, sent * share, numbers[layer.name]) for t, _, _ in targets]
    source_, target_, packets_, layer_ = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Traffic(
        np.array(source_, np.int64), np.array(target_, np.int64),
        np.array(packets_, np.float64), np.array(layer_, np.int64),
        counters is None or counters.tokens == 0,
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


def hops_per_edge(
    traffic: Traffic, chip: Int64Array, x: Int64Array, y: Int64Array
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """East-west and north-south hops of one packet on each edge, and whether it leaves its chip.

    Packets between chips count as leaving: no hop energy between chips was published. Packets from
    the host enter at the target.
    """
    inside = traffic.source >= 0
    source = np.where(inside, traffic.source, traffic.target)
    away = chip[source] != chip[traffic.target]
    dx = np.where(away, 0, np.abs(x[source] - x[traffic.target])).astype(np.float64)
    dy = np.where(away, 0, np.abs(y[source] - y[traffic.target])).astype(np.float64)
    return dx, dy, away


def hops(traffic: Traffic, chip: Int64Array, x: Int64Array, y: Int64Array) -> Hops:
    """Hop-weighted traffic of a placement."""
    dx, dy, away = hops_per_edge(traffic, chip, x, y)
    return Hops(
        float((dx * traffic.packets).sum()),
        float((dy * traffic.packets).sum()),
        float(traffic.packets[away].sum()),
    )
