"""Partition, placement and traffic: everything is placed once, and locality pays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile, load_profile
from spikegpt_neuro.mapping import PACKINGS, check_rules, map_network, sizes
from spikegpt_neuro.mapping.axons import output_axons, reach
from spikegpt_neuro.mapping.cores import Core
from spikegpt_neuro.mapping.demand import demands
from spikegpt_neuro.mapping.partition import cut_into, partition
from spikegpt_neuro.mapping.placement import core_graph, in_order, keep_local
from spikegpt_neuro.mapping.roles import balancing_words, depths
from spikegpt_neuro.mapping.traffic import Fan, Traffic, hops, measure
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.random_networks import RandomShape, random_network


@cache
def _network(layout: str = "upstream", n_layer: int = 2, n_embd: int = 32) -> Network:
    return random_network(RandomShape(layout=layout, n_layer=n_layer, n_embd=n_embd))


@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", ["loihi1-paper", "loihi2", "spinnaker2-catalogue", "truenorth"])
def test_every_neuron_and_every_weight_is_placed_exactly_once(
    layout: str, packing: str, name: str
) -> None:
    network = _network(layout)
    cores = partition(network, load_profile(name), packing)
    channels: dict[str, list[tuple[int, int]]] = {}
    for core in cores:
        for part in core.slices:
            channels.setdefault(part.layer, []).append((part.begin, part.end))
    for demand in demands(network):
        spans = sorted(channels.pop(demand.layer.name))
        assert spans[0][0] == 0 and spans[-1][1] == demand.layer.output.size
        assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert channels == {}
    weights = sum(layer.weight.size for layer in network.layers if layer.kind == "dense")
    assert sum(core.weights for core in cores) == weights


def test_no_core_holds_more_than_its_limits() -> None:
    profile = load_profile("loihi2")
    network = _network(n_layer=2, n_embd=128)
    cores = partition(network, profile, "pessimistic")
    fans: dict[str, int] = {}  # weights of each neuron, by who reads the products
    for layer in network.layers:
        if layer.kind == "dense":
            (end,) = (x.name for x in network.layers if layer.name in x.inputs)
            fans[end] = fans.get(end, 0) + layer.weight.shape[1]  # type: ignore[attr-defined]
    for core in cores:
        neurons = sum(part.end - part.begin for part in core.slices)
        weights = sum((p.end - p.begin) * fans.get(p.layer, 0) for p in core.slices)
        assert (core.neurons, core.weights) == (neurons, weights)
        assert neurons <= 8192 and weights <= 30000
    assert max(core.bytes for core in cores) <= 196608


def test_small_layers_share_cores_until_their_memory_is_full(
    make_profile: Callable[..., Profile],
) -> None:
    network = _network(n_layer=1, n_embd=64)
    limits = {"cores_per_chip": 500, "weights_per_core": 2048}
    free = partition(network, make_profile(**limits), "middle")
    most = 2500
    assert max(core.bytes for core in free) > most
    cores = partition(network, make_profile(**limits, memory_per_core=most), "middle")
    assert 0.9 * most < max(core.bytes for core in cores) <= most
    assert sum(core.bytes for core in cores) == sum(core.bytes for core in free)


def test_rests_of_layers_share_cores_where_that_saves_a_chip(
    make_profile: Callable[..., Profile],
) -> None:
    network = _network(n_layer=2, n_embd=32)

    def cores_on_chips_of(per_chip: int) -> tuple[Core, ...]:
        profile = make_profile(
            cores_per_chip=per_chip, weights_per_core=900, neurons_per_core=64,
            memory_per_core=8192,
        )  # fmt: skip
        return partition(network, profile, "middle")

    alone, shared = cores_on_chips_of(10**6), cores_on_chips_of(1)
    assert len(shared) < len(alone)
    assert all(core.synapse_bytes <= 900 and core.neurons <= 64 for core in shared)
    assert all(core.bytes <= 8192 for core in shared)
    placed = [(s.layer, c) for core in shared for s in core.slices for c in range(s.begin, s.end)]
    assert sorted(placed) == sorted(
        (s.layer, c) for core in alone for s in core.slices for c in range(s.begin, s.end)
    )
    # what shares a core works in one time step
    stages = {layer.name: layer.stage for layer in network.layers}
    assert all({stages[s.layer] for s in core.slices} == {core.stage} for core in shared)


def _axons_out(network: Network, cores: tuple[Core, ...]) -> list[int]:
    """Of each core: pairs of one of its neurons and a core with neurons that its values reach."""
    holding: dict[str, set[int]] = {}
    for number, core in enumerate(cores):
        for part in core.slices:
            holding.setdefault(part.layer, set()).add(number)
    found = []
    for core in cores:
        axons = 0
        for part in core.slices:
            for synapse in (x for x in network.layers if part.layer in x.inputs):
                if synapse.kind == "dense":
                    (end,) = (x.name for x in network.layers if synapse.name in x.inputs)
                    axons += sum(1 for _ in range(part.begin, part.end) for _ in holding[end])
        found.append(axons)
    return found


def test_layers_are_cut_until_their_output_axons_fit(make_profile: Callable[..., Profile]) -> None:
    network = _network(n_layer=2, n_embd=64)
    limits = {"cores_per_chip": 500, "weights_per_core": 2048}
    free = partition(network, make_profile(**limits), "middle")
    assert max(_axons_out(network, free)) > 300
    tight = make_profile(**limits, output_axons_per_core=300)
    cores = partition(network, tight, "middle")
    assert max(_axons_out(network, cores)) <= 300
    reached = reach(network, cores)
    assert [output_axons(core, reached) for core in cores] == _axons_out(network, cores)
    # as many as there may be are not too many
    exact = make_profile(**limits, output_axons_per_core=max(_axons_out(network, free)))
    assert partition(network, exact, "middle") == cut_into(network, exact, "middle", {}) == free
    assert len(cores) > len(free)
    weights = sum(layer.weight.size for layer in network.layers if layer.kind == "dense")
    assert sum(core.weights for core in cores) == weights


def test_a_neuron_that_must_reach_more_cores_than_axons_has_a_core_of_its_own(
    make_profile: Callable[..., Profile],
) -> None:
    network = _network(n_layer=1, n_embd=16)
    profile = make_profile(cores_per_chip=5000, weights_per_core=64, output_axons_per_core=4)
    cores = partition(network, profile, "middle")
    reached = reach(network, cores)
    axons = _axons_out(network, cores)
    crowded = [core for core, n in zip(cores, axons, strict=True) if n > 4]
    assert crowded and all(
        sum(reached.get(part.layer, 0) > 0 for part in core.slices) == 1 for core in crowded
    )
    assert {v.rule for v in check_rules(network, profile, "middle", cores)} >= {"output_axons"}


def test_a_partition_needs_described_cores() -> None:
    with pytest.raises(InputError, match="describes no neuro cores"):
        map_network(_network(), load_profile("cmos45-int8"))
    with pytest.raises(InputError, match="packing 'tight' is unknown"):
        map_network(_network(), load_profile("loihi2"), "tight")


def test_packets_of_a_projection_are_its_events_times_its_cores(
    make_profile: Callable[..., Profile],
) -> None:
    network = _network()
    profile = make_profile(cores_per_chip=64, cores_per_tile=1, mesh_width=8, weights_per_core=512)
    cores = partition(network, profile, "middle")
    tokens = np.random.default_rng(0).integers(0, 50, 30).tolist()
    with Emulator().open(network) as session:
        session.score(tokens)
        counters = session.counters
    traffic = measure(network, cores, counters)
    numbers = {layer.name: i for i, layer in enumerate(network.layers)}
    name = "blocks.1.srffn.value"
    holders = sum(any(p.layer == "blocks.1.srffn.product" for p in c.slices) for c in cores)
    assert holders > 1
    found = traffic.of({numbers[name]}).total
    expected = counters.count(name, "input_events") / counters.tokens * holders
    assert found == pytest.approx(expected, rel=1e-12)  # sums of shares in floats


def test_without_counters_every_value_is_an_event(make_profile: Callable[..., Profile]) -> None:
    network = _network()
    profile = make_profile(cores_per_chip=64, cores_per_tile=1, mesh_width=8, weights_per_core=512)
    cores = partition(network, profile, "middle")
    found = measure(network, cores, None)
    numbers = {layer.name: i for i, layer in enumerate(network.layers)}
    holders = sum(any(p.layer == "blocks.1.srffn.product" for p in c.slices) for c in cores)
    hidden = 4 * 32
    packets = found.of({numbers["blocks.1.srffn.value"]}).total
    assert packets == pytest.approx(hidden * holders, rel=1e-12)  # sums of shares in floats
    # a product takes 32 values of each of two populations, each at the core of its own channel
    part = found.of({numbers["blocks.0.srwkv.product"]})
    assert part.total == pytest.approx(2 * 32, rel=1e-12)
    assert not part.fans
    mapping = map_network(network, load_profile("loihi2"))
    assert mapping.to_dict()["traffic_assumes_every_value_non_zero"] is True


def test_hops_are_manhattan_distances_on_one_chip(make_profile: Callable[..., Profile]) -> None:
    profile = make_profile(cores_per_chip=6, cores_per_tile=1, mesh_width=3, weights_per_core=1)
    place = in_order(8, profile)
    assert place.chip.tolist() == [0] * 6 + [1] * 2
    assert place.x.tolist() == [0, 1, 2, 2, 1, 0, 0, 1]  # every other row runs backwards
    assert place.y.tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    network = _network()
    traffic = measure(network, partition(network, load_profile("loihi2"), "middle"), None)
    picked = traffic.__class__(
        np.array([0, 1, 5, -1]), np.array([3, 1, 6, 2]), np.array([2.0, 5.0, 7.0, 1.0]),
        np.zeros(4, np.int64), True,
    )  # fmt: skip
    found = hops(picked, place.chip, place.x, place.y)
    assert (found.east_west, found.north_south, found.chip_crossings) == (4.0, 2.0, 7.0)


def test_what_cores_receive_and_send_is_counted_by_hand() -> None:
    """Two packets of the host, and two fans of which the host's is one: nobody sends those."""
    fans = (
        Fan(3, np.array([-1, 1]), np.array([3.0, 5.0]), np.array([0, 2])),
        Fan(4, np.array([2]), np.array([16.0]), np.array([1])),
    )
    traffic = Traffic(
        np.array([-1, 0, 2, -1]), np.array([1, 2, 0, 1]), np.array([1.0, 2.0, 4.0, 8.0]),
        np.array([0, 0, 1, 1]), False, fans,
    )  # fmt: skip
    received, sent = traffic.ports(3)
    assert received.tolist() == [4 + 3 + 5, 1 + 8 + 16, 2 + 3 + 5]
    assert sent.tolist() == [2, 2 * 5, 4 + 16]
    assert traffic.total == 1 + 2 + 4 + 8 + 2 * (3 + 5) + 16
    assert traffic.layers == (0, 1, 3, 4)
    assert traffic.of({1, 3}).total == 4 + 8 + 2 * (3 + 5)


