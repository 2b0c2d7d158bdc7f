"""Relief of busy links: less on the busiest, nothing else changed, the same everywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import map_network
from spikegpt_neuro.mapping.links import _Mesh, relieve_links
from spikegpt_neuro.mapping.placement import at_slots, edges_among, in_order, keep_local
from spikegpt_neuro.mapping.traffic import Traffic, busiest_link
from spikegpt_neuro.network.random_networks import RandomShape, random_network

LOIHI2 = load_profile("loihi2")


def _traffic(edges: list[tuple[int, int, float]]) -> Traffic:
    source, target, packets = (np.array(part) for part in zip(*edges, strict=True))
    return Traffic(source, target, packets.astype(float), np.zeros(len(edges), np.int64), True)


def _random_traffic(count: int, seed: int) -> Traffic:
    rng = np.random.default_rng(seed)
    return _traffic(
        [
            (int(a), int(b), float(w))
            for a, b, w in zip(
                rng.integers(-1, count, 900), rng.integers(0, count, 900),
                rng.uniform(0, 300, 900), strict=True,
            )
        ]
    )  # fmt: skip


def test_two_streams_over_one_link_get_links_of_their_own() -> None:
    # routers of four cores in a row; cores 0 and 1, at the first, send to 8 and 9, at the third
    profile, count = LOIHI2, 40
    traffic = _traffic([(0, 8, 100.0), (1, 9, 100.0)])
    place = in_order(count, profile)
    assert busiest_link(traffic, place.chip, place.x, place.y) == 200.0
    found = relieve_links(traffic, place, profile, 100.0)
    assert busiest_link(traffic, found.chip, found.x, found.y) <= 100.0
    assert sorted(found.slot.tolist()) == sorted(place.slot.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_it_is_never_worse_and_stays_on_the_chips(seed: int) -> None:
    traffic, count = _random_traffic(200, seed), 200
    place = keep_local(traffic, count, LOIHI2)
    found = relieve_links(traffic, place, LOIHI2, 0.0)
    before = busiest_link(traffic, place.chip, place.x, place.y)
    after = busiest_link(traffic, found.chip, found.x, found.y)
    assert after < before
    assert found.chip.tolist() == place.chip.tolist()
    for chip in range(2):
        here = place.chip == chip
        assert sorted(found.slot[here].tolist()) == sorted(place.slot[here].tolist())
    again = relieve_links(traffic, place, LOIHI2, 0.0)
    assert again.slot.tolist() == found.slot.tolist()


def test_loads_are_those_that_time_is_made_of() -> None:
    traffic = _random_traffic(100, 5)
    place = keep_local(traffic, 100, LOIHI2)
    edges = edges_among(traffic, np.arange(100))
    mesh = _Mesh(*edges, place.slot, LOIHI2)
    # rounded to 2**-16 of a packet, over at most 900 edges
    measured = busiest_link(traffic, place.chip, place.x, place.y)
    assert mesh._load().links.max() / (1 << 16) == pytest.approx(measured, abs=900 / (1 << 17))


def test_what_hides_is_left_alone() -> None:
    traffic = _random_traffic(100, 6)
    place = keep_local(traffic, 100, LOIHI2)
    enough = busiest_link(traffic, place.chip, place.x, place.y) + 1
    assert relieve_links(traffic, place, LOIHI2, enough).slot.tolist() == place.slot.tolist()
    flat = replace(LOIHI2, limits={k: v for k, v in LOIHI2.limits.items() if k != "mesh_width"})
    assert relieve_links(traffic, place, flat, 0.0) is place


def test_a_chip_without_traffic_stays_as_it_is() -> None:
    place = in_order(6, LOIHI2)
    traffic = _traffic([(-1, 3, 5.0), (2, 2, 7.0)])  # from the host, and to itself
    found = relieve_links(traffic, place, LOIHI2, 0.0)
    assert found.slot.tolist() == place.slot.tolist()
    assert at_slots(found.chip, found.slot, LOIHI2).x.tolist() == place.x.tolist()


def test_a_mapping_s_links_are_relieved() -> None:
    shape = RandomShape(layout="spike-driven", n_layer=2, n_embd=192, vocabulary_size=63)
    mapping = map_network(random_network(shape), LOIHI2)
    kept = keep_local(mapping.traffic, len(mapping.cores), LOIHI2)
    before = busiest_link(mapping.traffic, kept.chip, kept.x, kept.y)
    place = mapping.placement
    assert busiest_link(mapping.traffic, place.chip, place.x, place.y) < before
