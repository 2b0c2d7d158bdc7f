"""Synapses as a core stores them: blocks of weights, shared kernels, whole words of an axon."""

from __future__ import annotations

from dataclasses import dataclass

from spikegpt_neuro.mapping.encoding import (
    BYTE_BITS,
    SynapseBlock,
    block_of,
    is_sparse,
    synapse_bytes,
)
from spikegpt_neuro.mapping.roles import Graph
from spikegpt_neuro.mapping.units import Unit
from spikegpt_neuro.network.schema import Layer


@dataclass(frozen=True)
class Synapses:
    """Synapses of one projection that end at a neuron layer.

    ``axons``: operands it reads. ``block``: its weights as a compiler stores them, ``bits``: what
    a weight needs at least (Lava-DL's compiler gives a chain's dense weights a byte whatever they
    need). ``kernel``: weights that all neurons of a convolution share, 0 where every neuron has its
    own. ``geometry``: of a convolution, see ``Layer.receptive_field``. ``light``: see ``Unit``.
    """

    name: str
    axons: int
    block: SynapseBlock
    bits: int
    kernel: int
    geometry: tuple[int, ...] | None
    light: bool = False

    @property
    def fan_in(self) -> int:
        """Synapses that end at one neuron."""
        return self.block.fan_in


def projection(network: Graph, name: str) -> Synapses:
    """The synapses of a projection."""
    layer = network[name]
    geometry = layer.receptive_field
    kernel = 0 if geometry is None else layer.weight_count
    axons = layer.operand_size
    light = isinstance(layer, Unit) and layer.light
    return Synapses(name, axons, block_of(layer), _least(layer), kernel, geometry, light)


def recurrent(layer: Layer) -> Synapses:
    """The synapses of a layer with itself."""
    return Synapses(layer.name, layer.output.size, block_of(layer), _least(layer), 0, None)


def _least(layer: Layer) -> int:
    return min(BYTE_BITS, max(1, layer.weight_width), block_of(layer).bits)


def stored_bytes(synapses: Synapses, neurons: int, word_bits: int, *, exact: bool) -> int:
    """Bytes of synaptic memory for ``neurons`` of the neurons a projection ends at.

    Every axon has a list of whole words of ``word_bits``:

        dense        axons x ceil(neurons bits / word)
        convolution  ceil(kernel bits / word), once a core
        sparse       see ``mapping.encoding``, where that is smaller
        one to one   a word a neuron

    Source of the first two: the word counts of Lava-DL's compiler listing,
    pilotnet_snn/benchmark.ipynb. ``exact``: weights take the bits they need, not those it gave.
    """
    if synapses.kernel:
        return -(-synapses.kernel * synapses.bits // word_bits) * word_bits // BYTE_BITS
    if synapses.light and synapses.fan_in == 1:
        return neurons * word_bits // BYTE_BITS
    if is_sparse(synapses.block, neurons):
        return synapse_bytes((synapses.block,), neurons)
    bits = synapses.bits if exact else synapses.block.bits
    words = synapses.axons * -(-neurons * bits // word_bits)
    return words * word_bits // BYTE_BITS
