"""NIR graphs that were imported as another network, crashed the import, or misled its user."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from typer.testing import CliRunner

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.raster import EmulatorChainSession
from spikegpt_neuro.cli.program import app
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange import check_nir, export_nir, import_nir, import_nir_with_report
from spikegpt_neuro.network.random_networks import RandomShape, random_network

DT = 1e-4


def save(nodes: dict[str, Any], edges: list[tuple[str, str]], path: Path) -> Path:
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    return path


def ends(inputs: Any, outputs: Any) -> dict[str, Any]:
    return {
        "input": nir.Input({"input": np.atleast_1d(inputs)}),
        "output": nir.Output({"output": np.atleast_1d(outputs)}),
    }  # fmt: skip


def lif(n: int, decay: int = 512, **other: Any) -> nir.LIF:
    tau = np.full(n, DT * 4096 / decay)
    values = {
        "tau": tau, "r": tau / DT, "v_leak": 0 * tau, "v_threshold": 0 * tau + 20.0,
        "v_reset": 0 * tau, **other,
    }  # fmt: skip
    return nir.LIF(**values)


def cuba(n: int, current: int, voltage: int, threshold: float) -> nir.CubaLIF:
    one = np.ones(n)
    synapse, membrane = one * DT * 4096 / current, one * DT * 4096 / voltage
    return nir.CubaLIF(
        tau_syn=synapse, tau_mem=membrane, r=membrane / DT, v_leak=0 * one,
        v_threshold=threshold * one, v_reset=0 * one, w_in=synapse / DT,
    )  # fmt: skip


LINE = [("input", "fc"), ("fc", "lif"), ("lif", "output")]


def float_counts(weight: np.ndarray, bias: np.ndarray, raster: np.ndarray) -> list[int]:
    """The equations of ``CubaLIF`` written down once more, for the graph of the bias's case."""
    i, v, counts = np.zeros(3), np.zeros(3), np.zeros(3, int)
    for x in raster:
        i = i * (1 - 512 / 4096) + weight @ x + bias
        v = v * (1 - 256 / 4096) + i
        counts += v > 1000
        v[v > 1000] = 0
    return counts.tolist()


def bias_case(tmp_path: Path) -> tuple[Path, np.ndarray, list[int]]:
    weight, bias = np.array([[5.0, 1.0], [2.0, 3.0], [7.0, 7.0]]), np.array([10.0, 40.0, 0.0])
    raster = (np.random.default_rng(0).random((200, 2)) < 0.3).astype(int)
    nodes = {**ends(2, 3), "fc": nir.Affine(weight, bias), "lif": cuba(3, 512, 256, 1000.0)}
    return save(nodes, LINE, tmp_path / "a.nir"), raster, float_counts(weight, bias, raster)


@pytest.mark.parametrize("backend", ["emulator", "lava"])
def test_a_bias_belongs_to_the_current(backend: str, tmp_path: Path) -> None:
    path, raster, expected = bias_case(tmp_path)
    assert expected == [10, 48, 0]
    network, report = import_nir_with_report(path)
    assert report.is_exact
    with get_backend(backend).open(network) as session:
        assert session.score(raster).sum(axis=0).tolist() == expected


def test_snntorch_fires_as_often_with_a_bias_of_the_current(tmp_path: Path) -> None:
    path, raster, expected = bias_case(tmp_path)
    assert snntorch_counts(path, raster) == expected


def snntorch_counts(path: Path, raster: np.ndarray) -> list[int]:
    import torch
    from snntorch import import_nir as reader

    torch.set_num_threads(1)
    module = reader.import_from_nir(nir.read(path))
    state, found = None, []
    with torch.no_grad():
        for step in raster:
            out, state = module(torch.tensor(step, dtype=torch.float32)[None], state)
            found.append(out.numpy().reshape(-1))
    return np.array(found).sum(axis=0).astype(int).tolist()


