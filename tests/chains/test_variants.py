"""Stock files that say less than others: a sigma without a threshold, a chain without an input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.cli.main import main
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.errors import InputError

RNG = np.random.default_rng(3)
WEIGHT = (RNG.integers(-20, 40, (2, 1, 3, 3)) * 2).astype(np.float32)


def convolution(
    file: h5py.File, index: int, shape: tuple[int, int, int], weight: Any, neuron: dict[str, Any]
) -> None:
    """A convolution of padding 1 for kernels of 3, 0 for kernels of 1."""
    group = file.create_group(f"layer/{index}")
    group["type"], group["shape"] = np.array([b"conv"]), np.array(shape)
    group["inChannels"], group["outChannels"], group["groups"] = weight.shape[1], shape[0], 1
    size = weight.shape[2]
    for name, value in (("kernelSize", size), ("stride", 1), ("padding", size // 2)):
        group[name] = np.array([value, value])
    group["dilation"], group["weight"] = np.array([1, 1]), weight
    for name, value in neuron.items():
        group[f"neuron/{name}"] = value


CUBA = {"type": b"CUBA", "iDecay": 4096, "vDecay": 256, "vThMant": 80, "refDelay": 1}


def test_a_chain_that_begins_with_a_convolution(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bare.net", "w") as file:
        convolution(file, 0, (2, 6, 5), WEIGHT, CUBA)
    with h5py.File(tmp_path / "told.net", "w") as file:
        group = file.create_group("layer/0")
        group["type"], group["shape"] = np.array([b"input"]), np.array([1, 6, 5])
        convolution(file, 1, (2, 6, 5), WEIGHT, CUBA)
    raster = (RNG.random((20, 30)) < 0.3).astype(np.int64)
    results = []
    for network in (
        read_netx(tmp_path / "bare.net", input_shape=(5, 6, 1)), read_netx(tmp_path / "told.net"),
    ):  # fmt: skip
        with Emulator().open(network) as session:
            results.append(session.score(raster))
    assert results[0].any()
    assert np.array_equal(*results)
    with pytest.raises(InputError) as raised:
        read_netx(tmp_path / "bare.net")
    assert "--input-shape W,H,C" in str(raised.value)


@pytest.mark.parametrize("given", ["5,6", "5,6,0", "a,b,c"])
def test_an_input_shape_is_three_sizes(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "bare.net", "w") as file:
        convolution(file, 0, (2, 6, 5), WEIGHT, CUBA)
    monkeypatch.chdir(tmp_path)
    arguments = ["netx", "import", "bare.net", "out.net", "--input-shape", given]
    monkeypatch.setattr("sys.argv", ["spikegpt-neuro", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "three sizes W,H,C" in capsys.readouterr().err


def test_a_sigma_needs_no_threshold(tmp_path: Path) -> None:
    """Stock sums in it and compares nothing; PilotNet SDNN's decoder is written so."""
    sdnn = {"type": b"SDNN", "vThMant": 6, "activation": b"relu"}
    rasters = RNG.integers(-200, 200, (12, 36))
    found = []
    for sigma in (
        {"type": b"SDNN", "sigma_output": True},
        {"type": b"SDNN", "sigma_output": True, "vThMant": 6, "activation": b"relu"},
    ):
        path = tmp_path / f"{len(sigma)}.net"
        with h5py.File(path, "w") as file:
            group = file.create_group("layer/0")
            group["type"], group["shape"] = np.array([b"input"]), np.array([1, 6, 6])
            for name, value in sdnn.items():
                group[f"neuron/{name}"] = value
            convolution(file, 1, (2, 6, 6), WEIGHT, sdnn)
            convolution(file, 2, (2, 6, 6), np.ones((2, 2, 1, 1), np.float32) * 8, sigma)
        with Emulator().open(read_netx(path)) as session:
            found.append(session.score(rasters))
    assert found[0].any()
    assert np.array_equal(*found)


def _rewritten(file: h5py.File, values: np.ndarray, **choices: object) -> None:
    del file["layer/0/weight"]
    file["layer/0"].create_dataset("weight", data=values, **choices)


@pytest.mark.parametrize("form", ["trailing axis", "flat", "float64", "compressed", "attributes"])
def test_variants_that_are_stock(form: str, tmp_path: Path) -> None:
    """Ways to store the same weights that stock NetX does not tell apart."""
    paths = [tmp_path / f"{name}.net" for name in ("plain", "other")]
    for path in paths:
        with h5py.File(path, "w") as file:
            convolution(file, 0, (2, 6, 5), WEIGHT, CUBA)
    with h5py.File(paths[1], "r+") as file:
        if form == "trailing axis":
            _rewritten(file, WEIGHT[..., None])
        elif form == "flat":
            _rewritten(file, WEIGHT.reshape(-1))
        elif form == "float64":
            _rewritten(file, WEIGHT.astype(np.float64))
        elif form == "compressed":
            _rewritten(file, WEIGHT, compression="gzip", chunks=(1, 1, 3, 3))
        else:
            file.attrs["author"] = "somebody"
    one, other = (read_netx(path, input_shape=(5, 6, 1)) for path in paths)
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        assert (mine.name, mine.kind) == (theirs.name, theirs.kind)
        for name in mine.array_specs():
            assert np.array_equal(getattr(mine, name), getattr(theirs, name)), name
