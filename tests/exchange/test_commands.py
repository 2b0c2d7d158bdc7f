"""The commands ``netx`` and ``nir``, from a stock file to another tool's graph and back."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
from typer.testing import CliRunner

from spikegpt_neuro.cli.program import app


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_stock_file_to_nir_and_back(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "stock.net", "w") as file:
        layer = file.create_group("layer/0")
        layer["type"], layer["shape"] = np.array([b"dense"], "S10"), np.array([3])
        layer["inFeatures"], layer["outFeatures"] = 2, 3
        layer["weight"] = np.array([[40, -2], [10, 70], [90, 0]], np.float32)
        for key, value in (("iDecay", 4096), ("vDecay", 512), ("vThMant", 60), ("refDelay", 1)):
            layer[f"neuron/{key}"] = value
        layer["neuron/type"] = b"CUBA"
    run("netx", "import", tmp_path / "stock.net", tmp_path / "chain.net")
    run("inspect", tmp_path / "chain.net", "--json")
    nodes = json.loads(run("nir", "export", tmp_path / "chain.net", tmp_path / "c.nir", "--json"))
    assert nodes["nodes"] == {"Input": 1, "Delay": 1, "Linear": 1, "LIF": 1, "Output": 1}
    direct = json.loads(run("nir", "export", tmp_path / "stock.net", tmp_path / "d.nir", "--json"))
    assert direct["nodes"] == nodes["nodes"]
    run("nir", "import", tmp_path / "c.nir", tmp_path / "again.net")
    np.save(tmp_path / "raster.npy", np.ones((9, 2), np.int8))
    for name in ("chain", "again"):
        net, out = tmp_path / f"{name}.net", tmp_path / f"{name}.npy"
        run("simulate", net, "--raster", tmp_path / "raster.npy", "--output", out, "--json")
    spikes = np.load(tmp_path / "chain.npy")
    assert np.array_equal(spikes, np.load(tmp_path / "again.npy"))
    assert spikes.sum(axis=0).tolist()[2] == 8  # 90 > 60 every step but the delayed first
