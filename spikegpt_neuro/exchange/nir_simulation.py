"""NIR's equations in float64, node by node: what an import is compared with.

A time step of every node, by the equations of NIR (nir 1.0.8, ``nir/ir/neuron.py``) with forward
Euler, currents before voltages. Nothing here is shared with the import but the graph as it was
read: weights are not folded, gains not gathered. What several edges bring to a node is added. In a
loop, neurons are heard a step late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange.nir_graph import NEURONS, Graph, Node

FloatArray = npt.NDArray[np.float64]


@dataclass
class Simulation:
    """``values``: what each node gave, [T, n] flat. ``voltages``: of neurons, before resets.

    ``currents``: of neurons that have one, by node.
    """

    values: dict[str, FloatArray]
    voltages: dict[str, FloatArray]
    currents: dict[str, FloatArray]


def simulate(
    graph: Graph,
    raster: npt.NDArray[np.generic],
    time_step: float,
    forced: Mapping[str, npt.NDArray[np.generic]] | None = None,
) -> Simulation:
    """Run ``graph`` on ``raster`` [T, inputs].

    ``forced``: spikes [T, n] of neurons that are taken for what they send, and for when they are
    reset, so that one step can be compared at a time. Raises ``InputError`` for a loop without
    neurons.
    """
    directed = nx.DiGraph((s, n) for n, sources in graph.sources.items() for s in sources)
    directed.add_nodes_from(graph.nodes)
    part = {
        n: i for i, group in enumerate(nx.strongly_connected_components(directed)) for n in group
    }
    late = {
        (s, n) for s, n in directed.edges if part[s] == part[n] and graph.nodes[s].kind in NEURONS
    }
    directed.remove_edges_from(late)
    try:
        order = list(nx.topological_sort(directed))
    except nx.NetworkXUnfeasible as error:
        raise InputError("a loop without neurons has no order to be computed in.") from error
    steps = len(raster)
    state: dict[str, dict[str, FloatArray]] = {name: {} for name in order}
    now: dict[str, FloatArray] = {}
    rows: dict[str, list[FloatArray]] = {name: [] for name in order}
    voltages: dict[str, list[FloatArray]] = {n: [] for n in order if graph.nodes[n].kind in NEURONS}
    currents: dict[str, list[FloatArray]] = {
        n: [] for n in voltages if graph.nodes[n].kind in ("CubaLIF", "CubaLI")
    }
    before: dict[str, FloatArray] = {}
    for t in range(steps):
        for name in order:
            node = graph.nodes[name]
            if node.kind == "Input":
                shape = tuple(int(v) for v in np.atleast_1d(node.values["shape"]))
                now[name] = np.asarray(raster[t], np.float64).reshape(shape)
            else:
                heard = [
                    before.get(s) if (s, name) in late else now.get(s) for s in graph.sources[name]
                ]
                present = [value for value in heard if value is not None]
                total = sum(present[1:], start=present[0]) if present else _silence(node)
                if total is None:
                    continue  # in a loop, before the first spike
                now[name] = _step(node, total, state[name], time_step)
            if name in voltages:
                voltages[name].append(state[name]["v"].reshape(-1).copy())
                if name in currents:
                    currents[name].append(state[name]["i"].reshape(-1).copy())
                spikes = (forced or {}).get(name)
                fired = now[name] if spikes is None else np.reshape(spikes[t], now[name].shape)
                if node.kind in ("IF", "LIF", "CubaLIF"):
                    reset = node.array("v_reset", 0.0)
                    state[name]["v"] = np.where(fired > 0, _fit(reset, fired), state[name]["v"])
                now[name] = np.asarray(fired, np.float64)
            rows[name].append(now[name].reshape(-1))
        before, now = now, {}
    return Simulation(
        {n: np.array(row) for n, row in rows.items()},
        {n: np.array(row) for n, row in voltages.items()},
        {n: np.array(row) for n, row in currents.items()},
    )


def _silence(node: Node) -> FloatArray | None:
    """What a node of a loop hears before the first spikes, where its parameters tell the size."""
    if node.kind in ("Linear", "Affine"):
        return np.zeros(node.array("weight").shape[-1])
    if node.kind in NEURONS:
        return np.zeros(max(node.array(k).shape for k in ("r", "threshold") if k in node.values))
    return None


def _fit(values: FloatArray, like: FloatArray) -> FloatArray:
    """A parameter in the shape of what it applies to, or one that numpy extends to it."""
    return values.reshape(like.shape) if values.size == like.size else values


def _step(node: Node, x: FloatArray, state: dict[str, FloatArray], dt: float) -> FloatArray:
    """What a node gives for ``x``; neurons' voltages stay before the reset in ``state``."""
    kind = node.kind
    if kind in ("Output", "Input"):
        return x
    if kind == "Flatten":
        first, last = int(node.array("start_dim", 1).max()), int(node.array("end_dim", -1).max())
        last = last + x.ndim if last < 0 else last
        return x.reshape(*x.shape[:first], -1, *x.shape[last + 1 :]) if first < x.ndim else x
    if kind in ("Linear", "Affine"):
        y = node.array("weight") @ x.reshape(-1)
        return y + node.array("bias", 0.0).reshape(-1) if kind == "Affine" else y
    if kind == "Scale":
        return x * _fit(node.array("scale"), x)
    if kind in ("Conv1d", "Conv2d"):
        return _convolution(node, x)
    if kind in ("SumPool2d", "AvgPool2d"):
        size, stride, padding = (_pair(node, k) for k in ("kernel_size", "stride", "padding"))
        padded = np.pad(x, [(0, 0), (padding[0],) * 2, (padding[1],) * 2])
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(1, 2))
        summed = windows[:, :: stride[0], :: stride[1]].sum(axis=(3, 4))
        return summed / (size[0] * size[1]) if kind == "AvgPool2d" else summed
    if kind == "Delay":
        return _delayed(node, x, state, dt)
    return _neuron(node, x, state, dt)


