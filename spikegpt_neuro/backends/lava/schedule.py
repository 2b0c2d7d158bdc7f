"""When each layer of the fine graph works: levels, delays, and who counts what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx

from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.layers import Dense, Layer


@dataclass(frozen=True)
class NeuronPlan:
    """One layer of neurons in the fine graph.

    ``level``: time steps after a token's command at which the layer works on that token.
    ``delays``: axonal delay of each input, so that all arrive together. ``feeds``: dense layers its
    spikes drive; ``collects``: dense layers whose accumulators it is the first to read.
    """

    layer: Layer
    level: int
    delays: tuple[int, ...]
    feeds: tuple[Dense, ...]
    collects: tuple[tuple[int, Dense], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Layers whose values these neurons know: their own, and what they collect."""
        return (self.layer.name, *(dense.name for _, dense in self.collects))

    def size_of(self, name: str) -> int:
        """Size of one of ``names``."""
        collected = {dense.name: dense.output.size for _, dense in self.collects}
        return collected.get(name, self.layer.output.size)


def available_at(network: Network) -> dict[str, int]:
    """Time steps after a token's command at which each layer's output for it is there.

    Neurons pass their spikes on within a time step; synapses (dense layers) deliver one step later.
    So it is the largest number of dense layers on any way from the token: the longest path in the
    network's graph, with weight 1 for edges out of a dense layer.
    """
    arrival: dict[str, int] = {}
    for name in nx.topological_sort(network.graph):
        sources = [s for s in network[name].inputs if s != TOKEN]
        arrival[name] = max((arrival[source] for source in sources), default=0)
        arrival[name] += isinstance(network[name], Dense)
    return arrival


def plan_neurons(network: Network) -> dict[str, NeuronPlan]:
    """The plan of every layer that is not dense, in execution order."""
    arrival = available_at(network)
    feeds: dict[str, list[Dense]] = {}
    collected: set[str] = set()
    plans = {}
    for layer in network.layers:
        if isinstance(layer, Dense):
            feeds.setdefault(layer.inputs[0], []).append(layer)
    for layer in network.layers:
        if isinstance(layer, Dense):
            continue
        collects = []
        for i, source in enumerate(layer.inputs):
            dense = network.by_name.get(source)
            if isinstance(dense, Dense) and source not in collected:
                collected.add(source)
                collects.append((i, dense))
        delays = tuple(arrival[layer.name] - arrival[s] for s in layer.inputs if s != TOKEN)
        plans[layer.name] = NeuronPlan(
            layer, arrival[layer.name], delays, tuple(feeds.get(layer.name, ())), tuple(collects)
        )
    return plans


def delay_words(plans: Mapping[str, NeuronPlan], network: Network) -> int:
    """Words that wait in axonal delays: what balancing the graph costs in memory."""
    return sum(
        delay * network[source].output.size
        for plan in plans.values()
        for delay, source in zip(plan.delays, plan.layer.inputs, strict=False)
    )
