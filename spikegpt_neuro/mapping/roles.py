"""What each kind of layer is on a chip: synapses, neurons, wiring, or input from the host."""

from __future__ import annotations

from typing import Final, Literal

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.layers import TokenShift
from spikegpt_neuro.network.schema import Layer

Role = Literal["synapse", "neuron", "wiring", "input"]

_ROLES: Final[dict[str, Role]] = {
    "binary_embedding": "input",
    "real_embedding": "input",
    "layer_norm": "neuron",
    "delay": "neuron",
    "token_shift": "neuron",
    "requantise": "neuron",
    "readout": "neuron",
    "dense": "synapse",
    "sigmoid": "neuron",
    "squared_relu": "neuron",
    "wkv": "neuron",
    "product": "neuron",
    "lif": "neuron",
    "residual": "neuron",
    "raster_input": "input",
    "netx_dense": "synapse",
    "netx_convolution": "synapse",
    "channel_delay": "wiring",
    "cuba": "neuron",
    "recurrent_cuba": "neuron",
    "alif": "neuron",
    "recurrent_alif": "neuron",
    "sigma": "neuron",
    "delta": "neuron",
    "sigma_delta": "neuron",
}


def role(layer: Layer) -> Role:
    """The part a layer plays on a chip.

    ``synapse``: weights, stored with the neurons they end at. ``neuron``: one neuron a channel (a
    token's delay is a neuron that holds a value). ``wiring``: a hard token shift, which only
    selects axons, and a chain's delays of time steps, which axons and synapses have. ``input``: an
    embedding or a raster, sent in by the host. Raises InputError for a kind this
    version does not know, so that nothing is left out of a report silently.
    """
    if layer.kind not in _ROLES:
        raise InputError(
            f"{layer.name}: no cost model for a layer of kind {layer.kind!r}.",
            [f"known kinds: {', '.join(sorted(_ROLES))}"],
        )
    if isinstance(layer, TokenShift) and layer.is_hard:
        return "wiring"
    return _ROLES[layer.kind]


def synapses_of(network: Network) -> dict[str, tuple[str, ...]]:
    """For every neuron layer, the layers whose synapses end at it, in order."""
    ends: dict[str, list[str]] = {}
    for layer in network.layers:
        if role(layer) in ("synapse", "wiring"):
            continue
        for source in layer.inputs:
            for origin in made_by(network, source):
                if role(network[origin]) == "synapse":
                    ends.setdefault(layer.name, []).append(origin)
    return {name: tuple(sources) for name, sources in ends.items()}


def levels(network: Network) -> dict[str, int]:
    """Time step, counted from the token's arrival, in which each layer works in fall-through mode.

    A neuron works one step after the last neuron it hears from; synapses and wiring take no step of
    their own; the input is step 0. The largest level is the number of steps a token needs.
    """
    found: dict[str, int] = {}
    for layer in network.layers:
        before = max((found[s] for s in layer.inputs if s != TOKEN), default=0)
        found[layer.name] = before + (role(layer) == "neuron")
    return found


def balancing_words(network: Network) -> int:
    """Words that must wait in delay lines for pipelined mode, where paths of unequal length join.

    In pipelined mode a value needed ``k`` steps after it was made waits ``k - 1`` steps; this is
    the sum over all values, each held once for its latest reader.
    """
    level = levels(network)
    latest: dict[str, int] = {}
    for layer in network.layers:
        if role(layer) == "wiring":
            continue
        works = level[layer.name] if role(layer) == "neuron" else level[layer.name] + 1
        for source in layer.inputs:
            for origin in made_by(network, source):
                if role(network[origin]) != "synapse":
                    latest[origin] = max(latest.get(origin, 0), works - level[origin] - 1)
    return sum(steps * network[name].output.size for name, steps in latest.items())


def made_by(network: Network, name: str) -> tuple[str, ...]:
    """The layers that make the values of ``name``, seen through wiring."""
    if name == TOKEN:
        return ()
    if role(network[name]) != "wiring":
        return (name,)
    return tuple(origin for source in network[name].inputs for origin in made_by(network, source))
