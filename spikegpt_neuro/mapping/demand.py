"""What each neuron layer needs of cores: its synapses, its words, and how it may be cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spikegpt_neuro.mapping.encoding import BYTE_BITS
from spikegpt_neuro.mapping.roles import Graph, made_by, synapses_of
from spikegpt_neuro.mapping.synapses import Synapses, projection, recurrent, stored_bytes
from spikegpt_neuro.network.schema import Layer

WORD_BYTES: Final = 4
"""State and parameters are 32-bit words."""


@dataclass(frozen=True)
class Demand:
    """What one neuron layer needs: its synapses, words of one neuron, and how it may be cut.

    ``columns``: columns of the image its channels form, 1 where they form none.
    """

    layer: Layer
    synapses: tuple[Synapses, ...]
    words_per_neuron: int
    columns: int

    @property
    def fan_in(self) -> int:
        """Synapses that end at one neuron."""
        return sum(s.fan_in for s in self.synapses)

    @property
    def shares(self) -> bool:
        """Whether its neurons share cores with others of their stage: without synapses, or few."""
        return all(s.light for s in self.synapses)

    def weights(self, neurons: int) -> int:
        """Weights stored for some of its neurons; a convolution's kernels once."""
        return sum(s.kernel or s.fan_in * neurons for s in self.synapses)


def image_columns(network: Graph) -> dict[str, int]:
    """Columns of the images that layers' channels form: what convolutions read and make."""
    found: dict[str, int] = {}
    for name, synapses in synapses_of(network).items():
        for synapse in synapses:
            geometry = projection(network, synapse).geometry
            if geometry is None:
                continue
            found[name] = geometry[5]
            for origin in made_by(network, network[synapse].inputs[0]):
                found.setdefault(origin, geometry[2])
    return found


def demands(network: Graph) -> tuple[Demand, ...]:
    """Every neuron layer with the synapses that end at it, in execution order."""
    ends = synapses_of(network)
    columns = image_columns(network)
    found = []
    for layer in network.layers:
        if layer.role != "neuron":
            continue
        synapses = [projection(network, name) for name in ends.get(layer.name, ())]
        if layer.fan_in:
            synapses.append(recurrent(layer))
        words = layer.state_words + layer.parameter_words
        found.append(
            Demand(
                layer, tuple(synapses), -(-words // layer.output.size), columns.get(layer.name, 1)
            )
        )
    return tuple(found)


def capacity_needed(network: Graph) -> dict[str, int]:
    """Totals a chip without described cores is checked against: neurons, weights, bytes.

    A convolution's kernels count once; bytes are those of the weights' encodings.
    """
    listed = demands(network)
    neurons = sum(d.layer.output.size for d in listed)
    weights = sum(d.weights(d.layer.output.size) for d in listed)
    words = sum(d.layer.output.size * d.words_per_neuron for d in listed)
    stored = sum(
        stored_bytes(s, d.layer.output.size, BYTE_BITS, exact=False)
        for d in listed
        for s in d.synapses
    )
    return {"neurons": neurons, "weights": weights, "bytes": stored + WORD_BYTES * words}
