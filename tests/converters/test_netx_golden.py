"""The networks and golden arrays the lava-dl wheel ships, read from where it is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.backends.raster import RasterSession
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.file import read_network, write_network

FOLDER = "tests/lava/lib/dl/netx"
NETWORKS = (
    "mnist.net", "tiny.net", "gts/ntidigits/ntidigits.net", "gts/pilotnet_lif/network.net",
    "gts/pilotnet_sdnn/network.net", "gts/pilotnet_sdnn/square_network.net",
)  # fmt: skip


def shipped(name: str) -> Path:
    """A file of the wheel; its absence fails the test and says what is missing."""
    try:
        path = Path(str(distribution("lava-dl").locate_file(f"{FOLDER}/{name}")))
    except PackageNotFoundError:
        pytest.fail("lava-dl is not installed; its wheel ships the golden arrays (`make setup`).")
    if not path.is_file():
        pytest.fail(f"the installed lava-dl does not ship {FOLDER}/{name}.")
    return path


def image(name: str, steps: int) -> np.ndarray:
    """A shipped image (W, H, C) shown for ``steps`` time steps, (C, H, W) flat."""
    values = np.load(shipped(name))
    values = values[..., 0] if values.ndim == 4 else values
    return np.repeat(values.transpose(2, 1, 0).reshape(1, -1), steps, axis=0)


def present(network: Network, raster: np.ndarray) -> np.ndarray:
    with RasterSession(network) as session:
        return session.present(raster)


def test_every_shipped_network_is_known() -> None:
    root = shipped("tiny.net").parent
    found = {str(path.relative_to(root)) for path in root.rglob("*.net")}
    assert found - {"recurrent_example.net"} == set(NETWORKS)  # that one lava-dl's own test writes


@pytest.mark.parametrize("name", NETWORKS)
def test_shipped_network_survives_our_file(name: str, tmp_path: Path) -> None:
    network = read_netx(shipped(name), layers=5 if "ntidigits" in name else None)
    write_network(network, tmp_path / "chain.net")
    again = read_network(tmp_path / "chain.net")
    assert again.info == network.info
    size = network.layers[0].output.size
    generator = np.random.default_rng(5)
    raster = generator.integers(0, 2, (6, size))
    assert np.array_equal(present(again, raster), present(network, raster))


def test_tinynet_equals_its_golden_spikes() -> None:
    golden = np.load(shipped("gts/tinynet/output.npy"))[0].reshape(36, -1).T
    network = read_netx(shipped("tiny.net"), synapse_delay=False)
    # the golden array is SLAYER's, whose first step is empty
    assert np.array_equal(present(network, image("gts/tinynet/input_bias.npy", 15)), golden[1:])


def test_pilotnet_sdnn_equals_its_golden_output() -> None:
    golden = np.load(shipped("gts/pilotnet_sdnn/output.npy")).T
    network = read_netx(shipped("gts/pilotnet_sdnn/network.net"))
    raster = image("gts/pilotnet_sdnn/input.npy", golden.shape[0])
    assert np.array_equal(present(network, raster), golden)


def test_ntidigits_equals_its_golden_spikes() -> None:
    golden = np.load(shipped("gts/ntidigits/output.npy")).T
    raster = np.load(shipped("gts/ntidigits/input.npy")).T
    network = read_netx(shipped("gts/ntidigits/ntidigits.net"), layers=5)
    # one step later in the golden array: SLAYER's output starts with an empty step
    assert np.array_equal(present(network, raster)[:-1], golden[1:])


def test_ntidigits_average_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"layer 5: type 'average' cannot be held"):
        read_netx(shipped("gts/ntidigits/ntidigits.net"))


@pytest.mark.parametrize("depth", range(9))
def test_pilotnet_lif_equals_its_golden_spikes(depth: int) -> None:
    names = ["input", *(f"conv-{i}" for i in range(5)), *(f"fc-{i}" for i in range(3))]
    golden = np.load(shipped(f"gts/pilotnet_lif/{names[depth]}.npy"))
    golden = golden.transpose(3, 2, 1, 0).reshape(24, -1) if golden.ndim == 4 else golden.T
    network = read_netx(shipped("gts/pilotnet_lif/network.net"), synapse_delay=False)
    layer = [layer.name for layer in network.layers if layer.kind == "cuba"][depth]
    with RasterSession(network, trace=[layer]) as session:
        session.present(image("gts/pilotnet_lif/image.npy", 16))
        own = session.trace(layer)
    # golden arrays: each layer starts one step after the one before it (what stands there before
    # belongs to another image), and all are reset after 16 full steps
    assert golden[depth : depth + 16].shape == own[: 24 - depth].shape
    assert np.array_equal(own[: 24 - depth], golden[depth : depth + 16])
