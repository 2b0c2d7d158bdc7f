"""Bits and zeros decide what synapses take: recounted, and on the chip."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from spikegpt_neuro.arithmetic.packed import store
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import Mapping, map_network
from spikegpt_neuro.mapping.cores import Slice
from spikegpt_neuro.mapping.demand import demands
from spikegpt_neuro.mapping.encoding import (
    SynapseBlock,
    block_of,
    index_bits,
    is_sparse,
    synapse_bits,
)
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network


def _pruned(network: LanguageModel, share: float) -> LanguageModel:
    rng = np.random.default_rng(0)
    layers = []
    for layer in network.layers:
        if isinstance(layer, Dense):
            weight = np.where(rng.random(layer.weight.shape) < share, 0, np.asarray(layer.weight))
            packed = store(weight.astype(np.int8), layer.weight_bits)
            layers.append(dataclasses.replace(layer, weight=packed))
        else:
            layers.append(layer)
    return LanguageModel(network.info, tuple(layers))


@pytest.mark.parametrize("neurons", [1, 2, 3, 64, 65, 1000])
def test_an_index_tells_all_neurons_apart(neurons: int) -> None:
    assert neurons <= 2 ** index_bits(neurons)
    assert index_bits(neurons) == 1 or neurons > 2 ** (index_bits(neurons) - 1)


def test_the_smaller_encoding_is_taken() -> None:
    full = SynapseBlock(100, 4, Fraction(100))
    few = SynapseBlock(100, 4, Fraction(10))
    assert synapse_bits((full,), 60) == 60 * 100 * 4
    assert synapse_bits((few,), 60) == 60 * 10 * (4 + 6)
    assert synapse_bits((full, few), 60) == 60 * (400 + 100)
    # 4 bits and an index of 6: lists pay below 40 of 100
    assert is_sparse(SynapseBlock(100, 4, Fraction(39)), 60)
    assert not is_sparse(SynapseBlock(100, 4, Fraction(40)), 60)


def of_projections(mapped: Mapping) -> list[Slice]:
    """Slices whose neurons have many synapses, those of norms, delays and gates left out."""
    names = {d.layer.name for d in demands(mapped.machine) if not d.shares}
    return [part for core in mapped.cores for part in core.slices if part.layer in names]


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_cores_shrink_with_the_bits(bits: int) -> None:
    profile = load_profile("loihi2")
    shape = RandomShape(n_layer=2, n_embd=256, vocabulary_size=3000, weight_bits=bits)
    network = random_network(shape)
    mapped = map_network(network, profile, spread="packed")
    slices = of_projections(mapped)
    held = sum(part.synapse_bytes for part in slices)
    expected = 0
    for layer in network.layers:
        if isinstance(layer, Dense):
            assert block_of(layer).non_zero * layer.output.size == np.count_nonzero(layer.weight)
            expected += layer.weight.size * bits
    # an axon's weights fill whole words, and a gate has two axons: hardly more than the bits
    assert expected / 8 <= held < 1.05 * expected / 8
    assert all(mapped.use_of_core(i).weight_share <= 1 for i in range(len(mapped.cores)))
    assert (
        len(slices) <= 1.15 * expected / 8 / 48_000 + 14
    )  # whole rows, and a core at least a layer


def test_pruned_synapses_take_no_memory() -> None:
    profile = load_profile("loihi2")
    network = random_network(RandomShape(n_layer=1, n_embd=256, vocabulary_size=3000))
    before, after = (
        map_network(n, profile, spread="packed") for n in (network, _pruned(network, 0.8))
    )
    slices = [of_projections(m) for m in (before, after)]
    stored = [sum(part.synapse_bytes for part in found) for found in slices]
    # a fifth of the weights, each with an index of at most 8 or 9 bits beside its 8
    assert stored[1] < 0.2 * stored[0] * 17 / 8
    assert len(slices[1]) < 0.6 * len(slices[0])
