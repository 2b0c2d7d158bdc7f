"""How many bits synapses take on a core: dense rows, or lists of those that are there.

A core stores, for every axon that ends there, either the weights of all of its neurons (dense), or
of each synapse that is not 0 the weight and which of the core's neurons it ends at (sparse): an
index of as many bits as the core's neurons need. Each block takes the smaller. The index's width is
derived, no compiler's listing shows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from spikegpt_neuro.mapping.units import Unit
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.schema import Layer

BYTE_BITS = 8


@dataclass(frozen=True)
class SynapseBlock:
    """Synapses of one layer: of each neuron ``fan_in`` of ``bits``, on average ``non_zero``."""

    fan_in: int
    bits: int
    non_zero: Fraction


def block_of(layer: Layer) -> SynapseBlock:
    """The synapses of a layer's own weights; those of a chain count as 8 bits, none as 0."""
    if isinstance(layer, Unit):
        found = Fraction(layer.non_zero, layer.output.size)
        return SynapseBlock(layer.synapses, layer.bits, found)
    if isinstance(layer, Dense):
        found = Fraction(int(layer.fan_out.sum()), layer.output.size)
        return SynapseBlock(layer.fan_in, layer.weight_bits, found)
    return SynapseBlock(layer.fan_in, BYTE_BITS, Fraction(layer.fan_in))


def index_bits(neurons: int) -> int:
    """Bits that tell a core's neurons apart."""
    return max(1, (neurons - 1).bit_length())


def is_sparse(block: SynapseBlock, neurons: int) -> bool:
    """Whether lists of the synapses that are there take less than all of them."""
    listed = block.non_zero * (block.bits + index_bits(neurons))
    return listed < block.fan_in * block.bits


def synapse_bits(blocks: tuple[SynapseBlock, ...], neurons: int) -> int:
    """Bits of all synapses that end at ``neurons`` neurons of one core."""
    total = 0
    for block in blocks:
        if is_sparse(block, neurons):
            total += math.ceil(block.non_zero * neurons) * (block.bits + index_bits(neurons))
        else:
            total += neurons * block.fan_in * block.bits
    return total


def synapse_bytes(blocks: tuple[SynapseBlock, ...], neurons: int) -> int:
    """The same in whole bytes."""
    return -(-synapse_bits(blocks, neurons) // BYTE_BITS)