def _neuron(node: Node, x: FloatArray, state: dict[str, FloatArray], dt: float) -> FloatArray:
    def parameter(key: str, default: float | None = None) -> FloatArray:
        return _fit(node.array(key, default), x)

    kind = node.kind
    v = state.get("v", np.zeros(x.shape))
    if kind == "Threshold":
        state["v"] = x
        return (x > parameter("threshold")).astype(np.float64)
    current = x
    if kind in ("CubaLIF", "CubaLI"):
        i = state.get("i", np.zeros(x.shape))
        i = i + dt / parameter("tau_syn") * (-i + parameter("w_in", 1.0) * x)
        state["i"] = current = i
    if kind in ("I", "IF"):
        v = v + parameter("r") * current
    else:
        tau = parameter("tau_mem" if kind.startswith("Cuba") else "tau")
        v = v + dt / tau * (parameter("v_leak") - v + parameter("r") * current)
    state["v"] = v
    if kind in ("I", "LI", "CubaLI"):
        return v
    return (v > parameter("v_threshold")).astype(np.float64)


def _delayed(node: Node, x: FloatArray, state: dict[str, FloatArray], dt: float) -> FloatArray:
    steps = np.broadcast_to(np.round(node.array("delay").reshape(-1) / dt).astype(int), x.size)
    line = state.get("line", np.zeros((int(steps.max()) + 1, x.size)))
    state["line"] = line = np.concatenate([x.reshape(1, -1), line[:-1]])
    return line[steps, np.arange(x.size)].reshape(x.shape)


def _pair(node: Node, key: str) -> tuple[int, int]:
    first, second = np.broadcast_to(node.array(key).astype(int).reshape(-1), 2)
    return int(first), int(second)


def _convolution(node: Node, x: FloatArray) -> FloatArray:
    """A correlation with zeros around, as PyTorch's ``conv1d`` and ``conv2d``."""
    weight = node.array("weight")
    flat = node.kind == "Conv1d"
    channels = weight.shape[1] * int(node.array("groups").reshape(-1)[0])
    if x.ndim == 1 and not flat:
        x = x.reshape(channels, *node.array("input_shape").astype(int).reshape(-1))
    image = x.reshape(channels, 1, -1) if flat else x.reshape(x.shape[-3:])
    weight = weight[:, :, None] if flat else weight
    stride, dilation = (np.array(_pair(node, k)) for k in ("stride", "dilation"))
    reach = dilation * (np.array(weight.shape[2:]) - 1)
    padding = node.values["padding"]
    if isinstance(padding, str):
        low = reach // 2 if padding == "same" else np.zeros(2, int)
        high = reach - low if padding == "same" else np.zeros(2, int)
    else:
        low = np.array(_pair(node, "padding"))
        low = np.where([flat, False], 0, low)
        high = low
    padded = np.pad(image, [(0, 0), (low[0], high[0]), (low[1], high[1])])
    windows = np.lib.stride_tricks.sliding_window_view(padded, tuple(reach + 1), axis=(1, 2))
    taps = windows[:, :: 1 if flat else stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    groups = int(node.array("groups").reshape(-1)[0])
    parts = zip(np.split(weight, groups), np.split(taps, groups), strict=True)
    y = np.concatenate([np.einsum("ocij,chwij->ohw", w, t) for w, t in parts])
    y = y + np.broadcast_to(node.array("bias", 0.0).reshape(-1), len(y))[:, None, None]
    return y[:, 0] if flat else y
