"""Chains made here, as stock NetX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

Layers = list[dict[str, object]]


@pytest.fixture(scope="session")
def write_chain() -> Callable[[Path, Layers], Path]:
    """Write a stock NetX file from its layers' datasets."""

    def write(path: Path, layers: Layers) -> Path:
        with h5py.File(path, "w") as file:
            for i, layer in enumerate(layers):
                for key, value in layer.items():
                    file[f"layer/{i}/{key}"] = value
        return path

    return write


@pytest.fixture(scope="session")
def dense() -> Callable[..., dict[str, object]]:
    """The datasets of a dense layer of CUBA neurons."""

    def make(weight: np.ndarray, kind: str = "dense", **more: object) -> dict[str, object]:
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

    return make


@pytest.fixture(scope="session")
def recurrent_chain(
    write_chain: Callable[[Path, Layers], Path], dense: Callable[..., dict[str, object]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """Recurrent neurons, odd weights of both signs, delays of inputs and outputs, biases."""
    generator = np.random.default_rng(4)

    def weight(n: int, m: int, odd: bool = False) -> np.ndarray:
        values = generator.integers(-40, 60, (n, m))
        return values if odd else 2 * values

    layers = [
        dense(weight(9, 7), "dense_rec", weight_rec=weight(9, 9).astype(np.float32)),
        dense(weight(6, 9, odd=True), delay=np.array([0.0, 3, 1, 0, 5, 2])),
        dense(weight(8, 6), delay=np.array([2.0, 0, 0, 4, 1, 0])),
        dense(weight(5, 8), bias=generator.integers(-20, 20, 5).astype(np.float32)),
    ]
    return write_chain(tmp_path_factory.mktemp("chain") / "recurrent.net", layers)
