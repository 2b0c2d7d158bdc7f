"""Files as stock NetX reads them: what it reads past, takes from elsewhere, and lets be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.backends.lava.chains.netx import NetxBackend
from spikegpt_neuro.cli.main import main
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.verification import verify

RNG = np.random.default_rng(11)
CUBA = {"type": b"CUBA", "iDecay": 1024, "vDecay": 256, "vThMant": 60, "refDelay": 1}
WEIGHT = (RNG.integers(-20, 40, (3, 2, 3, 3)) * 2).astype(np.float32)
DENSE = (RNG.integers(-20, 30, (7, 3 * 5 * 4)) * 2).astype(np.float32)
SHAPE = (2, 5, 4)


def dense(file: h5py.File, index: int, weight: Any, neuron: dict[str, Any] | None) -> h5py.Group:
    group = file.create_group(f"layer/{index}")
    group["type"], group["shape"] = np.array([b"dense"]), np.array(weight.shape[:1])
    group["outFeatures"], group["inFeatures"] = weight.shape
    group["weight"] = weight
    for name, value in (neuron or {}).items():
        group[f"neuron/{name}"] = value
    return group


def convolution(file: h5py.File, index: int, neuron: dict[str, Any] = CUBA) -> h5py.Group:
    group = file.create_group(f"layer/{index}")
    group["type"], group["shape"] = np.array([b"conv"]), np.array([3, *SHAPE[1:]])
    group["inChannels"], group["outChannels"], group["groups"] = 2, 3, 1
    for name, value in (("kernelSize", 3), ("stride", 1), ("padding", 1), ("dilation", 1)):
        group[name] = np.array([value, value])
    group["weight"] = WEIGHT
    for name, value in neuron.items():
        group[f"neuron/{name}"] = value
    return group


@pytest.fixture
def raster() -> np.ndarray[Any, Any]:
    return (RNG.random((30, *SHAPE)) < 0.3).astype(np.int64)


def assert_as_stock(path: Path, raster: Any, **choices: Any) -> Any:
    """The emulator's spikes of every layer are stock NetX's; returns the chain."""
    chain = read_netx(path, **choices)
    found = verify(chain, raster, get_backend("emulator"), NetxBackend(path))
    assert found.equal, found
    with Emulator().open(chain) as session:
        assert session.score(raster).any()
    return chain


def image_chain(path: Path) -> h5py.File:
    file = h5py.File(path, "w")
    group = file.create_group("layer/0")
    group["type"], group["shape"] = np.array([b"input"]), np.array(SHAPE)
    convolution(file, 1)
    flat = file.create_group("layer/2")
    flat["type"], flat["shape"] = np.array([b"flatten"]), np.array([60])
    dense(file, 3, DENSE, CUBA)
    return file


def test_a_kernel_size_that_is_not_the_weights(tmp_path: Path, raster: Any) -> None:
    """Stock takes the kernel of the weights; files of edited blocks hold another kernelSize."""
    with image_chain(tmp_path / "x.net") as file:
        file["layer/1/kernelSize"][()] = 5
    assert_as_stock(tmp_path / "x.net", raster, input_shape=None)
    with image_chain(tmp_path / "y.net") as file:
        del file["layer/1/kernelSize"]
    assert_as_stock(tmp_path / "y.net", raster)


def test_delays_of_a_convolution_are_read_past(
    tmp_path: Path, raster: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with image_chain(tmp_path / "x.net") as file:
        file["layer/1/delay"] = np.array([1.0, 4.0, 0.0])
    chain = assert_as_stock(tmp_path / "x.net", raster)
    assert chain.info.quantisation["not_read"] == ["layer 1/delay"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["spikegpt-neuro", "netx", "import", "x.net", "out.net"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "note: layer 1/delay: stock NetX reads past it" in capsys.readouterr().out


@pytest.mark.parametrize("recurrent", [False, True])
def test_decays_of_each_channel(recurrent: bool, tmp_path: Path, raster: Any) -> None:
    """SLAYER's ``shared_param=False``; stock broadcasts the decays along the channels."""
    own = {**CUBA, "iDecay": np.array([4096, 900, 2000]), "vDecay": np.array([128])}
    with h5py.File(tmp_path / "x.net", "w") as file:
        convolution(file, 0, own)
        flat = file.create_group("layer/1")
        flat["type"], flat["shape"] = np.array([b"flatten"]), np.array([60])
        group = dense(file, 2, DENSE, {**CUBA, "vDecay": np.arange(0, 4096, 600)})
        if recurrent:
            del group["type"]
            group["type"] = np.array([b"dense_rec"])
            group["weight_rec"] = (RNG.integers(-20, 30, (7, 7)) * 2).astype(np.float32)
    choices: dict[str, Any] = {"input_shape": SHAPE[::-1]}
    if recurrent:
        chain = read_netx(tmp_path / "x.net", **choices)
    else:
        chain = assert_as_stock(tmp_path / "x.net", raster, **choices)
    kinds = [layer.kind for layer in chain.layers if layer.fires]
    assert kinds == ["varied_cuba", "recurrent_varied_cuba" if recurrent else "varied_cuba"]
    for name in ("lava", "lava-fine"):
        found = verify(chain, raster[:6], get_backend("emulator"), get_backend(name))
        assert found.equal, found


