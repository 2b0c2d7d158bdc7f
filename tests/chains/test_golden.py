"""The golden arrays that the lava-dl wheel ships, on the emulator and on Lava."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.arithmetic.slayer_neurons import cuba
from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.file import read_network, write_network
from spikegpt_neuro.network.slayer_layers import Cuba

Shipped = Callable[[str], Path]
NETWORKS = (
    "mnist.net", "tiny.net", "gts/ntidigits/ntidigits.net", "gts/pilotnet_lif/network.net",
    "gts/pilotnet_sdnn/network.net", "gts/pilotnet_sdnn/square_network.net",
)  # fmt: skip


def image(path: Path, steps: int) -> np.ndarray:
    """A shipped image (W, H, C) shown for ``steps`` time steps, (C, H, W) flat."""
    values = np.load(path)
    values = values[..., 0] if values.ndim == 4 else values
    return np.repeat(values.transpose(2, 1, 0).reshape(1, -1), steps, axis=0)


def present(network: Network, raster: np.ndarray, backend: str = "emulator") -> np.ndarray:
    with get_backend(backend).open(network) as session:
        return session.score(raster)


def test_every_shipped_network_is_known(shipped: Shipped) -> None:
    root = shipped("tiny.net").parent
    found = {str(path.relative_to(root)) for path in root.rglob("*.net")}
    assert found - {"recurrent_example.net"} == set(NETWORKS)  # that one lava-dl's own test writes


@pytest.mark.parametrize("name", NETWORKS)
def test_shipped_network_survives_our_file(
    name: str, read_shipped: Callable[[str], Network],
    random_raster: Callable[[Network, int], np.ndarray], tmp_path: Path,
) -> None:  # fmt: skip
    network = read_shipped(name)
    write_network(network, tmp_path / "chain.net")
    again = read_network(tmp_path / "chain.net")
    assert again.info == network.info
    raster = random_raster(network, 6)
    assert np.array_equal(present(again, raster), present(network, raster))


@pytest.mark.parametrize("backend", ["emulator", "lava"])
def test_tinynet_equals_its_golden_spikes_and_currents(backend: str, shipped: Shipped) -> None:
    network = read_netx(shipped("tiny.net"), synapse_delay=False)
    raster = image(shipped("gts/tinynet/input_bias.npy"), 15)
    layers = {
        "input.neuron": "input", "conv_1.synapse": "current", "conv_1.neuron": "layer1",
        "conv_2.neuron": "output",
    }  # fmt: skip
    with get_backend(backend).open(network, trace=layers) as session:
        session.score(raster)
        for layer, name in layers.items():
            golden = np.load(shipped(f"gts/tinynet/{name}.npy"))[0].reshape(-1, 16).T
            # the golden arrays are SLAYER's, whose first step is empty
            assert golden[1:].any()
            assert np.array_equal(session.trace(layer), golden[1:]), name


@pytest.mark.parametrize("backend", ["emulator", "lava", "lava-fine"])
def test_pilotnet_sdnn_equals_its_golden_output(backend: str, shipped: Shipped) -> None:
    golden = np.load(shipped("gts/pilotnet_sdnn/output.npy")).T
    network = read_netx(shipped("gts/pilotnet_sdnn/network.net"))
    raster = image(shipped("gts/pilotnet_sdnn/input.npy"), golden.shape[0])
    assert golden.any()
    assert np.array_equal(present(network, raster, backend), golden)


@pytest.mark.parametrize(("backend", "steps"), [("emulator", 2999), ("lava", 2999)])
def test_ntidigits_equals_its_golden_spikes(backend: str, steps: int, shipped: Shipped) -> None:
    golden = np.load(shipped("gts/ntidigits/output.npy")).T
    raster = np.load(shipped("gts/ntidigits/input.npy")).T
    network = read_netx(shipped("gts/ntidigits/ntidigits.net"), layers=5)
    # one step later in the golden array: SLAYER's output starts with an empty step
    assert golden[1 : steps + 1].any()
    assert np.array_equal(present(network, raster[:steps], backend), golden[1 : steps + 1])


def test_ntidigits_average_is_refused_by_name(shipped: Shipped) -> None:
    with pytest.raises(InputError, match=r"layer 5: type 'average' cannot be held"):
        read_netx(shipped("gts/ntidigits/ntidigits.net"))


def flat(values: np.ndarray) -> np.ndarray:
    """A golden array [(W, H,) C, T] as [T, C * H * W]."""
    steps = np.moveaxis(values, -1, 0)
    return steps.transpose(0, *range(steps.ndim - 1, 0, -1)).reshape(steps.shape[0], -1)


@pytest.mark.parametrize(
    ("name", "sigmas"),
    [
        ("network.net", ["sigma1", "sigma2"]),
        ("square_network.net", [f"sigma{i}_square" for i in (1, 2, 3, 4)]),
    ],
)
def test_pilotnet_sdnn_equals_its_golden_states(
    name: str, sigmas: list[str], shipped: Shipped
) -> None:
    network = read_netx(shipped(f"gts/pilotnet_sdnn/{name}"))
    width = network.layers[0].output.size // (3 * 33)
    pixels = np.load(shipped("gts/pilotnet_sdnn/input.npy"))[:width, ..., 0]
    raster = np.repeat(pixels.transpose(2, 1, 0).reshape(1, -1), 20, axis=0)
    synapses = [f"conv_{i + 1}.synapse" for i in range(len(sigmas))]
    with get_backend("emulator").open(network, trace=["input.neuron", *synapses]) as session:
        session.score(raster)
        sent = np.load(shipped("gts/pilotnet_sdnn/act0.npy"))[:width]
        assert np.array_equal(session.trace("input.neuron"), flat(sent))
        for synapse, sigma in zip(synapses, sigmas, strict=True):
            golden = flat(np.load(shipped(f"gts/pilotnet_sdnn/{sigma}.npy")))
            assert golden.any()
            # a sigma-delta neuron's state is the sum of what its synapses delivered
            assert np.array_equal(session.trace(synapse).cumsum(axis=0), golden), sigma


@pytest.mark.parametrize("backend", ["emulator", "lava"])
def test_pilotnet_lif_equals_its_golden_spikes(backend: str, shipped: Shipped) -> None:
    names = ["input", *(f"conv-{i}" for i in range(5)), *(f"fc-{i}" for i in range(3))]
    network = read_netx(shipped("gts/pilotnet_lif/network.net"), synapse_delay=False)
    layers = [layer.name for layer in network.layers if layer.kind == "cuba"]
    with get_backend(backend).open(network, trace=layers[: len(names)]) as session:
        session.score(image(shipped("gts/pilotnet_lif/image.npy"), 16))
        own = [session.trace(layer) for layer in layers[: len(names)]]
    fired = 0
    for depth, name in enumerate(names):
        golden = np.load(shipped(f"gts/pilotnet_lif/{name}.npy"))
        golden = golden.transpose(3, 2, 1, 0).reshape(24, -1) if golden.ndim == 4 else golden.T
        # golden arrays: each layer starts one step after the one before it (what stands there
        # before belongs to another image), and all are reset after 16 full steps
        assert golden[depth : depth + 16].shape == own[depth][: 24 - depth].shape
        assert np.array_equal(own[depth][: 24 - depth], golden[depth : depth + 16]), name
        fired += int(own[depth].sum())
    assert fired > 10_000


def test_pilotnet_lif_equals_its_golden_currents_and_voltages(shipped: Shipped) -> None:
    names = [*(f"conv-{i}" for i in range(5)), *(f"fc-{i}" for i in range(3))]
    network = read_netx(shipped("gts/pilotnet_lif/network.net"), synapse_delay=False)
    neurons = [layer for layer in network.layers if isinstance(layer, Cuba)][1:]
    with get_backend("emulator").open(network, trace=[n.inputs[0] for n in neurons]) as session:
        session.score(image(shipped("gts/pilotnet_lif/image.npy"), 16))
        driving = [session.trace(neuron.inputs[0]) for neuron in neurons]
    for depth, name in enumerate(names, start=1):
        layer = neurons[depth - 1]
        current, voltage, spikes = (np.zeros(layer.output.size, np.int32) for _ in range(3))
        golden = [flat(np.load(shipped(f"gts/pilotnet_lif/{name}-{x}.npy"))) for x in "uv"]
        assert golden[1].any()
        for step in range(16):
            cuba(
                driving[depth - 1][step], layer.bias, layer.current_decay, layer.voltage_decay,
                layer.threshold, current, voltage, spikes, np.zeros(2, np.int64),
            )  # fmt: skip
            assert np.array_equal(current, golden[0][depth + step]), (name, step)
            # the chip holds 128, not 0, in the voltage of a neuron that has just fired
            held = np.where(spikes, 128, voltage)
            assert np.array_equal(held, golden[1][depth + step]), (name, step)


def test_the_last_layer_of_pilotnet_lif_would_show_nothing(shipped: Shipped) -> None:
    network = read_netx(shipped("gts/pilotnet_lif/network.net"), synapse_delay=False)
    assert not present(network, image(shipped("gts/pilotnet_lif/image.npy"), 16)).any()
    assert not np.load(shipped("gts/pilotnet_lif/fc-3-s.npy")).any()
