"""Small graphs of the nodes, names, shapes and dtypes that public NIR files have.

Each is what a public file of that name looks like, with random numbers: no foreign file is here.
The table in docs/exchange.md names the files.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from spikegpt_neuro.exchange import check_nir

Graph = tuple[dict[str, Any], list[tuple[str, str]]]
DT = 1e-4


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    values = np.random.default_rng((seed, *shape)).normal(0.15, 1.0, shape) * scale
    return values.astype(np.float32)


def ends(inputs: Any, outputs: Any) -> dict[str, Any]:
    return {
        "input": nir.Input({"input": np.atleast_1d(inputs)}),
        "output": nir.Output({"output": np.atleast_1d(outputs)}),
    }  # fmt: skip


def lif(
    n: int, tau: float = 0.0025, r: float = 1.0, threshold: float = 0.1, leak: float = 0.0
) -> Any:
    tau, r, leak, threshold = (np.full(n, v, np.float32) for v in (tau, r, leak, threshold))
    return nir.LIF(tau=tau, r=r, v_leak=leak, v_threshold=threshold)


def cuba(n: int, synapse: float, membrane: float, w_in: float | None = None, **other: Any) -> Any:
    full = lambda v: np.full(n, v)  # noqa: E731
    return nir.CubaLIF(
        tau_syn=full(synapse), tau_mem=full(membrane), r=full(membrane / DT), v_leak=full(0.0),
        v_threshold=full(1.0), w_in=full(synapse / DT if w_in is None else w_in), **other,
    )  # fmt: skip


def fire(*shape: int, threshold: Any = 1.0) -> Any:
    one = np.ones(shape, np.float32)
    return nir.IF(r=one, v_threshold=one * np.float32(threshold), v_reset=0 * one)


def conv(outputs: int, channels: int, size: Any, kernel: int = 3, **other: Any) -> Any:
    values = {
        "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1,
        "bias": np.zeros(outputs, np.float32), **other,
    }  # fmt: skip
    weight = random(outputs, channels, kernel, kernel, scale=0.4)
    return nir.Conv2d(input_shape=size, weight=weight, **values)


def chain(nodes: dict[str, Any]) -> Graph:
    names = [name for name in nodes if name not in ("input", "output")]
    path = ["input", *names, "output"]
    return nodes, list(pairwise(path))


def lif_norse() -> Graph:
    return chain(
        {
            **ends(1, 1),
            "0": nir.Affine(np.ones((1, 1), np.float32), np.zeros(1, np.float32)),
            "1": lif(1),
        }
    )


def lif_rockpool() -> Graph:
    linear = nir.Linear(np.full((1, 1), 0.04, np.float32))
    return chain(
        {**ends(1, [1, 1, 1]), "0_LinearTorch": linear, "1_LIFNeuronTorch": lif(1, r=24.0197)}
    )


def two_lif_neurons() -> Graph:
    one = np.ones((1, 1))
    return chain({
        **ends(1, 1), "linear1": nir.Linear(one), "lif1": lif(1, 0.01, 1.0, 1.0, leak=1.2),
        "linear2": nir.Linear(one), "lif2": lif(1, 0.01, 1.0, 0.005),
    })  # fmt: skip


def braille(
    *, bias: bool = True, dotted: bool = True, batch: bool = False, w_in: bool = True
) -> Graph:
    def affine(n: int, m: int, seed: int) -> Any:
        weight = random(n, m, seed=seed, scale=0.7)
        return nir.Affine(weight, random(n, seed=seed, scale=0.2)) if bias else nir.Linear(weight)

    own, back = ("lif1.lif", "lif1.w_rec") if dotted else ("lif1", "w_rec")
    nodes = {
        **ends([1, 12] if batch else 12, [1, 7] if batch else 7), "fc1": affine(38, 12, 1),
        own: cuba(38, 2.2222e-4, 1e-3, None if w_in else 1.0), back: affine(38, 38, 2),
        "fc2": affine(7, 38, 3), "lif2": cuba(7, 2e-4, 2.2222e-4),
    }  # fmt: skip
    edges = [
        ("input", "fc1"), ("fc1", own), (own, back), (back, own), (own, "fc2"), ("fc2", "lif2"),
        ("lif2", "output"),
    ]  # fmt: skip
    return nodes, edges


def braille_subgraph(*, bias: bool = True) -> Graph:
    nodes, _ = braille(bias=bias, dotted=False)
    inner = nir.NIRGraph(
        {**ends(38, 38), "lif1": nodes.pop("lif1"), "lin": nodes.pop("w_rec")},
        [("input", "lif1"), ("lif1", "lin"), ("lin", "lif1"), ("lif1", "output")],
        type_check=False,
    )
    nodes["lif1"] = inner
    names = ["input", "fc1", "lif1", "fc2", "lif2", "output"]
    return nodes, list(pairwise(names))


def braille_wrong_sizes() -> Graph:
    nodes, edges = braille_subgraph()
    nodes["lif2"] = cuba(38, 2e-4, 2.2222e-4)
    return nodes, edges


def scnn(pool: Any, flatten_from: int = 0) -> Graph:
    return chain({
        **ends([2, 10, 10], 4), "0": conv(4, 2, (10, 10), 5, stride=(2, 2)), "1": fire(4, 4, 4),
        "2": conv(4, 4, (4, 4)), "3": fire(4, 4, 4), "4": pool, "5": conv(3, 4, (2, 2)),
        "6": fire(3, 2, 2), "8": nir.Flatten({"input": np.array([3, 2, 2])}, flatten_from, -1),
        "9": nir.Linear(random(8, 12)), "10": fire(8), "11": nir.Linear(random(4, 8)),
        "12": fire(4),
    })  # fmt: skip


def pooling(kind: Any) -> Any:
    two, none = np.array([2, 2]), np.array([0, 0])
    return kind(kernel_size=two, stride=two, padding=none)


def sinabs_image_parameters() -> Graph:
    first = nir.Flatten({"input": np.array([2, 6, 6])}, 0, 0)
    last = nir.Flatten({"input": np.array([1, 1])}, 0, -1)
    return chain({
        **ends([2, 6, 6], 1), "0": first, "1": conv(4, 2, (6, 6)), "2": fire(6, 6),
        "3": pooling(nir.SumPool2d), "4": conv(5, 4, (3, 3), padding=(0, 0)), "5": fire(1, 1),
        "6": last,
    })  # fmt: skip


def strided_conv() -> Graph:
    flat = nir.Flatten({"input": np.array([5, 1, 1])}, 0, -1)
    return chain({
        **ends([2, 10, 10], 5), "1": conv(4, 2, (10, 10), stride=(2, 2)), "2": fire(4, 5, 5),
        "3": conv(6, 4, (5, 5), stride=(2, 2)), "4": fire(6, 3, 3),
        "9": conv(5, 6, (3, 3), padding=(0, 0)), "10": fire(5, 1, 1), "11": flat,
    })  # fmt: skip


def neurocuda_mlp() -> Graph:
    return chain({
        **ends(20, 5), "fc1": nir.Affine(random(16, 20), random(16, scale=0.1)),
        "if1": fire(16, threshold=1.7), "fc2": nir.Affine(random(8, 16), random(8, scale=0.1)),
        "if2": fire(8, threshold=2.2), "fc3": nir.Affine(random(5, 8), random(5, scale=0.1)),
    })  # fmt: skip


def neurocuda_cnn() -> Graph:
    thresholds = np.array([0.8, 1.3, 2.0])[:, None, None]
    return chain({
        **ends([2, 8, 8], 4),
        "conv1": conv(3, 2, (8, 8), 5, padding=(2, 2), bias=random(3, scale=0.1)),
        "if1": fire(3, 8, 8, threshold=thresholds), "pool1": pooling(nir.AvgPool2d),
        "conv2": conv(5, 3, (4, 4), bias=random(5, scale=0.1)), "if2": fire(5, 4, 4),
        "pool2": pooling(nir.AvgPool2d),
        "flatten": nir.Flatten({"input": np.array([5, 2, 2])}, 0, -1),
        "fc": nir.Affine(random(4, 20), random(4, scale=0.1)),
    })  # fmt: skip


def if_synfire() -> Graph:
    ring = np.roll(np.eye(10, dtype=np.float32), 1, axis=0)
    first = np.zeros((10, 1), np.float32)
    first[0] = 2.0
    nodes = {**ends(1, 10), "in": nir.Linear(first), "ring": nir.Linear(2 * ring), "if": fire(10)}
    return nodes, [("input", "in"), ("in", "if"), ("if", "ring"), ("ring", "if"), ("if", "output")]


def swavelet() -> Graph:
    stage = nir.LI(tau=np.linspace(1e-3, 8e-3, 4), r=np.ones(4), v_leak=np.zeros(4))
    return chain({
        **ends(1, 3), "fanout": nir.Affine(np.ones((4, 1)), np.zeros(4)), "li_stage_0": stage,
        "connectivity": nir.Affine(random(3, 4), np.zeros(3)), "lif": lif(3),
    })  # fmt: skip


def feedback_graph() -> Graph:
    nodes = {
        **ends(3, 3), "state": lif(20, 0.02, 1.0, 1.0),
        "state_weights": nir.Affine(random(20, 3), random(20)),
        "feedback_weights": nir.Affine(random(3, 20), np.zeros(3, int)),
        "feedback_ir": nir.LI(tau=np.full(3, 0.1), r=np.ones(3, int), v_leak=np.zeros(3, int)),
        "output_probe_conn_weights": nir.Affine(random(3, 20), np.zeros(3, int)),
    }  # fmt: skip
    return nodes, [
        ("state_weights", "state"), ("state", "output_probe_conn_weights"),
        ("output_probe_conn_weights", "output"), ("state", "feedback_weights"),
        ("feedback_weights", "feedback_ir"), ("feedback_ir", "state_weights"), ("input", "output"),
    ]  # fmt: skip


def nirviz_srnn() -> Graph:
    drawn = np.array([0.93147, 1.47372])
    node = nir.CubaLIF(
        tau_mem=drawn, tau_syn=drawn, r=drawn, v_leak=drawn, v_threshold=drawn, v_reset=drawn
    )
    affine = lambda: nir.Affine(np.zeros((2, 2)), False)  # noqa: E731
    nodes = {
        **ends(2, 2), "affine1": affine(), "cu1": node, "affine_rec": affine(),
        "affine2": affine(), "cu2": node,
    }  # fmt: skip
    return nodes, [
        ("input", "affine1"), ("affine1", "cu1"), ("affine_rec", "cu1"), ("cu1", "affine_rec"),
        ("cu1", "affine2"), ("affine2", "cu2"), ("cu2", "output"),
    ]  # fmt: skip


def lava_oxford() -> Graph:
    """lava-dl's integers: decays in 1/4096, thresholds in 1/64."""

    def neurons(n: int) -> Any:
        node = cuba(n, DT * 4096 / 1024, DT * 4096 / 128, v_reset=np.zeros(n))
        node.v_threshold[:] = 80.25
        return node

    whole = lambda n, m: np.round(random(n, m) * 20) * 2.0  # noqa: E731
    delay = nir.Delay(np.array([0, 1, 3, 2]) * DT)
    return chain({
        **ends(6, 3), "0": nir.Linear(whole(4, 6)), "1": neurons(4), "2": delay,
        "3": nir.Linear(whole(3, 4)), "4": neurons(3),
    })  # fmt: skip


