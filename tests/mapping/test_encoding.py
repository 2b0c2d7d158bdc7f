"""Bits and zeros decide what synapses take: recounted, and on the chip."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from spikegpt_neuro.arithmetic.packed import store
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import map_network
from spikegpt_neuro.mapping.encoding import (
    SynapseBlock,
    block_of,
    index_bits,
    is_sparse,
    neurons_that_fit,
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


@pytest.mark.parametrize("size", [0, 99, 100, 5000, 48_000])
def test_as_many_neurons_as_fit(size: int) -> None:
    blocks = (SynapseBlock(100, 4, Fraction(30)), SynapseBlock(50, 8, Fraction(50)))
    found = neurons_that_fit(blocks, size, 300)
    fitting = [n for n in range(301) if synapse_bits(blocks, n) <= 8 * size]
    assert found == max(fitting)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_cores_shrink_with_the_bits(bits: int) -> None:
    profile = load_profile("loihi2")
    shape = RandomShape(n_layer=2, n_embd=256, vocabulary_size=3000, weight_bits=bits)
    network = random_network(shape)
    mapped = map_network(network, profile)
    held = sum(core.synapse_bytes for core in mapped.cores)
    expected = 0
    for layer in network.layers:
        if isinstance(layer, Dense):
            assert block_of(layer).non_zero * layer.output.size == np.count_nonzero(layer.weight)
            expected += layer.weight.size * bits
    assert abs(held - expected / 8) < len(mapped.cores)
    assert all(mapped.use_of_core(i).weight_share <= 1 for i in range(len(mapped.cores)))
    full = sum(core.weights > 0 for core in mapped.cores)
    assert full <= 1.15 * expected / 8 / 48_000 + 14  # whole rows, and a core at least a layer


def test_pruned_synapses_take_no_memory() -> None:
    profile = load_profile("loihi2")
    network = random_network(RandomShape(n_layer=1, n_embd=256, vocabulary_size=3000))
    before, after = (map_network(n, profile) for n in (network, _pruned(network, 0.8)))
    stored = [sum(core.synapse_bytes for core in m.cores) for m in (before, after)]
    # a fifth of the weights, each with an index of at most 8 or 9 bits beside its 8
    assert stored[1] < 0.2 * stored[0] * 17 / 8
    assert len(after.cores) < 0.6 * len(before.cores)
