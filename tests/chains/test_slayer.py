"""Chains made and exported by the installed SLAYER: its spikes, on every backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from spikegpt_neuro.arithmetic.formats import STATE_LIMIT
from spikegpt_neuro.arithmetic.slayer_neurons import alif
from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.lava.chains.netx import NetxBackend
from spikegpt_neuro.backends.lava.runtime.compatibility import import_lava_dl
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.slayer_layers import Alif
from spikegpt_neuro.verification import verify

STEPS = 300
NEURON = {
    "threshold": 1.0, "threshold_step": 0.4, "current_decay": 0.3, "voltage_decay": 0.1,
    "threshold_decay": 0.05, "refractory_decay": 0.2,
}  # fmt: skip


class Chain:
    """Blocks of SLAYER, the file they export, and what each sends for one raster."""

    def __init__(self, path: Path, blocks: Sequence[Any], size: int) -> None:
        self.path = path
        for block in blocks:
            for name, parameter in block.named_parameters():
                if "weight" in name:
                    with torch.no_grad():
                        parameter.mul_(4)  # fresh weights would make nothing fire
        spikes = (torch.rand(1, size, STEPS) < 0.2).float()
        self.raster = spikes[0].numpy().T.astype(np.int32)
        self.sent = []
        with torch.no_grad():
            for block in blocks:
                spikes = block(spikes)
                self.sent.append(spikes[0].numpy().T.astype(np.int32))
        with h5py.File(path, "w") as file:
            for i, block in enumerate(blocks):
                block.export_hdf5(file.create_group(f"layer/{i}"))


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    slayer = import_lava_dl("lava.lib.dl.slayer")
    torch.manual_seed(3)
    blocks = [
        slayer.block.alif.Dense(dict(NEURON), 12, 20, delay_shift=False),
        slayer.block.alif.Recurrent(dict(NEURON), 20, 16, delay_shift=False),
        slayer.block.alif.Dense(dict(NEURON, threshold_step=0.1), 16, 9, delay_shift=False),
    ]
    return Chain(tmp_path_factory.mktemp("alif") / "alif.net", blocks, 12)


def assert_sends_slayers_spikes(chain: Chain) -> None:
    network = read_netx(chain.path, synapse_delay=False)
    names = [layer.name for layer in network.layers if layer.fires]
    with get_backend("emulator").open(network, trace=names) as session:
        session.score(chain.raster)
        own = [session.trace(name) for name in names]
    for spikes, slayers in zip(own, chain.sent, strict=True):
        assert 0.05 < slayers.mean() < 0.6
        assert np.array_equal(spikes, slayers)


def test_alif_sends_slayers_spikes(chain: Chain) -> None:
    network = read_netx(chain.path)
    kinds = [layer.kind for layer in network.layers if isinstance(layer, Alif)]
    assert kinds == ["alif", "recurrent_alif", "alif"]
    assert_sends_slayers_spikes(chain)


def test_cuba_sends_slayers_spikes_and_stock_netx_ours(tmp_path: Path) -> None:
    slayer = import_lava_dl("lava.lib.dl.slayer")
    torch.manual_seed(5)
    neuron = {"threshold": 1.2, "current_decay": 0.3, "voltage_decay": 0.1}
    blocks = [
        slayer.block.cuba.Dense(dict(neuron), 12, 20, delay_shift=False),
        slayer.block.cuba.Recurrent(dict(neuron), 20, 16, delay_shift=False),
        slayer.block.cuba.Dense(dict(neuron), 16, 9, delay_shift=False),
    ]
    chain = Chain(tmp_path / "cuba.net", blocks, 12)
    assert_sends_slayers_spikes(chain)
    emulator, netx = get_backend("emulator"), NetxBackend(chain.path)
    found = verify(read_netx(chain.path), chain.raster[:60], emulator, netx)
    assert found.equal and len(found.layers) == 6


@pytest.mark.parametrize("backend", ["lava", "lava-fine"])
def test_lava_computes_the_same(backend: str, chain: Chain) -> None:
    found = verify(
        read_netx(chain.path), chain.raster, get_backend("emulator"), get_backend(backend)
    )
    assert found.equal and found.values_compared > STEPS * (20 + 16 + 9)


def test_stock_netx_cannot_build_alif(chain: Chain) -> None:
    hdf5 = import_lava_dl("lava.lib.dl.netx.hdf5")
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'pop'"):
        hdf5.Network(net_config=str(chain.path))
    with pytest.raises(InputError, match="no neuron of type ALIF"):
        NetxBackend(chain.path).open(read_netx(chain.path))


def test_slayers_bias_drives_the_current(chain: Chain, tmp_path: Path) -> None:
    # SLAYER adds a norm's bias to the input; stock ATRLIF adds its bias to the voltage
    path = tmp_path / "biased.net"
    path.write_bytes(chain.path.read_bytes())
    with h5py.File(path, "r+") as file:
        file["layer/0/bias"] = np.full(20, 3.0, np.float32)
    network = read_netx(path)
    assert verify(network, chain.raster, get_backend("emulator"), get_backend("lava")).equal
    with pytest.raises(InputError, match="bias of the current"):
        get_backend("lava-fine").open(network)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("thDecay", 5000, "thDecay: 5000, allowed 0..4096"),
        ("vThStep", 1 << 18, "threshold_step: 262144"),
        ("refDelay", 2, "no refractory period"),
    ],
)
def test_wrong_parameters_are_refused(
    key: str, value: int, message: str, chain: Chain, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.net"
    path.write_bytes(chain.path.read_bytes())
    with h5py.File(path, "r+") as file:
        del file[f"layer/0/neuron/{key}"]
        file[f"layer/0/neuron/{key}"] = value
    with pytest.raises(InputError, match=message):
        read_netx(path)


def _truncated(state: int, decay: int) -> int:
    product = state * (4096 - decay)
    return product // 4096 if product >= 0 else -((-product) // 4096)


def test_alif_equals_its_equation_up_to_the_limits() -> None:
    generator = np.random.default_rng(8)
    n, steps = 40, 400
    driving = generator.integers(-9000, 12_000, (steps, n)).astype(np.int32)
    bias = generator.integers(-50, 50, n).astype(np.int32)
    decays = np.array([700, 20, 60, 900])
    state = np.zeros((4, n), np.int32)
    spikes, counts = np.zeros(n, np.int32), np.zeros(2, np.int64)
    exact = [[0, 0, 0, 0] for _ in range(n)]
    fired = clipped = 0
    for row in driving:
        alif(row, bias, decays, 3000, 800, *state, spikes, counts)
        for i, values in enumerate(exact):
            u = _truncated(values[0], 700) + (int(row[i]) + int(bias[i])) * 64
            u = u - 2 * STATE_LIMIT if u > STATE_LIMIT else u
            u = u + 2 * STATE_LIMIT if u <= -STATE_LIMIT else u
            wide = _truncated(values[1], 20) + u
            v = max(1 - STATE_LIMIT, min(STATE_LIMIT - 1, wide))
            clipped += v != wide
            a, r = _truncated(values[2], 60), _truncated(values[3], 900)
            spike = v - r >= 3000 * 64 + a
            values[:] = u, v, a + 800 * 64 * spike, r + 2 * (3000 * 64 + a) * spike
            assert spikes[i] == spike
            fired += spike
    assert np.array_equal(state, np.array(exact).T)
    assert fired > 100 and clipped > 100
    assert counts.tolist() == [np.count_nonzero(driving), clipped]
