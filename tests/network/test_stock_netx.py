"""Stock lava-dl loads every dense of a written file and computes the same integers."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikegpt_neuro.backends.lava.runtime.compatibility import import_lava_dl, prepare_lava
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network


@pytest.fixture(scope="module")
def stock() -> Any:
    """``lava.lib.dl.netx.hdf5`` and Lava's bit-accurate Dense model, unmodified."""
    prepare_lava()
    hdf5, utils = (import_lava_dl(f"lava.lib.dl.netx.{name}") for name in ("hdf5", "utils"))
    from lava.proc.dense.models import PyDenseModelBitAcc

    return types.SimpleNamespace(hdf5=hdf5, NetDict=utils.NetDict, Model=PyDenseModelBitAcc)


class _Wire:
    """Stands for a port: what was sent last is what is received."""

    def __init__(self) -> None:
        self.values = np.zeros(0, np.int32)

    def send(self, values: np.ndarray) -> None:
        self.values = values

    def recv(self) -> np.ndarray:
        return self.values


def _accumulate(stock: Any, group: h5py.Group, operands: np.ndarray) -> np.ndarray:
    """Load ``group`` with stock lava-dl and run Lava's own fixed-point Dense over ``operands``."""
    block, _ = stock.hdf5.Network.create_dense(stock.NetDict(f=group), input_message_bits=16)
    synapse = block.synapse
    model = stock.Model(synapse.proc_params)
    model.weights = np.asarray(synapse.weights.init, np.int32)
    model.num_message_bits = np.array([16])
    model.a_buff = np.zeros(model.weights.shape[0], np.int32)
    model.s_in, model.a_out = _Wire(), _Wire()
    results = []
    for x in [*operands, np.zeros_like(operands[0])]:
        model.s_in.values = x
        model.run_spk()
        results.append(model.a_out.values)
    return np.array(results[1:])  # Lava's Dense delays by one step


@pytest.mark.parametrize(
    "shape",
    [
        RandomShape(n_embd=48, vocabulary_size=70),
        RandomShape("spike-driven", n_embd=40, vocabulary_size=33, levels=3),
    ],
    ids=["upstream", "spike-driven"],
)
def test_every_dense_of_a_file(shape: RandomShape, stock: Any, tmp_path: Path) -> None:
    network = random_network(shape)
    write_network(network, tmp_path / "model.net")
    rng = np.random.default_rng(1)
    compared = 0
    with h5py.File(tmp_path / "model.net") as file:
        for layer in network.layers:
            if not isinstance(layer, Dense):
                continue
            group = file[f"spikegpt/layers/{layer.name.replace('.', '/')}"]
            x = rng.integers(-511, 512, (5, layer.weight.shape[1])).astype(np.int32)
            x[0] = 511
            x[1] = -511
            np.testing.assert_array_equal(
                _accumulate(stock, group, x), x.astype(np.int64) @ layer.weight.T.astype(np.int64)
            )
            compared += 1
    assert compared == 7 * shape.n_layer + 1


EDGES = {
    "all odd": np.array([[1, -1, 127], [-127, 3, -5]]),
    "largest 1": np.array([[1, -1, 0], [0, 1, -1]]),
    "largest 63": np.array([[63, -63, 1], [0, 7, -1]]),
    "largest 64": np.array([[64, -1, 1], [5, -64, 3]]),
    "uneven": np.array([[127, -1, 0], [3, 5, 1]]),
    "uneven negative": np.array([[1, -127, 0], [-3, -5, 1]]),
    "never negative": np.array([[127, 1, 0], [3, 5, 64]]),
    "negative only": np.array([[-127, -1, -2], [-3, -5, -64]]),
    "even": np.array([[2, -4, 126], [-126, 8, 0]]),
}


@pytest.mark.parametrize("name", EDGES)
def test_weights_stock_might_round(name: str, stock: Any, tmp_path: Path) -> None:
    """Stock shifts mixed weights left and the sum right again: odd weights stay exact."""
    weight = EDGES[name].astype(np.int8)
    with h5py.File(tmp_path / "one.net", "w") as file:
        group = file.create_group("dense")
        group["type"] = np.array([b"dense"], "S10")
        group["shape"] = np.array([2])
        group["inFeatures"], group["outFeatures"] = np.int64(3), np.int64(2)
        group["weight"] = weight
        x = np.array([[1, 1, 1], [-511, 3, 510], [0, 0, 1], [16383, -16383, 16383]], np.int32)
        np.testing.assert_array_equal(
            _accumulate(stock, group, x), x.astype(np.int64) @ weight.T.astype(np.int64)
        )
