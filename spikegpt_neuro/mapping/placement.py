"""Placement of cores on the mesh of routers: a baseline, and one that keeps traffic local."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx
import numpy as np
import numpy.typing as npt

from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping.traffic import Traffic

Int64Array = npt.NDArray[np.int64]

_ROUNDS = 12
_SWAPS_PER_CORE = 40
_MOST_SWAPS = 30_000


@dataclass(frozen=True)
class Placement:
    """Chip and router of every core: arrays of int64, indexed by core number."""

    chip: Int64Array
    x: Int64Array
    y: Int64Array
    slot: Int64Array


def at_slots(chip: Int64Array, slot: Int64Array, profile: Profile) -> Placement:
    """Routers of places on a chip: places fill routers row by row, every other row backwards."""
    per_tile = profile.limit("cores_per_tile") or 1
    width = profile.limit("mesh_width") or 1
    tile = slot // per_tile
    y = tile // width
    x = tile % width
    x = np.where(y % 2 == 1, width - 1 - x, x)
    return Placement(chip, x, y, slot)


def in_order(count: int, profile: Profile) -> Placement:
    """The baseline: cores in execution order fill chips, routers row by row."""
    per_chip = profile.limit("cores_per_chip") or count
    order = np.arange(count, dtype=np.int64)
    return at_slots(order // per_chip, order % per_chip, profile)


def edges_among(
    traffic: Traffic, members: Int64Array
) -> tuple[Int64Array, Int64Array, npt.NDArray[np.float64]]:
    """Who sends how many packets a token to whom among some cores, numbered as in ``members``.

    Source, target and packets of every edge; several of a pair are kept apart. Host traffic and
    what a core sends itself are left out. Edges are formed among ``members`` only (a chip's cores),
    whatever the number of all cores.
    """
    number = np.full(max(int(members.max(initial=0)), _highest(traffic)) + 1, -1, np.int64)
    number[members] = np.arange(members.size)
    inside = traffic.source >= 0
    sources, targets = [number[traffic.source[inside]]], [number[traffic.target[inside]]]
    packets = [traffic.packets[inside]]
    for fan in traffic.fans:
        known = fan.source >= 0
        a, b, w = number[fan.source[known]], number[fan.target], fan.packets[known]
        w, a, b = w[a >= 0], a[a >= 0], b[b >= 0]
        sources.append(np.repeat(a, b.size))
        targets.append(np.tile(b, a.size))
        packets.append(np.repeat(w, b.size))
    source, target = np.concatenate(sources), np.concatenate(targets)
    keep = (source >= 0) & (target >= 0) & (source != target)
    return source[keep], target[keep], np.concatenate(packets)[keep]


def core_graph(traffic: Traffic, members: Int64Array) -> nx.Graph:
    """Undirected graph of some cores; edge weights are packets a token, see ``edges_among``."""
    count = members.size
    a, b, packets = edges_among(traffic, members)
    pairs = np.minimum(a, b) * count + np.maximum(a, b)
    keys, where = np.unique(pairs, return_inverse=True)
    weights = np.bincount(where, weights=packets, minlength=keys.size)
    graph = nx.Graph()
    graph.add_nodes_from(range(count))
    graph.add_weighted_edges_from(
        zip((keys // count).tolist(), (keys % count).tolist(), weights.tolist(), strict=True)
    )
    return graph


def _highest(traffic: Traffic) -> int:
    """Largest core number that sends or receives."""
    ends = [traffic.source, traffic.target]
    for fan in traffic.fans:
        ends += [fan.source, fan.target]
    return max(int(end.max(initial=0)) for end in ends)


def _distance(place: Placement, a: Int64Array, b: Int64Array) -> Int64Array:
    return np.abs(place.x[a] - place.x[b]) + np.abs(place.y[a] - place.y[b])


def keep_local(traffic: Traffic, count: int, profile: Profile) -> Placement:
    """Cores of heavy mutual traffic close together.

    Starts from execution order (stages follow each other, so traffic between chips is already
    small). On every chip a core is then drawn to the mean place of its partners, weighted by
    packets, and cores take the places in that order; then pairs trade places where that shortens
    paths. The best placement seen is kept, so the result is never worse than the baseline.
    Deterministic (fixed seed). The baseline stays where the profile does not say how routers lie.
    """
    start = in_order(count, profile)
    if profile.limit("mesh_width") is None:
        return start
    slot = start.slot.copy()
    for members in chips_of(start):
        slot[members] = _arrange(core_graph(traffic, members), members, start, profile)
    return at_slots(start.chip, slot, profile)


def chips_of(placement: Placement) -> Iterator[Int64Array]:
    """Numbers of the cores of each chip."""
    for chip in range(int(placement.chip.max(initial=-1)) + 1):
        yield np.flatnonzero(placement.chip == chip)


def _arrange(
    graph: nx.Graph, members: Int64Array, start: Placement, profile: Profile
) -> Int64Array:
    """Places of one chip's cores."""
    edges = list(graph.edges(data="weight"))
    best = start.slot[members].copy()
    if not edges:
        return best
    a = np.array([e[0] for e in edges], np.int64)
    b = np.array([e[1] for e in edges], np.int64)
    w = np.array([e[2] for e in edges], np.float64)
    chip = np.zeros(members.size, np.int64)

    def cost(slots: Int64Array) -> float:
        return float((_distance(at_slots(chip, slots, profile), a, b) * w).sum())

    lowest = cost(best)
    slots = best.copy()
    strength = np.bincount(a, w, members.size) + np.bincount(b, w, members.size)
    for _ in range(_ROUNDS):
        place = at_slots(chip, slots, profile)
        pull_x = np.bincount(a, w * place.x[b], members.size)
        pull_x += np.bincount(b, w * place.x[a], members.size)
        pull_y = np.bincount(a, w * place.y[b], members.size)
        pull_y += np.bincount(b, w * place.y[a], members.size)
        safe = np.where(strength > 0, strength, 1)
        along = (pull_y / safe) * (int(place.x.max()) + 1) + pull_x / safe
        along = np.where(strength > 0, along, np.inf)
        order = np.lexsort((np.arange(members.size), along))
        slots = np.empty_like(slots)
        slots[order] = np.sort(best)
        now = cost(slots)
        if now < lowest:
            lowest, best = now, slots.copy()
    return _trade(best, a, b, w, profile)


def _trade(
    slots: Int64Array, a: Int64Array, b: Int64Array, w: npt.NDArray[np.float64], profile: Profile
) -> Int64Array:
    """Trade places of random pairs of cores while that shortens weighted paths."""
    count = slots.size
    partners: list[list[int]] = [[] for _ in range(count)]
    weights: list[list[float]] = [[] for _ in range(count)]
    for i, j, packets in zip(a.tolist(), b.tolist(), w.tolist(), strict=True):
        partners[i].append(j)
        weights[i].append(packets)
        partners[j].append(i)
        weights[j].append(packets)
    others = [np.array(p, np.int64) for p in partners]
    pulls = [np.array(p) for p in weights]
    place = at_slots(np.zeros(count, np.int64), slots, profile)
    x, y, slots = place.x.copy(), place.y.copy(), slots.copy()
    choose = np.random.default_rng(0)
    pairs = choose.integers(0, count, (min(_MOST_SWAPS, _SWAPS_PER_CORE * count), 2))
    for i, j in pairs.tolist():
        if i == j:
            continue
        gain = 0.0
        for one, other in ((i, j), (j, i)):
            near = others[one]
            if near.size == 0:
                continue
            before = np.abs(x[near] - x[one]) + np.abs(y[near] - y[one])
            after = np.abs(x[near] - x[other]) + np.abs(y[near] - y[other])
            moved = np.where(near == other, before, after)
            gain += float(((before - moved) * pulls[one]).sum())
        if gain > 1e-9:
            x[i], x[j] = x[j], x[i]
            y[i], y[j] = y[j], y[i]
            slots[i], slots[j] = slots[j], slots[i]
    return slots