def lava_no_decay() -> Graph:
    node = cuba(3, DT, 1.0)
    node.tau_mem[:], node.r[:] = np.inf, np.inf
    return chain({**ends(4, 3), "0": nir.Linear(np.ones((3, 4))), "1": node})


def spyx_shd() -> Graph:
    """Spyx writes dt = 1: time constants in time steps."""

    def layer(n: int) -> Any:
        beta = np.full(n, 0.8)
        return nir.LIF(
            tau=1 / (1 - beta), r=1 / (1 - beta), v_leak=0 * beta, v_threshold=np.ones(n)
        )

    return chain({
        **ends(10, 4), "0": nir.Linear(random(6, 10)), "1": layer(6), "2": nir.Linear(random(4, 6)),
        "3": layer(4),
    })  # fmt: skip


def spyx_readout() -> Graph:
    nodes, _ = spyx_shd()
    beta = np.full(4, 0.8)
    nodes["3"] = nir.LI(tau=1 / (1 - beta), r=1 / (1 - beta), v_leak=0 * beta)
    return chain(nodes)


def snntorch_lif() -> Graph:
    beta = np.float32(0.9)
    tau = np.float32(DT / (1 - beta))
    node = nir.LIF(
        tau=tau, r=tau / DT, v_leak=0 * tau, v_threshold=np.float64(1.0), v_reset=np.float64(0.0)
    )
    return chain({**ends(8, 5), "0": nir.Affine(random(5, 8), random(5, scale=0.1)), "1": node})


