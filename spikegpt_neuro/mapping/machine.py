"""What a target runs: the layers of a network, or the processes of its fine graph.

Mapping, time and energy look at a ``Machine``. On targets that load the fine graph it is made of
that graph's elements (``decomposition``): populations of neurons, and the synapses, delays, sums of
norms and gates between them, each in the time step in which the graph works. On others it is the
layers themselves, a neuron layer a time step.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from spikegpt_neuro.decomposition.decomposition import fine_problems
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping.fine_units import fine_machine
from spikegpt_neuro.mapping.roles import depths
from spikegpt_neuro.mapping.units import Machine
from spikegpt_neuro.network import LanguageModel, Network

_machines: WeakKeyDictionary[Network, Machine] = WeakKeyDictionary()


def layers_as_they_are(network: Network) -> Machine:
    """A machine that runs every layer as one program."""
    found = depths(network)
    return Machine(
        network, network.layers, {layer.name: layer.name for layer in network.layers},
        {name: (step,) for name, step in found.items()}, max(found.values()), False,
    )  # fmt: skip


def machine_of(network: Network, profile: Profile) -> Machine:
    """What ``profile`` runs of ``network``.

    The fine graph where the target loads it and the network has one; else the layers: of a chain
    they are the stock processes.
    """
    if not profile.can("fine_graph") or not isinstance(network, LanguageModel):
        return layers_as_they_are(network)
    found = _machines.get(network)
    if found is None:
        found = layers_as_they_are(network) if fine_problems(network) else fine_machine(network)
        _machines[network] = found
    return found
