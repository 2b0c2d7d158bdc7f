"""Convolutions on cores: shared kernels, stripes of images, memory that grows with cores only."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.hardware_profiles import Profile, load_profile
from spikegpt_neuro.mapping import map_network
from spikegpt_neuro.mapping.axons import reach
from spikegpt_neuro.mapping.demand import demands
from spikegpt_neuro.mapping.encoding import SynapseBlock
from spikegpt_neuro.mapping.synapses import Synapses, stored_bytes
from spikegpt_neuro.mapping.traffic import Fan, Traffic, busiest_link, hops
from spikegpt_neuro.network import Network

CHANNELS = (3, 24, 36)


def _write(path: Path, edge: int) -> None:
    """Two stock convolutions of 3 x 3, stride 2, on an image of ``edge`` x ``edge``."""
    choose = np.random.default_rng(0)

    def neuron(group: h5py.Group) -> None:
        made = group.create_group("neuron")
        for key, value in {
            "type": b"CUBA", "iDecay": 4096, "vDecay": 1024, "vThMant": 25, "refDelay": 1,
            "gradedSpike": False,
        }.items():  # fmt: skip
            made[key] = value

    with h5py.File(path, "w") as file:
        group = file.create_group("layer/0")
        group["type"] = np.array([b"input"])
        group["shape"] = np.array([CHANNELS[0], edge, edge])
        group["weight"], group["bias"] = 40, 36
        neuron(group)
        for i, (before, after) in enumerate(pairwise(CHANNELS), 1):
            edge = (edge - 3) // 2 + 1
            group = file.create_group(f"layer/{i}")
            group["type"] = np.array([b"conv"])
            group["shape"] = np.array([after, edge, edge])
            group["inChannels"], group["outChannels"], group["groups"] = before, after, 1
            for key, value in {
                "kernelSize": 3, "stride": 2, "padding": 0, "dilation": 1
            }.items():  # fmt: skip
                group[key] = np.array([value, value])
            group["weight"] = (choose.integers(-10, 10, (after, before, 3, 3)) * 2).astype("f4")
            neuron(group)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    path = tmp_path_factory.mktemp("convolutions") / "small.net"
    _write(path, 33)
    return read_netx(path)


def test_kernels_are_stored_once_a_core(network: Network) -> None:
    mapping = map_network(network, load_profile("loihi2"), spread="packed")
    for demand in demands(network):
        for core in mapping.cores:
            for part in core.slices:
                if part.layer == demand.layer.name and demand.synapses:
                    (synapses,) = demand.synapses
                    assert part.weights == synapses.kernel > 0


def test_images_are_cut_between_columns(
    network: Network, make_profile: Callable[..., Profile]
) -> None:
    """Columns of 24 channels of 16 rows, and of 36 of 7; stripes differ by one column at most.

    Five columns of the second fit, of seven: two stripes, of 3 and 4."""
    profile = make_profile(
        cores_per_chip=50, cores_per_tile=1, mesh_width=8, weights_per_core=1 << 20,
        neurons_per_core=5 * 36 * 7 + 9,
    )  # fmt: skip
    mapping = map_network(network, profile, spread="packed")
    for name, column, columns in (("conv_1.neuron", 24 * 16, 16), ("conv_2.neuron", 36 * 7, 7)):
        edges = sorted(
            (s.begin, s.end) for core in mapping.cores for s in core.slices if s.layer == name
        )
        assert edges[0][0] == 0 and edges[-1][1] == column * columns
        widths = [end - begin for begin, end in edges]
        assert all(width % column == 0 for width in widths)
        assert max(widths) - min(widths) <= column
    assert widths == [3 * 36 * 7, 4 * 36 * 7]


def test_a_value_reaches_the_cores_of_two_columns_and_no_more(network: Network) -> None:
    """A field of 3 columns every 2: a column of the input lies in at most 2 of the output."""
    cores = map_network(network, load_profile("loihi1-paper"), spread="packed").cores
    stripes = [s for core in cores for s in core.slices if s.layer == "conv_1.neuron"]
    column = 24 * 16
    reached = [
        sum(
            any(2 * x <= at <= 2 * x + 2 for x in range(s.begin // column, -(-s.end // column)))
            for s in stripes
        )
        for at in range(33)
    ]
    assert len(stripes) > 3 and max(reached) == 2
    assert reach(network, cores)["input.neuron"] == 2


def test_every_value_goes_to_the_stripes_whose_fields_hold_it(network: Network) -> None:
    mapping = map_network(network, load_profile("loihi1-paper"), spread="packed")
    synapse = next(layer for layer in network.layers if layer.name == "conv_1.synapse")
    number = network.layers.index(synapse)
    part = mapping.traffic.of({number})
    assert not part.fans
    held = {s.layer: [] for core in mapping.cores for s in core.slices}
    for index, core in enumerate(mapping.cores):
        for s in core.slices:
            held[s.layer].append((index, s.begin, s.end))
    targets, sources = held["conv_1.neuron"], held["input.neuron"]
    assert len(targets) > 3 and len(sources) > 2
    column_in, column_out = 3 * 33, 24 * 16
    expected = {}
    for target, first, last in targets:
        columns = set()
        for position in range(first, last):
            x = position // column_out
            columns |= {2 * x + tap for tap in range(3)}
        for source, begin, end in sources:
            sent = sum(p // column_in in columns for p in range(begin, end))
            if sent:
                expected[source, target] = sent
    found = dict(
        zip(zip(part.source.tolist(), part.target.tolist(), strict=True),
            part.packets.tolist(), strict=True)
    )  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-12)
    assert part.total < 0.5 * 3 * 33 * 33 * len(targets)  # all-to-all would be this


def test_memory_grows_with_cores_and_not_with_pairs(tmp_path: Path) -> None:
    _write(tmp_path / "large.net", 256)
    limit = 3 << 30
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from spikegpt_neuro.converters.netx import read_netx\n"
        "from spikegpt_neuro.hardware_profiles import load_profile\n"
        "from spikegpt_neuro.mapping import map_network\n"
        "m = map_network(read_netx(Path(sys.argv[1])), load_profile('loihi1-paper'))\n"
        "print(len(m.cores), m.traffic.source.size)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "large.net")], capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)), timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    cores, pairs = map(int, done.stdout.split())
    assert cores > 700 and pairs < 8 * cores


def test_a_fan_is_the_sum_over_its_pairs() -> None:
    choose = np.random.default_rng(3)
    count = 40
    chip, x, y = (choose.integers(0, n, count) for n in (2, 5, 3))
    source, target = np.arange(25), np.arange(10, 40)
    packets = choose.random(25)
    fan = Traffic(*(np.zeros(0, t) for t in (int, int, float, int)), False,
                  (Fan(4, source, packets, target),))  # fmt: skip
    pairs = Traffic(
        np.repeat(source, 30), np.tile(target, 25), np.repeat(packets, 30),
        np.full(750, 4), False,
    )  # fmt: skip
    one, other = hops(fan, chip, x, y), hops(pairs, chip, x, y)
    assert one.east_west == pytest.approx(other.east_west)
    assert one.north_south == pytest.approx(other.north_south)
    assert one.chip_crossings == pytest.approx(other.chip_crossings)
    assert fan.total == pytest.approx(pairs.total)
    for mine, theirs in zip(fan.ports(count), pairs.ports(count), strict=True):
        assert mine == pytest.approx(theirs)
    loads: dict[tuple[int, ...], float] = {}
    for a, b, w in zip(pairs.source, pairs.target, pairs.packets, strict=True):
        if chip[a] != chip[b]:
            continue
        at = int(x[a])
        while at != x[b]:
            step = 1 if x[b] > at else -1
            key = (0, step, int(chip[a]), int(y[a]), min(at, at + step))
            loads[key] = loads.get(key, 0.0) + w
            at += step
        at = int(y[a])
        while at != y[b]:
            step = 1 if y[b] > at else -1
            key = (1, step, int(chip[a]), int(x[b]), min(at, at + step))
            loads[key] = loads.get(key, 0.0) + w
            at += step
    assert busiest_link(fan, chip, x, y) == pytest.approx(max(loads.values()))
    assert busiest_link(pairs, chip, x, y) == pytest.approx(max(loads.values()))


@pytest.mark.parametrize(
    ("axons", "neurons", "words"), [(100, 50, 1300), (50, 10, 150), (10, 1, 10)]
)
def test_dense_words_are_those_of_the_published_listing(
    axons: int, neurons: int, words: int
) -> None:
    block = SynapseBlock(axons, 8, Fraction(axons))
    synapses = Synapses("s", axons, block, 8, 0, None)
    assert stored_bytes(synapses, neurons, 32, exact=False) == 4 * words


def test_lists_are_taken_where_they_are_smaller_and_bits_as_asked() -> None:
    few = Synapses("s", 256, SynapseBlock(256, 8, Fraction(256, 20)), 4, 0, None)
    assert stored_bytes(few, 64, 32, exact=False) == -(-820 * 14 // 8)
    full = Synapses("s", 256, SynapseBlock(256, 8, Fraction(256)), 4, 0, None)
    assert stored_bytes(full, 64, 32, exact=False) == 256 * 64
    assert stored_bytes(full, 64, 32, exact=True) == 256 * 32
