"""Counting, mapping and pricing of chains: closed forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.energy import build_report, build_study, run_text
from spikegpt_neuro.energy.activity import LayerActivity, activities
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import map_network
from spikegpt_neuro.mapping.roles import depths, synapses_of
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.slayer_layers import NetxConvolution, netx_weight_bits

STEPS = 50
PROFILES = ("cmos45-int8", "loihi1-paper", "loihi2", "akida-akd1000", "speck")


def activity(network: Network, raster: np.ndarray) -> dict[str, LayerActivity]:
    counters = run_text(Emulator(), network, raster).counters
    return {layer.name: layer for layer in activities(network, counters)}


@pytest.mark.parametrize("message_bits", [0, 16])
def test_operands_decide_between_additions_and_multiplications(
    message_bits: int, recurrent_chain: Path
) -> None:
    network = read_netx(recurrent_chain, input_message_bits=message_bits)
    high = 5 if message_bits else 2
    raster = np.random.default_rng(2).integers(0, high, (STEPS, 7))
    names = ["dense_rec_0.neuron", "dense_1.neuron", "dense_2.neuron"]
    with Emulator().open(network, trace=names) as session:
        session.score(raster)
        spikes = {name: session.trace(name) for name in names}
    layers = activity(network, raster)
    first, second = layers["dense_rec_0.synapse"], layers["dense_1.synapse"]
    heard = raster[:-1]  # the synapse's one step of delay
    weight = network["dense_rec_0.synapse"].weight
    expected = int((np.count_nonzero(heard, axis=0) * np.count_nonzero(weight, axis=0)).sum())
    assert first.synaptic_operations == expected
    assert first.operand == ("graded" if message_bits else "binary")
    assert (first.accumulates, first.multiply_accumulates) == (
        (0, expected) if message_bits else (expected, 0)
    )
    assert first.dense_operations == STEPS * 9 * 7
    assert first.weights_read == np.count_nonzero(heard) * 9
    recurrent = layers["dense_rec_0.neuron"]
    own = spikes["dense_rec_0.neuron"]
    weight = network["dense_rec_0.neuron"].weight
    assert own.any() and recurrent.operand == "binary"
    assert recurrent.accumulates == int((own[:-1].sum(axis=0) @ (weight != 0).T).sum())
    assert recurrent.dense_operations == STEPS * 9 * 9
    assert recurrent.output_events == own.sum()
    assert recurrent.active_updates + recurrent.idle_updates == STEPS * 9
    assert second.accumulates == second.synaptic_operations > 0
    assert layers["dense_1.delay"].role == layers["dense_1.output_delay"].role == "wiring"


def test_products_of_a_convolution_are_those_inside_the_image(
    read_shipped: Callable[[str], Network],
) -> None:
    geometry = np.array([4, 7, 5, 6, 5, 3, 3, 2, 2, 2, 2, 1, 1, 1, 2], np.int32)
    weight = np.ones(6 * 2 * 6, np.int16)
    network = read_shipped("tiny.net")
    made = NetxConvolution("a", ("b",), network.layers[-2].output, weight, geometry)
    padded = np.zeros((7 + 4, 5 + 2), np.int64)
    padded[2:-2, 1:-1] = 1
    expected = sum(
        padded[2 * y : 2 * y + 3, 2 * x : 2 * x + 2].sum() for y in range(5) for x in range(3)
    )
    assert made.products == expected * 6 * 2
    assert made.fan_in == 2 * 3 * 2


def test_every_product_counted_where_every_operand_is_non_zero(
    read_shipped: Callable[[str], Network],
) -> None:
    network = read_shipped("gts/pilotnet_sdnn/square_network.net")
    layers = {layer.name: layer for layer in network.layers}
    first = layers["conv_1.synapse"]
    assert isinstance(first, NetxConvolution)
    raster = np.full((2, network.layers[0].output.size), 60)
    counted = activity(network, raster)["conv_1.synapse"]
    # one step of sigma-delta: every input sends once; zero weights are not operations
    zeros = int((first.weight == 0).sum())
    assert zeros * 2 < first.weight.size
    assert counted.dense_operations == 2 * first.products
    assert counted.synaptic_operations <= first.products
    assert counted.synaptic_operations >= first.products * (1 - 2 * zeros / first.weight.size)
    assert counted.operand == "graded" and counted.accumulates == 0


def test_delays_are_wiring_and_synapses_find_their_neurons(recurrent_chain: Path) -> None:
    network = read_netx(recurrent_chain)
    assert synapses_of(network) == {
        f"{stage}.neuron": (f"{stage}.synapse",)
        for stage in ("dense_rec_0", "dense_1", "dense_2", "dense_3")
    }
    assert network["dense_2.input_delay"].role == "wiring"
    assert max(depths(network).values()) == 4
    mapping = map_network(network, load_profile("loihi2"), spread="packed")
    held = {part.layer: part for core in mapping.cores for part in core.slices}
    assert set(held) == {name for name in synapses_of(network)}
    # recurrent synapses are stored beside the others
    assert held["dense_rec_0.neuron"].weights == 9 * (7 + 9)
    assert mapping.traffic.total == 7 + 9 + 9 + 6 + 8
    assert mapping.violations == ()


@pytest.mark.parametrize(
    ("weights", "bits"),
    [([-256, 254], 8), ([-128, 127], 8), ([0, 255], 8), ([-2, 0], 1), ([-6, 4], 3), ([0, 0], 0)],
)
def test_bits_of_netx_weights(weights: list[int], bits: int) -> None:
    assert netx_weight_bits(np.array(weights, np.int16)) == bits


@pytest.mark.parametrize("name", ["tiny.net", "mnist.net", "gts/pilotnet_sdnn/square_network.net"])
def test_shipped_networks_are_priced_on_every_kind_of_target(
    name: str, read_shipped: Callable[[str], Network],
    random_raster: Callable[[Network, int], np.ndarray],
) -> None:  # fmt: skip
    network = read_shipped(name)
    run = run_text(Emulator(), network, random_raster(network, 6))
    study = build_study(network, run, [load_profile(profile) for profile in PROFILES])
    values = study.to_dict()
    priced = [report for report in values["reports"] if report["energy_joules_per_token"]]
    assert {report["profile"] for report in priced} >= {"cmos45-int8", "loihi1-paper", "loihi2"}
    for report in priced:
        parts = sum(part["energy_joules_per_token"] for part in report["parts"])
        assert parts == report["energy_joules_per_token"] > 0
    names = [row["name"] for row in values["comparisons"][0]["baselines"]]
    assert "transformer" not in names and "dense int8" in names
    assert values["comparisons"][0]["paper_formula"] is None
    assert any("time step" in sentence for sentence in values["spike_statement"])


def test_recurrent_operations_are_priced(recurrent_chain: Path) -> None:
    network = read_netx(recurrent_chain)
    raster = np.random.default_rng(2).integers(0, 2, (STEPS, 7))
    counters = run_text(Emulator(), network, raster).counters
    report = build_report(network, counters, load_profile("loihi1-paper"))
    parts = {
        p.part.layer: p.part for p in report.parts if p.part.category == "synaptic"
    }  # fmt: skip
    for name in ("dense_rec_0.neuron", "dense_rec_0.synapse", "dense_3.synapse"):
        assert parts[name].count * STEPS == counters.count(name, "synaptic_operations") > 0
