"""Loops of a NIR graph: neurons that hear themselves through linear nodes, a time step late.

NIR's equations have no delay on an edge, and in discrete time a loop needs one: neurons hear the
spikes of the time step before, as snnTorch's and Norse's recurrent cells do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import networkx as nx
import numpy as np

from spikegpt_neuro.exchange.nir_graph import Graph
from spikegpt_neuro.exchange.nir_neurons import FloatArray

RECURRENT = ("IF", "LIF", "CubaLIF")
LINEAR = ("Linear", "Affine", "Scale", "Flatten")


@dataclass(frozen=True)
class FeedbackWeights:
    """``weight`` [n, n] and ``bias`` [n] between a layer of neurons and itself."""

    name: str
    weight: FloatArray
    bias: FloatArray


@dataclass
class Feedback:
    """``weights`` by node of neurons; ``broken``: nodes of loops that were refused."""

    weights: dict[str, FeedbackWeights] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)


class _Refused(Exception):
    """Why a loop cannot be held; empty where that is told already."""


def take_feedback(graph: Graph) -> tuple[Feedback, dict[str, list[str]], list[str]]:
    """Feedback of each layer of neurons, the sources left without it, and what is refused."""
    sources = {name: list(s) for name, s in graph.sources.items()}
    directed = nx.DiGraph((s, n) for n, names in sources.items() for s in names)
    feedback, problems = Feedback(), []
    for group in nx.strongly_connected_components(directed):
        inside = [name for name in graph.nodes if name in group]
        if len(inside) == 1 and inside[0] not in sources[inside[0]]:
            continue
        try:
            neuron, found = _loop(graph, directed, inside)
        except _Refused as reason:
            problems += [str(reason)] if str(reason) else []
            feedback.broken |= group
            continue
        feedback.weights[neuron] = found
        sources[neuron] = [s for s in sources[neuron] if s not in group]
        for name in group - {neuron}:
            del sources[name]
    return feedback, sources, problems


def _loop(graph: Graph, directed: nx.DiGraph, inside: list[str]) -> tuple[str, FeedbackWeights]:
    """The neurons of a loop and the weights of all ways from them back to them."""
    if any(not graph.nodes[n].kind for n in inside):
        raise _Refused
    neurons = [n for n in inside if graph.nodes[n].kind in RECURRENT]
    linear = [n for n in inside if n not in neurons]
    among = directed.subgraph(linear)
    if not neurons or not nx.is_directed_acyclic_graph(among):
        raise _Refused(f"a loop without neurons that fire ({', '.join(inside)}) has no delay")
    if len(neurons) > 1:
        raise _Refused(
            f"a loop through {len(neurons)} layers of neurons ({', '.join(neurons)}); integer "
            "neurons hear only themselves"
        )
    neuron = neurons[0]
    for name in linear:
        kind = graph.nodes[name].kind
        outside = [s for s in graph.sources[name] if s not in inside]
        away = [r for r in graph.readers(name) if r not in inside]
        if kind not in LINEAR:
            raise _Refused(f"{name}: a {kind} in the loop of {neuron}; only {', '.join(LINEAR)}")
        if outside or away:
            where = f"reads {', '.join(outside)}" if outside else f"leads to {', '.join(away)}"
            raise _Refused(f"{name}: part of the loop of {neuron}, but also {where}")
    size = _size(graph, linear, neuron)
    ways = {neuron: (np.eye(size), np.zeros(size))}
    for name in nx.topological_sort(among):
        ways[name] = _compose(graph, name, [ways[s] for s in graph.sources[name]])
    back = [ways[s] for s in graph.sources[neuron] if s in ways]
    shapes = {w.shape for w, _ in back}
    if shapes != {(size, size)}:
        raise _Refused(f"{neuron}: hears itself through weights of shape {sorted(shapes)}")
    weight, bias = (np.sum([way[i] for way in back], axis=0) for i in (0, 1))
    return neuron, FeedbackWeights(", ".join(linear) or neuron, weight, bias)


def _size(graph: Graph, linear: list[str], neuron: str) -> int:
    """How many neurons there are, from what has one number for each."""
    for name in linear:
        if neuron in graph.sources[name] and "weight" in graph.nodes[name].values:
            return int(graph.nodes[name].array("weight").shape[-1])
    return max(graph.nodes[neuron].array(k).size for k in ("r", "v_threshold"))


def _compose(
    graph: Graph, name: str, heard: list[tuple[FloatArray, FloatArray]]
) -> tuple[FloatArray, FloatArray]:
    """Weight and bias from the neurons to behind the linear node ``name``."""
    node = graph.nodes[name]
    weight, bias = (np.sum([way[i] for way in heard], axis=0) for i in (0, 1))
    if node.kind == "Flatten":
        return weight, bias
    if node.kind == "Scale":
        factor = node.array("scale").reshape(-1)
        if factor.size not in (1, len(weight)):
            raise _Refused(f"{name}: {factor.size} factors for {len(weight)} values")
        return weight * factor[:, None], bias * factor
    matrix = node.array("weight")
    if matrix.ndim != 2 or matrix.shape[1] != len(weight):
        raise _Refused(f"{name}: weights of shape {matrix.shape} for {len(weight)} values")
    own = node.array("bias", 0.0).reshape(-1)
    if own.size not in (1, len(matrix)):
        raise _Refused(f"{name}/bias: {own.size} values for {len(matrix)} channels")
    return matrix @ weight, matrix @ bias + own