def nengo() -> Graph:
    return chain({
        **ends(3, 12), "1": nir.Affine(random(12, 3), random(12, scale=3.0)),
        "2": lif(12, 0.02, 1.0, 1.0),
    })  # fmt: skip


def hxtorch() -> Graph:
    end = nir.CubaLI(
        tau_syn=np.full(3, 1e-3), tau_mem=np.full(3, 1e-3), r=np.ones(3), v_leak=np.zeros(3)
    )
    return chain({
        **ends(5, 3), "0": nir.Linear(random(8, 5)), "1": cuba(8, 1e-3, 1e-3),
        "2": nir.Linear(random(3, 8)), "3": end,
    })  # fmt: skip


def recurrent_linear_output_in_middle() -> Graph:
    """Norse's recurrent cells: the loop beside the input's weights, and a scale."""
    nodes = {
        **ends(6, 4), "w_in": nir.Linear(random(4, 6)), "lif": lif(4, 1e-3, 10.0, 1.0),
        "w_rec": nir.Linear(random(4, 4, scale=0.4)), "gain": nir.Scale(np.full(4, 0.5)),
    }  # fmt: skip
    return nodes, [
        ("input", "w_in"), ("w_in", "lif"), ("lif", "w_rec"), ("w_rec", "gain"), ("gain", "lif"),
        ("lif", "output"),
    ]  # fmt: skip