def test_keeping_traffic_local_is_never_worse_and_here_much_better() -> None:
    profile = load_profile("loihi2")
    network = _network(n_layer=4, n_embd=192)
    mapping = map_network(network, profile)
    assert mapping.hops.total < 0.8 * mapping.baseline_hops.total
    cores = partition(network, profile, "middle")
    traffic = measure(network, cores, None)
    place = keep_local(traffic, len(cores), profile)
    for chip in range(int(place.chip.max()) + 1):
        slots = place.slot[place.chip == chip]
        assert sorted(slots.tolist()) == list(range(slots.size))
    members = np.arange(len(cores) // 2)
    graph = core_graph(traffic, members)
    assert graph.number_of_nodes() == members.size


def test_places_come_close_to_the_best_of_all(make_profile: Callable[..., Profile]) -> None:
    """Six cores on two by three routers, all 720 ways tried: 4 % longer on average."""
    profile = make_profile(cores_per_chip=6, cores_per_tile=1, mesh_width=2, weights_per_core=1)
    routers = [(x, y) for y in range(3) for x in range(2)]
    a, b = np.triu_indices(6, 1)
    excess = []
    for seed in range(12):
        choose = np.random.default_rng(seed)
        packets = choose.integers(1, 100, a.size) * (choose.random(a.size) < 0.5)
        edges = list(zip(a.tolist(), b.tolist(), packets.tolist(), strict=True))
        sent = packets > 0
        traffic = Traffic(
            a[sent], b[sent], packets[sent].astype(float), np.zeros(sent.sum(), np.int64), False
        )
        place = keep_local(traffic, 6, profile)

        def length(at: Sequence[tuple[int, int]], edges: list[Any] = edges) -> int:
            return sum(
                n * (abs(at[i][0] - at[j][0]) + abs(at[i][1] - at[j][1])) for i, j, n in edges
            )

        found = length(list(zip(place.x.tolist(), place.y.tolist(), strict=True)))
        excess.append(found / min(length(at) for at in permutations(routers)))
    assert min(excess) == 1 and np.mean(excess) < 1.1


def test_the_same_network_maps_to_the_same_places() -> None:
    network, profile = _network(), load_profile("loihi1-paper")
    first, second = (json.dumps(map_network(network, profile).to_dict()) for _ in range(2))
    assert first == second


def test_utilisation_of_cores_adds_up_to_that_of_chips() -> None:
    mapping = map_network(_network(n_layer=4, n_embd=192), load_profile("loihi2"), "pessimistic")
    values = mapping.to_dict()
    for row in values["chip_utilisation"]:
        members = [c for c in values["core_utilisation"] if c["chip"] == row["chip"]]
        assert row["weights"] == sum(c["weights"] for c in members)
        assert row["neurons"] == sum(c["neurons"] for c in members)
        assert 0 < row["weight_share"] <= 1
    assert sum(values["cores_by_stage"].values()) == values["cores"]
    assert values["smallest_system"]["name"] == "Oheo Gulch"


def test_levels_count_neurons_on_the_longest_path() -> None:
    network = _network(n_layer=1)
    depth = depths(network)
    assert depth["embedding.table"] == 0 and depth["embedding.norm"] == 1
    # norm, delay, shift, wkv, product, lif, residual
    assert depth["blocks.0.srwkv.residual"] == 8
    assert depth["blocks.0.srwkv.key"] == depth["blocks.0.srwkv.shift_key"]
    assert max(depth.values()) == depth["head.readout"]


def test_hard_shifts_are_wiring_and_soft_shifts_are_neurons() -> None:
    for layout, expected in (("upstream", "neuron"), ("spike-driven", "wiring")):
        assert _network(layout)["blocks.0.srwkv.shift_key"].role == expected


def test_skip_connections_wait_in_pipelined_mode() -> None:
    network = _network(n_layer=1)
    depth = depths(network)
    assert depth["embedding.norm"] == 1 and depth["blocks.0.srffn.residual"] == 15
    # made in step 1 and 8 for the residuals of steps 8 and 15: 6 and 6 between; each block's norm
    # for shifts two steps later, behind a delay of its own: 1 and 1; all of 32 words
    assert balancing_words(network) == (6 + 6 + 1 + 1) * 32


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((12, 512, 5458), (12, 8, 3)), ((18, 768, 50_277), (39, 24, 9))],
    ids=["46M", "216M"],
)
def test_chips_of_the_published_models(
    shape: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    # weights / capacity gives 12, 8, 3 and 39, 24, 9 chips for the blocks; whole rows and
    # cores without weights add to that
    n_layer, n_embd, vocabulary = shape
    network = random_network(
        RandomShape(
            n_layer=n_layer, n_embd=n_embd, vocabulary_size=vocabulary,
            binary_embedding=vocabulary < 10_000,
        )
    )  # fmt: skip
    profile = load_profile("loihi2")
    # processor time, so that a busy machine does not matter: about 2.5 s for the larger
    started = time.process_time()
    found = sizes(network, profile)
    mapping = map_network(network, profile, spread="packed")
    assert time.process_time() - started < 20
    for size, least in zip(found, expected, strict=True):
        assert least <= size.chips_without_head <= least * 1.35 + 1, size
    assert (len(mapping.cores), mapping.chips) == (found[1].cores, found[1].chips)
    assert mapping.hops.total < 0.8 * mapping.baseline_hops.total
