"""When each process of the fine graph works: levels, the delays that balance them, gate lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import networkx as nx

from spikegpt_neuro.decomposition.decomposition import decompose
from spikegpt_neuro.decomposition.elements import GATED, Decomposition, Element
from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.schema import Layer
from spikegpt_neuro.network.selection import STAGE

LONGEST_DELAY = 64
"""Time steps of one stock delay: a synapse's own and 63, as 6 bits hold on Loihi 2."""


@dataclass(frozen=True)
class StagePlan:
    """The processes of one stage, sources first, delays included.

    ``stream``: name and size of the one element read from the stage before (None for the first).
    ``levels``: time step, after a token's command, in which each element works on that token.
    ``gates``: the steps after the stage's own gate arrives at which a gate is needed in it; the
    last is the next stage's. ``taps``: for each layer that is not wiring, the elements whose sum is
    its value, and the step it is there.
    """

    name: str
    layers: tuple[Layer, ...]
    elements: tuple[Element, ...]
    stream: tuple[str, int] | None
    levels: Mapping[str, int]
    base: int
    gates: tuple[int, ...]
    taps: Mapping[str, tuple[tuple[str, ...], int]]
    result: str


@dataclass(frozen=True)
class Schedule:
    """All stages, and ``depth``: time steps from a token's command to its logits."""

    stages: tuple[StagePlan, ...]
    depth: int

    @property
    def chooses(self) -> bool:
        """Whether the graph chooses the next token itself, and so has a way back."""
        return self.stages[-1].name == STAGE

    @property
    def flag_delays(self) -> int:
        """Stock delays, one behind the other, of the flags that open and close the way back: they
        arrive with the winner of the token they came with."""
        return -(-self.depth // LONGEST_DELAY)

    @property
    def elements(self) -> tuple[Element, ...]:
        """Every process of the graph."""
        return tuple(element for stage in self.stages for element in stage.elements)

    @property
    def delay_words(self) -> int:
        """Words that wait in delays: what balancing the graph costs in memory."""
        return sum(e.size * e.latency for e in self.elements if e.program == "delay")


def arrivals(elements: Mapping[str, Element]) -> dict[str, int]:
    """Time steps after a token's command at which each element's output for it is there.

    Neurons pass their spikes on within a time step, synapses deliver one step later, a layer norm
    (two synapses in a row) two: the longest path in the graph of elements, edges weighted with the
    latency of the element they lead to.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(elements)
    for element in elements.values():
        for source in {s for port in element.inputs for s in port}:
            graph.add_edge(source, element.name)
    found = {TOKEN: 0}
    for name in nx.topological_sort(graph):
        if name != TOKEN:
            sources = [found[source] for source in graph.predecessors(name)]
            found[name] = max(sources) + elements[name].latency
    return found


def balance(decomposition: Decomposition) -> dict[str, Element]:
    """The elements with stock delays in front of every port that would be read too early."""
    arrival = arrivals(decomposition.elements)
    balanced: dict[str, Element] = {}
    for element in decomposition.elements.values():
        level = arrival[element.name] - element.latency
        ports = []
        for port in element.inputs:
            waits: dict[int, list[str]] = {}
            for source in port:
                waits.setdefault(level - arrival[source], []).append(source)
            ready: tuple[str, ...] = ()
            for steps, sources in waits.items():
                ready += _delayed(tuple(sources), steps, element, decomposition, balanced)
            ports.append(ready)
        balanced[element.name] = replace(element, inputs=tuple(ports))
    return balanced


def _delayed(
    sources: tuple[str, ...],
    steps: int,
    reader: Element,
    decomposition: Decomposition,
    balanced: dict[str, Element],
) -> tuple[str, ...]:
    """``sources`` added up and delayed, in as many stock delays as it takes.

    Readers of the same sum in the same stage share its delays.
    """
    size = 0
    while steps > 0:
        size = size or decomposition.elements[sources[0]].size
        now = min(steps, LONGEST_DELAY)
        name = f"{reader.stage}/{'+'.join(sources)}.delay_{now}"
        if name not in balanced:
            balanced[name] = Element(name, "delay", size, (sources,), reader.stage, {"steps": now})
        sources, steps = (name,), steps - now
    return sources


def without_embedding(plan: StagePlan) -> StagePlan:
    """The first stage where the embedding's rows come in, not the token's spike.

    The rows have to arrive when the embedding's synapses would deliver them.
    """
    name = plan.layers[0].name
    looked_up = {element.name for element in plan.elements if element.layer == name}
    kept = tuple(
        replace(
            element,
            inputs=tuple(
                tuple(dict.fromkeys(name if source in looked_up else source for source in port))
                for port in element.inputs
            ),
        )
        for element in plan.elements
        if element.name not in looked_up
    )
    return replace(plan, elements=kept)


def schedule(network: Network) -> Schedule:
    """The balanced fine graph of ``network``, stage by stage."""
    decomposition = decompose(network)
    elements = balance(decomposition)
    arrival = arrivals(elements)
    levels = {e.name: arrival[e.name] - e.latency for e in elements.values()}
    stages: list[StagePlan] = []
    base = 0
    stream: tuple[str, int] | None = None
    for name, layers in network.stages.items():
        own = tuple(element for element in elements.values() if element.stage == name)
        (result,) = decomposition.values[layers[-1].name]
        taps = {}
        for layer in layers:
            sources = decomposition.values.get(layer.name, ())
            if sources:
                (arrived,) = {arrival[source] for source in sources}
                taps[layer.name] = (sources, arrived)
        gated = {levels[e.name] - base + e.gate_step for e in own if e.program in GATED}
        following = arrival[result]
        gates = tuple(sorted((gated | {following - base}) - {0}))
        stages.append(StagePlan(name, layers, own, stream, levels, base, gates, taps, result))
        stream, base = (result, elements[result].size), following
    return Schedule(tuple(stages), base)