@pytest.mark.parametrize("kind", ["LIF", "CubaLIF"])
def test_snntorch_on_floats_and_integers_fire_as_often(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    one = np.ones(24)
    beta, alpha = 0.91, 0.83  # no multiples of 1/4096
    tau, synapse = one * DT / (1 - beta), one * DT / (1 - alpha)
    values = {"r": tau / DT, "v_leak": 0 * one, "v_threshold": one, "v_reset": 0 * one}
    cell = (
        nir.LIF(tau=tau, **values) if kind == "LIF"
        else nir.CubaLIF(tau_mem=tau, tau_syn=synapse, w_in=synapse / DT, **values)
    )  # fmt: skip
    scale = 0.3 if kind == "LIF" else 0.06
    first = random.normal(0.1, 1.0, (24, 16)) * scale
    second = random.normal(0.05, 1.0, (24, 24)) * scale
    nodes = {
        **ends(16, 24), "fc": nir.Affine(first, random.normal(0, 0.02, 24)), "lif": cell,
        "fc2": nir.Linear(second), "lif2": cell,
    }  # fmt: skip
    names = ["input", "fc", "lif", "fc2", "lif2", "output"]
    path = save(nodes, list(pairwise(names)), tmp_path / "a.nir")
    raster = (random.random((300, 16)) < 0.25).astype(np.int32)
    network, report = import_nir_with_report(path, bits=9)
    assert not report.is_exact
    with EmulatorChainSession(network) as session:
        ours = session.score(raster).sum(axis=0)
    theirs = np.array(snntorch_counts(path, raster))
    assert theirs.sum() > 300
    assert abs(int(ours.sum()) - int(theirs.sum())) < 0.03 * theirs.sum()
    assert np.abs(ours - theirs).max() <= 6
    found = check_nir(path, bits=9, raster=raster)
    assert not [line for row in found.spikes for line in row.unexplained]
    assert found.spikes[-1].float_spikes == pytest.approx(int(theirs.sum()), rel=0.01)


@pytest.mark.parametrize(("value", "found"), [(200.0, "200"), (255.0, "255"), (-128.0, "-128")])
def test_an_edited_projection_must_fit_its_bits(value: float, found: str, tmp_path: Path) -> None:
    export_nir(random_network(RandomShape(layout="upstream", n_layer=1)), tmp_path / "a.nir")
    with h5py.File(tmp_path / "a.nir", "r+") as file:
        group = file["node/nodes/blocks__0__srwkv__key"]
        weight = group["weight"][()].astype(np.float64)
        weight[0, 0] = value
        del group["weight"]
        group["weight"] = weight
    with pytest.raises(InputError, match=r"allowed -127\.\.127") as caught:
        import_nir(tmp_path / "a.nir")
    (problem,) = caught.value.problems
    assert problem.startswith("blocks.0.srwkv.key/weight: values") and found in problem


def dangling(tmp_path: Path, edges: list[list[str]]) -> Path:
    nodes = {**ends(2, 2), "fc": nir.Linear(np.eye(2) * 5), "lif": lif(2)}
    path = save(nodes, LINE, tmp_path / "a.nir")
    with h5py.File(path, "r+") as file:
        del file["node/edges"]
        file["node/edges"] = np.array(edges, dtype="S")
    return path


def test_edges_to_nodes_that_are_not_there_are_named(tmp_path: Path) -> None:
    edges = [*map(list, LINE), ["lif", "gone"], ["lost", "fc"]]
    path = dangling(tmp_path, edges)
    result = CliRunner().invoke(app, ["nir", "import", str(path), str(tmp_path / "a.net")])
    assert result.exit_code != 0 and isinstance(result.exception, InputError)
    assert result.exception.exit_code == 2
    assert result.exception.problems == (
        "the edge lif -> gone: there is no node gone",
        "the edge lost -> fc: there is no node lost",
    )
    assert not (tmp_path / "a.net").exists()


def test_each_problem_is_one_line_and_all_are_told(tmp_path: Path) -> None:
    reset, taus = np.full(5, -1.0), np.array([1e-3, 2e-3, 1e-3])
    nodes = {
        **ends(4, 3), "fc": nir.Linear(np.full((5, 4), 0.3)), "lif": lif(5, v_reset=reset),
        "odd": lif(5), "fc2": nir.Affine(np.full((3, 5), 2.0), np.full(3, 0.5)),
        "lif2": lif(3, tau=taus, r=taus / DT), "second": nir.Output({"output": np.array([3])}),
    }  # fmt: skip
    edges = [
        ("input", "fc"), ("fc", "lif"), ("lif", "fc2"), ("fc2", "lif2"), ("lif2", "output"),
        ("lif2", "second"), ("lif", "odd"),
    ]  # fmt: skip
    path = save(nodes, edges, tmp_path / "a.nir")
    with h5py.File(path, "r+") as file:
        del file["node/nodes/odd/type"]
        file["node/nodes/odd/type"] = "Perceptron"
    with pytest.raises(InputError) as caught:
        import_nir(path)
    assert sorted(caught.value.problems) == [
        "2 Output nodes (output, second); a network has one",
        "fc/weight: must be whole numbers",
        "fc2/bias: must be whole numbers",
        "lif2/tau: a decay of 0.1 a step of 0.0001 s is not a multiple of 1/4096",
        "lif: resets to -1, not to 0; integer neurons reset to 0",
        "odd: 'Perceptron' is no type of NIR node",
    ]


@pytest.mark.parametrize(
    ("edges", "problem"),
    [
        (
            [("a", "b"), ("b", "a")],
            "a loop without neurons that fire (a, b) has no delay",
        ),
        (
            [("lif", "a"), ("a", "lif2"), ("lif2", "b"), ("b", "lif")],
            "a loop through 2 layers of neurons (lif, lif2); integer neurons hear only themselves",
        ),
    ],
)
def test_loops_that_cannot_be_held(
    edges: list[tuple[str, str]], problem: str, tmp_path: Path
) -> None:
    nodes = {
        **ends(3, 3), "fc": nir.Linear(np.eye(3)), "lif": lif(3), "lif2": lif(3),
        "a": nir.Linear(np.eye(3)), "b": nir.Linear(np.eye(3)),
    }  # fmt: skip
    whole = [("input", "fc"), ("fc", "lif"), ("lif", "lif2"), ("lif2", "output"), *edges]
    nodes = {n: v for n, v in nodes.items() if any(n in edge for edge in whole)}
    with pytest.raises(InputError) as caught:
        import_nir(save(nodes, whole, tmp_path / "a.nir"))
    assert caught.value.problems == (problem,)


def test_fractions_are_one_line_a_parameter_with_what_to_do(tmp_path: Path) -> None:
    first, second = np.full((5, 4), 0.3), np.full((3, 5), 0.3)
    nodes = {
        **ends(4, 3), "fc": nir.Linear(first), "lif": lif(5), "fc2": nir.Linear(second),
        "lif2": lif(3),
    }  # fmt: skip
    names = ["input", "fc", "lif", "fc2", "lif2", "output"]
    path = save(nodes, list(pairwise(names)), tmp_path / "a.nir")
    with pytest.raises(InputError) as caught:
        import_nir(path)
    assert caught.value.problems == (
        "fc/weight: must be whole numbers", "fc2/weight: must be whole numbers",
    )  # fmt: skip
    assert "--bits N" in caught.value.advice
    out = tmp_path / "a.net"
    result = CliRunner().invoke(
        app, ["nir", "import", str(path), str(out), "--bits", "6", "--json"]
    )
    assert result.exit_code == 0
    layers = {layer["node"]: layer for layer in json.loads(result.output)["import"]["layers"]}
    assert layers["lif"]["status"] == "approximate" and 0 < layers["lif"]["weight_error"] < 0.01
    assert layers["lif"]["bits"] == 6 and layers["lif"]["threshold_error"] == 0


def test_check_prints_what_is_approximate_and_exits_by_what_cannot_be_held(tmp_path: Path) -> None:
    path, raster, _ = bias_case(tmp_path)
    np.save(tmp_path / "raster.npy", raster)
    run = CliRunner().invoke
    result = run(app, ["nir", "check", str(path), "--raster", str(tmp_path / "raster.npy")])
    assert result.exit_code == 0 and "exact" in result.output and "58" in result.output
    path = dangling(tmp_path, [*map(list, LINE), ["lif", "gone"]])
    result = run(app, ["nir", "check", str(path), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["problems"] == ["the edge lif -> gone: there is no node gone"]
