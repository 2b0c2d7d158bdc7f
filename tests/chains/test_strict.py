"""A stock file is held completely or refused: everything wrong is listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikegpt_neuro.backends.raster import EmulatorChainSession
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.errors import InputError

CUBA = {"type": b"CUBA", "iDecay": 4096, "vDecay": 512, "vThMant": 60, "refDelay": 1}


def layer(**changes: Any) -> dict[str, Any]:
    values = {
        "type": np.array([b"dense"], "S10"), "shape": np.array([2]), "inFeatures": 2,
        "outFeatures": 2, "weight": np.array([[40, -2], [10, 70]], np.float32),
        **{f"neuron/{key}": value for key, value in CUBA.items()},
    }  # fmt: skip
    return values | {key.replace("__", "/"): value for key, value in changes.items()}


def write(path: Path, *layers: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for i, values in enumerate(layers):
            for key, value in values.items():
                if value is not None:
                    file[f"layer/{i}/{key}"] = value
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": np.array([b"pool"], "S10")}, "type 'pool' cannot be held"),
        ({"neuron__type": b"ALIF"}, "thDecay: missing"),
        ({"neuron__type": b"RF_PHASE"}, "neuron type 'RF_PHASE'"),
        ({"surprise": 3}, "layer 0: unknown key 'surprise'"),
        ({"neuron__surprise": 3}, "layer 0/neuron: unknown key 'surprise'"),
        ({"neuron__refDelay": 2}, "no refractory period"),
        ({"neuron__gradedSpike": True}, "graded spikes"),
        ({"neuron__vDecay": 5000}, "5000, allowed 0..4096"),
        ({"neuron__vThMant": None}, "vThMant: missing"),
        ({"weight": np.full((2, 2), 0.5)}, "must be whole numbers"),
        ({"weight": np.array([[201.0, -3], [1, 1]])}, "stock NetX would change these weights"),
        ({"weight": np.ones((2, 3))}, "weight: shape"),
        ({"weight": np.full((2, 2), np.nan)}, "must be finite"),
        ({"delay": np.array([0.0, 63])}, "delays of 0..63"),
        ({"inFeatures": 3, "weight": np.ones((2, 2))}, "weight: shape"),
    ],
)
def test_what_cannot_be_held_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "chain.net", layer(**changes))
    with pytest.raises(InputError) as caught:
        read_netx(path)
    assert message in str(caught.value)


def test_all_problems_are_listed_together(tmp_path: Path) -> None:
    path = write(tmp_path / "chain.net", layer(one=1), layer(two=2), layer(neuron__type=b"RF"))
    with pytest.raises(InputError) as caught:
        read_netx(path)
    assert len(caught.value.problems) == 3


def test_a_git_lfs_pointer_of_a_chain_is_named(tmp_path: Path) -> None:
    path = tmp_path / "network.net"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1362896\n")
    with pytest.raises(InputError, match=r"Git LFS pointer.*\n.*git lfs pull"):
        read_netx(path)


def test_a_gap_in_the_layers_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "chain.net", "w") as file:
        file["layer/1/type"] = b"dense"
    with pytest.raises(InputError, match=r"must hold 0\.\.0"):
        read_netx(tmp_path / "chain.net")


@pytest.mark.parametrize(
    ("raster", "message"),
    [
        (np.zeros((4, 3)), "shape"),
        (np.full((4, 2), 0.5), "not all values are whole"),
        (np.full((4, 2), 2), r"values 2\.\.2, allowed 0\.\.1"),
        (np.full((4, 2), np.inf), "finite"),
    ],
)
def test_rasters_that_do_not_fit_are_refused(
    raster: np.ndarray, message: str, tmp_path: Path
) -> None:
    network = read_netx(write(tmp_path / "chain.net", layer()))
    with EmulatorChainSession(network) as session, pytest.raises(InputError, match=message):
        session.score(raster)


def test_blocks_do_not_change_a_run(tmp_path: Path) -> None:
    recurrent = np.array([[0, 30], [-20, 4]], np.float32)
    first = layer(type=np.array([b"dense_rec"], "S10"), weight_rec=recurrent)
    network = read_netx(write(tmp_path / "chain.net", first, layer(delay=np.array([3.0, 0]))))
    raster = np.random.default_rng(2).integers(0, 2, (50, 2))
    with EmulatorChainSession(network) as session:
        whole = session.score(raster)
        session.reset()
        pieces = np.concatenate([session.score(raster[t : t + 1]) for t in range(50)])
    assert whole.any()
    assert np.array_equal(pieces, whole)
