"""Synapses as a core stores them: how many axons, how many bits, shared kernels or own rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np

from spikegpt_neuro.network import Network
from spikegpt_neuro.network.schema import Array, Layer

FULL_BITS: Final = 8
"""Bits of a weight where nothing says fewer."""


@dataclass(frozen=True)
class Synapses:
    """Synapses of one projection that end at a neuron layer.

    ``bits``: bits a weight needs; ``listed_bits``: bits it takes as Lava-DL's compiler stores it,
    which gives dense weights a byte whatever they need. ``axons``: operands it reads.
    ``kernel``: weights that all neurons of a convolution share, 0 where every neuron has its own.
    ``share``: part of the weights that is not zero. ``geometry``: of a convolution, as its layer
    holds it: channels, rows, columns of input and output; kernel, stride, padding, dilation (rows,
    columns); groups.
    """

    name: str
    axons: int
    fan_in: int
    bits: int
    listed_bits: int
    kernel: int
    share: float
    geometry: tuple[int, ...] | None


_MEASURED: Final[WeakKeyDictionary[Layer, tuple[int, float]]] = WeakKeyDictionary()
"""Bits and share of non-zero weights of layers looked at before: weights never change."""


def _stored(layer: Layer) -> tuple[int, float]:
    """Bits a weight needs, and the share of weights that are not zero."""
    known = _MEASURED.get(layer)
    if known is None:
        weight: Array = layer.weight  # type: ignore[attr-defined]
        bits = min(FULL_BITS, max(1, layer.weight_width))
        known = bits, float(np.count_nonzero(weight) / weight.size)
        _MEASURED[layer] = known
    return known


def projection(network: Network, name: str) -> Synapses:
    """The synapses of a projection."""
    layer = network[name]
    bits, share = _stored(layer)
    geometry = layer.receptive_field
    kernel = 0 if geometry is None else layer.weight_count
    axons = network[layer.inputs[0]].output.size
    listed = bits if kernel else FULL_BITS
    return Synapses(name, axons, layer.fan_in, bits, listed, kernel, share, geometry)


def recurrent(layer: Layer) -> Synapses:
    """The synapses of a layer with itself."""
    bits, share = _stored(layer)
    axons = layer.output.size
    return Synapses(layer.name, axons, layer.fan_in, bits, FULL_BITS, 0, share, None)


def synapse_bytes(
    synapses: Synapses, neurons: int, word_bits: int, *, sparse: bool, exact: bool
) -> int:
    """Bytes of synaptic memory for ``neurons`` of the neurons a projection ends at.

    Every axon has a list of whole words of ``word_bits``:

        dense        axons x ceil(neurons bits / word)
        convolution  ceil(kernel bits / word), once a core
        sparse       ceil(axons neurons share (bits + index) / word), index = log2(neurons) bits

    The sparse form is taken where the target stores lists and it is the smaller one. Source of the
    first two: the word counts of Lava-DL's compiler listing, pilotnet_snn/benchmark.ipynb.
    ``exact``: weights take the bits they need, not those of that listing.
    """
    bits = synapses.bits if exact else synapses.listed_bits
    if synapses.kernel:
        return -(-synapses.kernel * bits // word_bits) * word_bits // 8
    words = synapses.axons * -(-neurons * bits // word_bits)
    if sparse:
        index = max(1, (neurons - 1).bit_length())
        stored = synapses.axons * neurons * synapses.share * (bits + index)
        words = min(words, -int(-stored // word_bits))
    return words * word_bits // 8