def branches_merging() -> Graph:
    nodes = {
        **ends(5, 3), "a": nir.Affine(random(3, 5), random(3)), "b": lif(3, 1e-3, 10.0, 1.0),
        "c": nir.Affine(random(3, 3), np.zeros(3)), "skip": nir.Affine(random(3, 5), np.zeros(3)),
        "junction": lif(3, 1e-3, 10.0, 1.0),
    }  # fmt: skip
    return nodes, [
        ("input", "a"), ("a", "b"), ("b", "c"), ("c", "junction"), ("input", "skip"),
        ("skip", "junction"), ("junction", "output"),
    ]  # fmt: skip


def conv1d() -> Graph:
    weight = random(4, 2, 3)
    node = nir.Conv1d(12, weight, 1, "same", 1, 1, random(4, scale=0.1))
    tau = np.full((4, 12), 1e-3)
    cells = nir.LIF(tau=tau, r=tau / DT, v_leak=0 * tau, v_threshold=0 * tau + 1.0)
    return chain({**ends([2, 12], [4, 12]), "0": node, "1": cells})


IMPORTED: dict[str, tuple[Callable[[], Graph], float, int]] = {
    # builder, time step, fewest spikes of the run
    "lif_norse": (lif_norse, DT, 1),
    "lif_rockpool": (lif_rockpool, DT, 1),
    "two_lif_neurons": (two_lif_neurons, DT, 1),
    "braille_noDelay_bias_zero": (braille, DT, 50),
    "braille_noDelay_noBias_subtract": (lambda: braille(bias=False), DT, 50),
    "braille_noDelay_bias_zero_subgraph": (braille_subgraph, DT, 50),
    "braille_noDelay_noBias_subtract_subgraph": (lambda: braille_subgraph(bias=False), DT, 50),
    "braille_flattened": (lambda: braille(dotted=False), DT, 50),
    "braille, with a batch of one": (lambda: braille(batch=True), DT, 50),
    "braille without w_in": (lambda: braille(w_in=False), DT, 20),
    "cnn_sinabs": (lambda: scnn(pooling(nir.SumPool2d)), DT, 50),
    "scnn_mnist": (lambda: scnn(pooling(nir.AvgPool2d)), DT, 50),
    "cnn_sinabs, one image of parameters": (sinabs_image_parameters, DT, 50),
    "exported_models, strided convolutions": (strided_conv, DT, 50),
    "neurocuda_mlp_mnist": (neurocuda_mlp, DT, 50),
    "neurocuda_cnn_nmnist": (neurocuda_cnn, DT, 50),
    "ifsynfire": (if_synfire, DT, 20),
    "network.nir of lava-dl": (lava_oxford, DT, 3),
    "spyx_shd": (spyx_shd, 1.0, 50),
    "snnTorch lif.nir, numbers without dimensions": (snntorch_lif, DT, 20),
    "nengo LIF": (nengo, 1e-3, 10),
    "norse recurrent cell": (recurrent_linear_output_in_middle, DT, 20),
    "branches that merge": (branches_merging, DT, 20),
    "conv1d": (conv1d, DT, 20),
    "spyx LI readout": (spyx_readout, 1.0, 20),
    "hxtorch CubaLI": (hxtorch, DT, 20),
}
REFUSED: dict[str, tuple[Callable[[], Graph], float, list[str]]] = {
    "swavelet": (
        swavelet, DT,
        ["li_stage_0/tau: differs within the layer, whose integrators share one decay"],
    ),
    "feedback_graph": (
        feedback_graph, DT,
        ["feedback_ir: a LI in the loop of state; only Linear, Affine, Scale, Flatten"],
    ),
    "srnn of nirviz": (nirviz_srnn, DT, [
        "cu1: resets to 0.93147, not to 0; integer neurons reset to 0",
        "cu2: resets to 0.93147, not to 0; integer neurons reset to 0",
    ]),
    "braille of norse, 38 parameters for 7 neurons": (braille_wrong_sizes, DT, [
        "lif2: reads 7 values, but has 38 values of tau_syn, tau_mem, r, v_leak, w_in, "
        "v_threshold, v_reset",
    ]),
    "lava-dl without decay": (lava_no_decay, DT, ["1: r is not finite"]),
}  # fmt: skip


