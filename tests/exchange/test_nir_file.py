"""The door of NIR files gives what the package's own reader gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

nir = pytest.importorskip("nir")

from spikegpt_neuro.errors import InputError  # noqa: E402
from spikegpt_neuro.exchange.nir_file import read_graph  # noqa: E402


@pytest.fixture
def written(tmp_path: Path) -> Path:
    k = np.ones(5)
    graph = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([4])}),
            "fc": nir.Affine(np.arange(20.0).reshape(5, 4), np.arange(5.0)),
            "lif": nir.LIF(tau=k, r=k, v_leak=0 * k, v_threshold=k, v_reset=0 * k),
            "output": nir.Output({"output": np.array([5])}),
        },
        [("input", "fc"), ("fc", "lif"), ("lif", "output")],
        metadata={"text": "a", "number": np.arange(3)},
    )
    nir.write(tmp_path / "a.nir", graph)
    return tmp_path / "a.nir"


def _same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _same(one[key], other[key])
    else:
        np.testing.assert_array_equal(one, other)


def test_the_graph_is_the_one_that_the_package_reads(written: Path) -> None:
    mine, theirs = read_graph(written), nir.read(written, type_check=False)
    assert mine.edges == theirs.edges
    _same(mine.to_dict(), theirs.to_dict())


def test_other_files_are_refused(written: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.nir", "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="no /node"):
        read_graph(tmp_path / "b.nir")
    with h5py.File(written, "r+") as file:
        del file["node/nodes/lif/tau"]
        file["node/nodes/fc/bias"].parent["bias2"] = h5py.SoftLink("/x")
    with pytest.raises(InputError, match="fc/bias2: is a link"):
        read_graph(written)
