"""Chains against stock ``netx.hdf5.Network`` on lava-nc's CPU backend, time step by time step."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import h5py
import numpy as np
import pytest

from spikegpt_neuro.backends.raster import RasterSession
from spikegpt_neuro.converters.netx import read_netx

STOCK = """
import sys
import numpy as np
from spikegpt_neuro.backends.lava.compatibility import import_lava_dl
hdf5 = import_lava_dl("lava.lib.dl.netx.hdf5")
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc import io
import lava.proc.conv.utils
lava.proc.conv.utils.TORCH_IS_AVAILABLE = False

raster = np.load(sys.argv[2])
net = hdf5.Network(net_config=sys.argv[1], input_message_bits=int(sys.argv[4]))
source = io.source.RingBuffer(data=raster)
sink = io.sink.RingBuffer(shape=net.out_layer.out.shape, buffer=raster.shape[-1])
first = net.in_layer.neuron.a_in if hasattr(net.in_layer, "transform") else net.inp
source.s_out.connect(first)
net.out.connect(sink.a_in)
net.run(condition=RunSteps(num_steps=raster.shape[-1]), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
out = sink.data.get()
net.stop()
np.save(sys.argv[3], out)
"""
"""Runs in its own process: stock lava-nc hangs where it fails."""


def stock(path: Path, raster: np.ndarray, folder: Path, message_bits: int = 0) -> np.ndarray:
    """What stock netx gives for ``raster`` [..., T], in lava-dl's axis order (W, H, C, T)."""
    np.save(folder / "raster.npy", raster)
    command = [sys.executable, "-c", STOCK, path, folder / "raster.npy", folder / "out.npy"]
    subprocess.run([*map(str, command), str(message_bits)], check=True, timeout=300)
    return np.load(folder / "out.npy")


def ours(path: Path, raster: np.ndarray, message_bits: int = 0) -> np.ndarray:
    network = read_netx(path, input_message_bits=message_bits)
    steps = np.moveaxis(raster, -1, 0)
    steps = steps.transpose(0, *range(steps.ndim - 1, 0, -1))
    with RasterSession(network) as session:
        return session.present(np.ascontiguousarray(steps))


def same_order(out: np.ndarray) -> np.ndarray:
    """Stock output [(W, H,) C, T] as [T, C * H * W]."""
    steps = np.moveaxis(out, -1, 0)
    return steps.transpose(0, *range(steps.ndim - 1, 0, -1)).reshape(steps.shape[0], -1)


def write_chain(path: Path, layers: list[dict[str, object]]) -> None:
    with h5py.File(path, "w") as file:
        for i, layer in enumerate(layers):
            for key, value in layer.items():
                file[f"layer/{i}/{key}"] = value


def dense(weight: np.ndarray, kind: str = "dense", **more: object) -> dict[str, object]:
    n, m = weight.shape
    neuron = {
        "type": b"CUBA", "iDecay": 1024, "vDecay": 300, "vThMant": 90, "refDelay": 1,
        "gradedSpike": False,
    }  # fmt: skip
    return {
        "type": np.array([kind.encode()], "S10"), "shape": np.array([n]), "inFeatures": m,
        "outFeatures": n, "weight": weight.astype(np.float32),
        **{f"neuron/{key}": value for key, value in neuron.items()}, **more,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["mnist.net", "tiny.net", "gts/pilotnet_sdnn/square_network.net"])
def test_shipped_network_equals_stock(name: str, tmp_path: Path) -> None:
    path = Path(str(distribution("lava-dl").locate_file(f"tests/lava/lib/dl/netx/{name}")))
    path = shutil.copy(path, tmp_path / "shipped.net")
    with h5py.File(path, "r+") as file:  # stock takes one-element arrays with numpy < 2.4 only
        for key in ("layer/0/weight", "layer/0/bias"):
            if key in file:
                value = file[key][()].reshape(-1)[0]
                del file[key]
                file[key] = value
    generator = np.random.default_rng(3)
    shape = {"mnist.net": (784,), "tiny.net": (16, 16, 3)}.get(name, (33, 33, 3))
    raster = generator.integers(-20, 70, (*shape, 12)).astype(np.int32)
    expected = same_order(stock(path, raster, tmp_path))
    assert np.array_equal(ours(path, raster), expected)
    assert name == "mnist.net" or expected.any()  # mnist ends in an integrator that never fires


@pytest.mark.parametrize("message_bits", [0, 16])
def test_recurrent_chain_equals_stock(message_bits: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(4)

    def weight(n: int, m: int) -> np.ndarray:
        return 2 * generator.integers(-40, 60, (n, m))

    layers = [
        dense(weight(9, 7), "dense_rec", weight_rec=weight(9, 9).astype(np.float32)),
        dense(weight(5, 9), bias=generator.integers(-20, 20, 5).astype(np.float32)),
    ]
    write_chain(tmp_path / "chain.net", layers)
    high = 2 if message_bits == 0 else 5
    raster = generator.integers(0, high, (7, 60)).astype(np.int32)
    expected = same_order(stock(tmp_path / "chain.net", raster, tmp_path, message_bits))
    assert np.array_equal(ours(tmp_path / "chain.net", raster, message_bits), expected)
    assert expected.any()
