"""How the parts that layers play on a chip (``Layer.role``) lie: who ends where, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.schema import Layer


class Graph(Protocol):
    """What is mapped and priced: a network's layers, or the units of a ``Machine``."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In execution order."""

    @property
    def by_name(self) -> Mapping[str, Layer]:
        """The same by name."""

    @property
    def spiking_layers(self) -> tuple[str, ...]:
        """Names of the layers of LIF neurons."""

    def __getitem__(self, name: str) -> Layer: ...

    def bound(self, layer: Layer) -> int:
        """See ``Network.bound``."""


def synapses_of(network: Graph) -> dict[str, tuple[str, ...]]:
    """For every neuron layer, the layers whose synapses end at it, in order."""
    ends: dict[str, list[str]] = {}
    for layer in network.layers:
        if layer.role in ("synapse", "wiring"):
            continue
        for source in layer.inputs:
            for origin in made_by(network, source):
                if network[origin].role == "synapse":
                    ends.setdefault(layer.name, []).append(origin)
    return {name: tuple(sources) for name, sources in ends.items()}


def depths(network: Network) -> dict[str, int]:
    """Time step, counted from the token's arrival, in which each layer works in fall-through mode.

    A neuron works one step after the last neuron it hears from; synapses and wiring take no step of
    their own; the input is step 0. The largest depth is the number of steps a token needs.
    """
    found: dict[str, int] = {}
    for layer in network.layers:
        before = max((found[s] for s in layer.inputs if s != TOKEN), default=0)
        found[layer.name] = before + (layer.role == "neuron")
    return found


def balancing_words(network: Network) -> int:
    """Words that must wait in delay lines for pipelined mode, where paths of unequal length join.

    In pipelined mode a value needed ``k`` steps after it was made waits ``k - 1`` steps; this is
    the sum over all values, each held once for its latest reader.
    """
    depth = depths(network)
    latest: dict[str, int] = {}
    for layer in network.layers:
        if layer.role == "wiring":
            continue
        works = depth[layer.name] if layer.role == "neuron" else depth[layer.name] + 1
        for source in layer.inputs:
            for origin in made_by(network, source):
                if network[origin].role != "synapse":
                    latest[origin] = max(latest.get(origin, 0), works - depth[origin] - 1)
    return sum(steps * network[name].output.size for name, steps in latest.items())


def made_by(network: Graph, name: str) -> tuple[str, ...]:
    """The layers that make the values of ``name``, seen through wiring."""
    if name == TOKEN:
        return ()
    if network[name].role != "wiring":
        return (name,)
    return tuple(origin for source in network[name].inputs for origin in made_by(network, source))
