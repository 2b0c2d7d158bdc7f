"""Axons between cores: to how many cores each value goes, and how many leave a core."""

from __future__ import annotations

from collections.abc import Mapping

from spikegpt_neuro.mapping.cores import Core
from spikegpt_neuro.mapping.roles import Graph, made_by, synapses_of
from spikegpt_neuro.mapping.synapses import projection


def reach(network: Graph, cores: tuple[Core, ...]) -> dict[str, int]:
    """For every neuron layer whose values meet synapses, the cores each value is sent to.

    These are the output axons of one of its neurons. Of a convolution these are the cores whose
    receptive fields hold the value, at most.
    """
    ends = synapses_of(network)
    holders: dict[str, int] = {}
    for core in cores:
        for part in core.slices:
            holders[part.layer] = holders.get(part.layer, 0) + 1
    found: dict[str, int] = {}
    for name, synapses in ends.items():
        for synapse in synapses:
            reached = holders[name]
            geometry = projection(network, synapse).geometry
            if geometry is not None:
                # columns of the output one column of the input meets, and the stripes they lie in
                met = -(-((geometry[7] - 1) * geometry[13] + 1) // geometry[9])
                stripe = geometry[5] / reached
                reached = min(reached, 1 + int(-(-(met - 1) // max(1.0, stripe))))
            for origin in made_by(network, network[synapse].inputs[0]):
                found[origin] = found.get(origin, 0) + reached
        # recurrent synapses: a neuron's spikes also go to the cores of its own layer
        if network[name].fan_in and name in holders:
            found[name] = found.get(name, 0) + holders[name]
    return found


def output_axons(core: Core, reached: Mapping[str, int]) -> int:
    """Axons that leave a core: one for each neuron and each core it sends to."""
    return sum(part.neurons * reached.get(part.layer, 0) for part in core.slices)


def input_axons(network: Graph, core: Core) -> int:
    """Axons that end at a core: one for each operand its synapses read."""
    ends = synapses_of(network)
    vectors = {network[name].inputs[0] for part in core.slices for name in ends.get(part.layer, ())}
    return sum(network[vector].output.size for vector in vectors)