def written(graph: Graph, path: Path) -> Path:
    nir.write(path, nir.NIRGraph(*graph, type_check=False))
    return path


@pytest.mark.parametrize("name", IMPORTED)
def test_imports_with_spikes_that_the_printed_errors_explain(name: str, tmp_path: Path) -> None:
    build, time_step, fewest = IMPORTED[name]
    graph = build()
    path = written(graph, tmp_path / "a.nir")
    size = int(np.prod(graph[0]["input"].input_type["input"]))
    raster = (np.random.default_rng(1).random((150, size)) < 0.3).astype(np.int32)
    found = check_nir(path, bits=8, time_step=time_step, raster=raster)
    assert found.problems == ()
    assert found.spikes and not [line for row in found.spikes for line in row.unexplained]
    assert all(row.until == 150 for row in found.spikes)
    assert sum(row.integer_spikes for row in found.spikes) >= fewest
    real = sum(row.float_spikes for row in found.spikes)
    # quantised to 8 bits, so near and not equal: every step was compared above
    assert sum(row.integer_spikes for row in found.spikes) == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_the_one_true_reason(name: str, tmp_path: Path) -> None:
    build, time_step, reasons = REFUSED[name]
    found = check_nir(written(build(), tmp_path / "a.nir"), bits=8, time_step=time_step)
    assert list(found.problems) == reasons
