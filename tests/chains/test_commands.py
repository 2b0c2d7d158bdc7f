"""A user with a stock .net file and a raster: every command takes it as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.cli.program import app
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.errors import SpikeGPTNeuroError

Files = tuple[Path, Path]


def run(*arguments: object, code: int = 0) -> str:
    """The program's standard output; of an error, its sentence."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, SpikeGPTNeuroError):
        assert result.exception.exit_code == code, result.exception
        return str(result.exception)
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def run_json(*arguments: object, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code))


@pytest.fixture(scope="module")
def files(shipped: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Files:
    raster = tmp_path_factory.mktemp("raster") / "raster.npy"
    np.save(raster, np.random.default_rng(1).integers(-20, 70, (30, 3, 16, 16)))
    return shipped("tiny.net"), raster


def test_inspect(files: Files) -> None:
    found = run_json("inspect", files[0])
    assert found["info"]["layout"] == "chain" and len(found["layers"]) == 8
    assert "768 values in, 36 out" in run("inspect", files[0], "--layers")


@pytest.mark.parametrize("backend", ["emulator", "lava", "lava-fine"])
def test_simulate(backend: str, files: Files, tmp_path: Path) -> None:
    spikes, layers = tmp_path / "spikes.npy", tmp_path / "layers.npz"
    found = run_json(
        "simulate", files[0], "--raster", files[1], "--output", spikes, "--trace", layers,
        "--backend", backend,
    )  # fmt: skip
    written = np.load(spikes)
    assert written.shape == (30, 36) and written.dtype == np.int32
    assert found["output_events"] == np.count_nonzero(written) > 0
    assert found["output_events_by_neuron"] == np.count_nonzero(written, axis=0).tolist()
    assert np.array_equal(np.load(layers)["conv_2.neuron"], written)
    with get_backend("emulator").open(read_netx(files[0])) as session:
        assert np.array_equal(session.score(np.load(files[1])), written)
    if backend == "lava-fine":
        assert found["counters"] is None
    else:
        assert found["counters"]["layers"]["conv_1.synapse"]["synaptic_operations"] > 0
    sentence = run(
        "simulate", files[0], "--raster", files[1], "--output", spikes, "--backend", backend,
        code=2,
    )  # fmt: skip
    assert "exists" in sentence


@pytest.mark.parametrize("backend", ["emulator", "lava", "lava-fine"])
def test_samples_of_a_raster_start_at_rest(backend: str, files: Files, tmp_path: Path) -> None:
    spikes, layers = tmp_path / "spikes.npy", tmp_path / "layers.npz"
    run(
        "simulate", files[0], "--raster", files[1], "--output", spikes, "--trace", layers,
        "--backend", backend, "--reset-interval", 12,
    )  # fmt: skip
    raster = np.load(files[1])
    with get_backend("emulator").open(read_netx(files[0]), trace=["conv_1.neuron"]) as session:
        whole = session.score(raster)
        hidden = []
        for begin in (0, 12, 24):
            session.reset()
            found = session.score(raster[begin : begin + 12])
            assert np.array_equal(np.load(spikes)[begin : begin + 12], found)
            hidden.append(session.trace("conv_1.neuron"))
    assert np.array_equal(np.load(layers)["conv_1.neuron"], np.concatenate(hidden))
    assert not np.array_equal(np.load(spikes), whole)


def test_map_and_energy(files: Files, tmp_path: Path) -> None:
    mapped = run_json("map", files[0], "--raster", files[1], "--strict")
    # spread over free cores, as by default, until each one's work hides behind a step's overhead
    assert (mapped["cores"], mapped["chips"], mapped["violations"]) == (32, 1, [])
    assert mapped["traffic_assumes_every_value_non_zero"] is False
    assert run_json("map", files[0])["packets_per_token"] > mapped["packets_per_token"]
    best = run_json("map", files[0], "--raster", files[1], "--for", "time")["choice"]
    seconds = [row["pipelined"]["seconds_per_token"] for row in best["compared"]]
    assert seconds[2] <= min(seconds)
    page = tmp_path / "report.html"
    found = run_json("energy", files[0], "--raster", files[1], "--output", page, "--tokens", 20)
    assert found["tokens"] == 20 and found["energy_joules_per_token"] > 0
    assert "conv_1.synapse" in page.read_text(encoding="utf-8")
    lava = run_json(
        "energy", files[0], "--raster", files[1], "--tokens", 20, "--backend", "lava"
    )  # fmt: skip
    assert lava["counters"] == found["counters"]


@pytest.mark.parametrize("backends", ["emulator,netx", "netx,lava", "lava,lava-fine"])
def test_verify(backends: str, files: Files) -> None:
    found = run_json("verify", files[0], "--raster", files[1], "--backends", backends)
    assert found["equal"] and found["tokens"] == 30
    assert f"{found['left']},{found['right']}" == backends
    assert found["layers"][-1] == "conv_2.neuron"
    assert found["counters_compared"] is False


def test_verify_names_the_first_difference(files: Files, tmp_path: Path) -> None:
    run("netx", "import", files[0], tmp_path / "late.net", "--slayer-timing")
    options = ("verify", files[0], "--raster", files[1], "--backends", "emulator,lava")
    found = run_json(*options, "--other", tmp_path / "late.net", code=1)
    assert found["difference"]["layer"] == "conv_1.synapse" and not found["equal"]
    assert "conv_1.synapse" in found["differing"]
    shown = run(*options, "--other", tmp_path / "late.net", code=1)
    assert "first at layer conv_1.synapse, step" in shown


def test_an_imported_chain_finds_its_stock_file(recurrent_chain: Path, tmp_path: Path) -> None:
    stock, chain = tmp_path / "recurrent.net", tmp_path / "chain.net"
    stock.write_bytes(recurrent_chain.read_bytes())
    run("netx", "import", stock, chain, "--layers", 3, "--input-message-bits", 8)
    np.save(tmp_path / "raster.npy", np.random.default_rng(1).integers(0, 6, (30, 7)))
    options = ("--raster", tmp_path / "raster.npy", "--backends", "netx,emulator")
    found = run_json("verify", chain, *options)
    assert found["equal"] and found["layers"][-1] == "dense_2.neuron"
    stock.unlink()
    assert "not beside it" in run("verify", chain, *options, code=2)


MISTAKES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no raster": (("simulate", "NET"), 2, "Give --raster"),
    "prompt": (("simulate", "NET", "--prompt", "a"), 2, "for text, not for rasters"),
    "text": (("verify", "NET", "--text", "TEXT"), 2, "reads a raster"),
    "both": (("energy", "NET", "--raster", "RASTER", "--text", "TEXT"), 2, "give one of"),
    "shape": (("simulate", "NET", "--raster", "WRONG"), 2, "must be [time steps, 768 values]"),
    "not an array": (("map", "NET", "--raster", "TEXT"), 2, "is not a .npy array"),
    "counts": (
        ("energy", "NET", "--raster", "RASTER", "--backend", "lava-fine"), 2, "do not count"
    ),
    "float": (
        ("verify", "NET", "--raster", "RASTER", "--against", "TEXT"), 2, "no float model"
    ),
    "float alone": (
        ("verify", "NET", "--raster", "RASTER", "--backends", "float,lava"), 2, "go together"
    ),
    "board": (("verify", "NET", "--raster", "RASTER", "--backends", "emulator,loihi2"), 3,
              "lava-loihi"),
    "unknown": (("verify", "NET", "--raster", "RASTER", "--backends", "emulator,abacus"), 2,
                "no backend 'abacus'"),
    "scored": (("score", "NET", "TEXT"), 2, "A stock NetX file"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_a_sentence_and_an_exit_code(
    mistake: str, files: Files, tmp_path: Path
) -> None:
    arguments, code, message = MISTAKES[mistake]
    np.save(tmp_path / "wrong.npy", np.zeros((3, 5)))
    (tmp_path / "text.txt").write_text("text")
    places = {
        "NET": files[0], "RASTER": files[1], "WRONG": tmp_path / "wrong.npy",
        "TEXT": tmp_path / "text.txt",
    }  # fmt: skip
    assert message in run(*(places.get(a, a) for a in arguments), code=code)


def test_a_file_nobody_can_hold_is_refused_by_every_command(
    shipped: Callable[[str], Path], files: Files
) -> None:
    path = shipped("gts/ntidigits/ntidigits.net")
    for command in ("inspect", "simulate", "map", "energy", "verify"):
        raster = () if command == "inspect" else ("--raster", files[1])
        assert "type 'average' cannot be held" in run(command, path, *raster, code=2)


def test_the_default_reading_is_netx_imports(files: Files, tmp_path: Path) -> None:
    run("netx", "import", files[0], tmp_path / "chain.net")
    imported, direct = run_json("inspect", tmp_path / "chain.net"), run_json("inspect", files[0])
    assert imported["info"] == direct["info"] and imported["layers"] == direct["layers"]
    assert read_netx(files[0]).info.quantisation["stock_layers"] == 3