def test_decays_that_no_channels_have(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.net", "w") as file:
        convolution(file, 0, {**CUBA, "iDecay": np.arange(60), "vDecay": np.array([1, 2, 5000])})
        dense(file, 1, DENSE, {**CUBA, "iDecay": np.array([-1, *[9] * 6])})
    with pytest.raises(InputError) as refused:
        read_netx(tmp_path / "x.net", input_shape=SHAPE[::-1])
    assert list(refused.value.problems) == [
        "layer 0/neuron/iDecay: 60 values, must be 1, or 3, one a channel",
        "layer 0/neuron/vDecay: 1..5000, allowed 0..4096",
        "layer 1/neuron/iDecay: -1..9, allowed 0..4096",
    ]


def test_a_first_convolution_on_stock(tmp_path: Path, raster: Any) -> None:
    with h5py.File(tmp_path / "x.net", "w") as file:
        convolution(file, 0)
    assert_as_stock(tmp_path / "x.net", raster, input_shape=SHAPE[::-1])


def voltages_of(path: Path, raster: Any, **choices: Any) -> Any:
    with Emulator().open(read_netx(path, output_voltages=True, **choices)) as session:
        return session.score(raster)


@pytest.mark.parametrize("threshold", [(1 << 17) - 1, 1 << 17, (1 << 18) - 1, None])
def test_voltages_as_a_chains_output(threshold: int | None, tmp_path: Path, raster: Any) -> None:
    """PilotNet LIF and MNIST's bootstrap end so: their answer is a voltage, not spikes."""
    last = None if threshold is None else {**CUBA, "vThMant": threshold}
    with image_chain(tmp_path / "x.net") as file:
        dense(file, 4, (RNG.integers(-20, 30, (4, 7)) * 2).astype(np.float32), last)
    found = voltages_of(tmp_path / "x.net", raster)
    chain = read_netx(tmp_path / "x.net")
    name = chain.layers[-1].name
    with Emulator().open(chain, trace=(name, f"{name}.voltage", f"{name}.current")) as session:
        assert not session.score(raster).any()
        assert np.array_equal(session.trace(f"{name}.voltage"), found)
        assert session.trace(f"{name}.current").shape == found.shape
    assert found.any()
    write_network(read_netx(tmp_path / "x.net", output_voltages=True), tmp_path / "own.net")


def test_voltages_of_neurons_that_fire_are_not_an_output(tmp_path: Path, raster: Any) -> None:
    image_chain(tmp_path / "x.net").close()
    with pytest.raises(InputError, match=r"fires at 60; .* `simulate --trace`"):
        voltages_of(tmp_path / "x.net", raster)


def test_traced_voltages_are_stock_lavas(tmp_path: Path, raster: Any) -> None:
    """``v`` of lava-nc's fixed-point LIF after every time step, by its equation."""
    image_chain(tmp_path / "x.net").close()
    chain = read_netx(tmp_path / "x.net")
    names = [layer.name for layer in chain.layers]
    neuron, synapse = names[-1], names[-2]
    with Emulator().open(chain, trace=(synapse, neuron, f"{neuron}.voltage")) as session:
        session.score(raster)
        driving, spikes = session.trace(synapse), session.trace(neuron)
        voltage = session.trace(f"{neuron}.voltage")
    u = v = np.zeros(7, np.int64)
    for t, a in enumerate(driving.astype(np.int64)):
        u = np.trunc(u * (4096 - CUBA["iDecay"]) / 4096).astype(np.int64) + (a << 6)
        v = np.trunc(v * (4096 - CUBA["vDecay"]) / 4096).astype(np.int64) + u
        fired = v > CUBA["vThMant"] << 6
        v = np.where(fired, 0, v)
        assert np.array_equal(fired, spikes[t]) and np.array_equal(v, voltage[t])
    assert spikes.any()


def test_voltages_in_simulates_trace(
    tmp_path: Path, raster: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image_chain(tmp_path / "x.net").close()
    np.save(tmp_path / "in.npy", raster)
    monkeypatch.chdir(tmp_path)
    arguments = ["simulate", "x.net", "--raster", "in.npy", "--trace", "t.npz"]
    monkeypatch.setattr("sys.argv", ["spikegpt-neuro", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, capsys.readouterr().err
    with np.load(tmp_path / "t.npz") as trace:
        assert trace["dense_3.neuron.voltage"].shape == trace["dense_3.neuron"].shape == (30, 7)
        assert trace["conv_1.neuron.current"].shape == (30, 60)


@pytest.mark.parametrize(
    ("axes", "advice"),
    [
        (lambda x: np.moveaxis(x, 0, -1), r"moveaxis\(raster, -1, 0\)"),
        (lambda x: np.moveaxis(x, 0, -1)[None], r"moveaxis\(raster\[0\], -1, 0\)"),
        (lambda x: x.reshape(30, -1).T, r"moveaxis\(raster, -1, 0\)"),
        (lambda x: x.transpose(0, 2, 3, 1), r"or \[time steps, 2, 5, 4\]"),
    ],
)
def test_axes_of_a_raster(axes: Any, advice: str, tmp_path: Path, raster: Any) -> None:
    image_chain(tmp_path / "x.net").close()
    with Emulator().open(read_netx(tmp_path / "x.net")) as session:
        session.score(raster)
        session.score(raster.reshape(30, -1))
        with pytest.raises(InputError, match=advice):
            session.score(axes(raster))
