"""Networks of the lava-dl wheel on the stand-in for a board, as a user would read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.backends.loihi2.backend import Loihi2Backend
from spikegpt_neuro.backends.raster import EmulatorChainSession
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.errors import InputError, Unavailable
from spikegpt_neuro.network import Chain, ChainInfo, Network
from spikegpt_neuro.network.schema import Port
from spikegpt_neuro.network.slayer_layers import Alif, NetxConvolution, NetxDense, RasterInput

pytestmark = pytest.mark.slow
MakeRaster = Callable[[Network, int], np.ndarray]


def on_board_and_emulator(network: Network, raster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with Loihi2Backend().open(network) as session:
        found = session.score(raster)
    with EmulatorChainSession(network) as emulator:
        return found, emulator.score(raster)


def test_delays_and_stock_timing_equal_the_emulator(
    machine: Any, read_shipped: Callable[[str], Network], random_raster: MakeRaster
) -> None:
    machine.ready(way_in=2)
    network = read_shipped("gts/ntidigits/ntidigits.net")
    found, expected = on_board_and_emulator(network, random_raster(network, 30))
    assert np.array_equal(found, expected)
    assert found.any()


@pytest.mark.parametrize(
    "name, layers", [("tiny.net", None), ("gts/pilotnet_lif/network.net", 6)]
)  # the whole of PilotNet sends nothing in so few steps
def test_biased_convolutions_with_slayer_timing_equal_the_emulator(
    name: str, layers: int | None, machine: Any, shipped: Callable[[str], Path],
    random_raster: MakeRaster,
) -> None:  # fmt: skip
    machine.ready(way_in=2)
    network = read_netx(shipped(name), layers=layers, synapse_delay=False)
    found, expected = on_board_and_emulator(network, random_raster(network, 12))
    assert np.array_equal(found, expected)
    assert found.any()


@pytest.mark.parametrize(
    "name, words",
    [
        ("tiny.net", "import the chain with --slayer-timing"),
        ("gts/pilotnet_sdnn/network.net", "dense_9.neuron: a sigma cannot be reset on the chip"),
    ],
)
def test_what_cannot_start_at_rest_on_a_board_is_refused(
    name: str, words: str, machine: Any, read_shipped: Callable[[str], Network]
) -> None:
    machine.ready()
    with pytest.raises(InputError, match=words):
        Loihi2Backend().open(read_shipped(name))
    assert machine.boots == []


def test_delays_cannot_be_reset(machine: Any, read_shipped: Callable[[str], Network]) -> None:
    machine.ready()
    network = read_shipped("gts/ntidigits/ntidigits.net")
    with pytest.raises(InputError, match="time steps on their way, which no reset ends"):
        Loihi2Backend(reset_interval=10).open(network)


def test_odd_weights_of_convolutions_are_refused(
    machine: Any, shipped: Callable[[str], Path]
) -> None:
    machine.ready()
    network = read_netx(shipped("tiny.net"), synapse_delay=False)
    layers = []
    for layer in network.layers:
        if isinstance(layer, NetxConvolution):
            layer.weight[:2] = -3, 5
        layers.append(layer)
    with pytest.raises(InputError, match=r"conv_1.synapse: 2 odd weights .* both signs"):
        Loihi2Backend().open(network)


def test_adaptive_neurons_need_a_model_of_the_sdk(machine: Any) -> None:
    """lava-nc has stock ATRLIF, but nothing public shows a model of it for the chip."""
    machine.ready()
    spikes, zero = Port(4, "binary", 1, False, 1.0), np.zeros(4, np.int32)
    layers = (
        RasterInput("input.raster", (), spikes),
        NetxDense("b.synapse", ("input.raster",), Port(4, "accumulator", 32, True, 1.0),
                  2 * np.eye(4, dtype=np.int16)),
        Alif("b.neuron", ("b.synapse",), spikes, zero, 1024, 300, 90, 100, 200, 10),
    )  # fmt: skip
    with pytest.raises(Unavailable, match="ATRLIF: no process model for the chip"):
        Loihi2Backend().open(Chain(ChainInfo(), layers))
    assert machine.boots == []
