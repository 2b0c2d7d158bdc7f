"""Fewer bits and weights: what is equal, what is lost, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.converters.export_report import ExportOptions
from spikegpt_neuro.converters.moments import Moments, sample_windows
from spikegpt_neuro.converters.reduction import (
    Choice,
    adopt,
    candidate,
    reduce_network,
    rescaled,
)
from spikegpt_neuro.converters.sensitivity import (
    Probe,
    divergence,
    fewest_bits,
    log_probabilities,
    losses_per_error,
    mean_bits,
)
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.scoring import score_tokens
from spikegpt_neuro.vocabulary import read_vocabulary

EXAMPLES = Path(__file__).parents[2] / "examples"
NETWORKS = {
    "upstream": random_network(RandomShape(n_embd=24, vocabulary_size=31)),
    "rwkv": random_network(RandomShape("rwkv", n_embd=24, vocabulary_size=31)),
    "spike-driven": random_network(
        RandomShape("spike-driven", n_embd=24, vocabulary_size=31, levels=3)
    ),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))


def _names(network: LanguageModel) -> list[str]:
    return [layer.name for layer in network.layers if isinstance(layer, Dense)]


def _windows(network: LanguageModel) -> np.ndarray:
    return np.random.default_rng(1).integers(0, network.info.vocabulary_size, (8, 64))


def _predictions(network: LanguageModel, windows: np.ndarray) -> np.ndarray:
    return np.concatenate(list(log_probabilities(network, windows)))


@every_network
def test_eight_bits_without_pruning_change_nothing(network: LanguageModel) -> None:
    moments = Moments(network, _windows(network))
    done = reduce_network(network, dict.fromkeys(_names(network), Choice(8)), moments)
    for before, after in zip(network.layers, done.network.layers, strict=True):
        assert before is after


@every_network
def test_moments_are_those_of_the_operands(network: LanguageModel) -> None:
    windows = _windows(network)
    moments = Moments(network, windows)
    for name in _names(network):
        source = network[name].inputs[0]
        with EmulatorSession(network, trace=[source]) as session:
            parts = []
            for window in windows:
                session.reset()
                session.score(window.tolist())
                parts.append(session.trace(source).astype(np.float64))
        x = np.concatenate(parts)
        np.testing.assert_allclose(moments(name), x.T @ x / len(x), rtol=1e-4, atol=1e-3)


@every_network
def test_a_rescaled_reader_takes_the_new_unit(network: LanguageModel) -> None:
    """Accumulators half as large, factors twice: the same network, but for rounding."""
    layers = dict(network.by_name)
    for name in _names(network):
        dense = layers[name]
        even = (np.trunc(np.asarray(dense.weight) / 2) * 2).astype(np.int8)  # type: ignore[attr-defined]
        layers[name] = dataclasses.replace(dense, weight=even)  # type: ignore[call-arg]
    doubled = LanguageModel(network.info, tuple(layers[layer.name] for layer in network.layers))
    for name in _names(network):
        half = (np.asarray(layers[name].weight) // 2).astype(np.int8)  # type: ignore[attr-defined]
        layers[name] = dataclasses.replace(layers[name], weight=half)  # type: ignore[call-arg]
        for reader in network.layers:
            for index, source in enumerate(reader.inputs):
                if source == name:
                    ratio = np.full(network[name].output.size, 2.0)
                    layers[reader.name] = rescaled(layers[reader.name], index, ratio)
    halved = LanguageModel(network.info, tuple(layers[layer.name] for layer in network.layers))
    windows = _windows(network)
    before, after = _predictions(doubled, windows), _predictions(halved, windows)
    assert divergence(before, after) < 1e-9


@every_network
def test_fewer_bits_cost_more_and_take_less(network: LanguageModel) -> None:
    windows = _windows(network)
    moments = Moments(network, windows)
    before = _predictions(network, windows)
    losses, sizes = [], []
    for bits in (6, 4, 3):
        done = reduce_network(network, dict.fromkeys(_names(network), Choice(bits)), moments)
        losses.append(divergence(before, _predictions(done.network, windows)))
        sizes.append(sum(layer.bytes for layer in done.layers))
        for layer in done.layers:
            dense = done.network[layer.name]
            assert isinstance(dense, Dense)
            assert dense.weight_bits == layer.bits == bits
            outputs, inputs = dense.weight.shape
            # docs/file-format.md: words of 16 // 4 fields, of 16 // 3, or of 16 // 4 and 16 // 2
            fields = {6: (4, 8), 4: (4,), 3: (5,)}[bits]
            words = sum(math.ceil(math.ceil(inputs / f) / 8) * 8 for f in fields)
            assert layer.bytes == outputs * words * 2
            assert layer.non_zero == np.count_nonzero(dense.weight)
            assert layer.error < layer.nearest_error
    assert losses == sorted(losses)
    assert sizes == sorted(sizes, reverse=True)


def test_pruning_sets_zeros_that_cost_no_operations() -> None:
    network = NETWORKS["upstream"]
    windows = _windows(network)
    done = reduce_network(
        network, dict.fromkeys(_names(network), Choice(8, 0.5)), Moments(network, windows)
    )
    counts = []
    for one in (network, done.network):
        with EmulatorSession(one) as session:
            session.score(windows[0].tolist())
            counts.append(session.counters)
    for layer in done.layers:
        assert layer.non_zero <= layer.weights - round(0.5 * layer.weights)
        before, after = (c.count(layer.name, "synaptic_operations") for c in counts)
        assert after < 0.7 * before


def test_the_fewest_bits_keep_the_loss() -> None:
    network = NETWORKS["upstream"]
    windows = _windows(network)
    moments = Moments(network, windows)
    choices = fewest_bits(network, windows, moments, 0.05)
    assert set(choices) == set(_names(network))
    done = reduce_network(network, choices, moments)
    assert mean_bits(done.network, windows) - mean_bits(network, windows) <= 0.05
    assert sum(layer.bytes for layer in done.layers) < 0.9 * sum(
        network[name].weight.nbytes  # type: ignore[attr-defined]
        for name in _names(network)
    )


def test_losses_per_error_are_shrunk_by_their_noise() -> None:
    """Values worked out by hand from the equations of the docstring."""
    # losses twice the divergences, no scatter beyond the noise: what is expected is taken
    even = [Probe(0.1, 0.2, 0.5, 0.1), Probe(0.2, 0.4, 0.5, 0.2)]
    assert losses_per_error(even) == pytest.approx([2.0, 2.0], rel=1e-12)
    # a = 1; losses 3 and -1 scatter by 2 around 1, with noise 1: t^2 = 4 - 1 = 3, 3/4 is believed
    apart = [Probe(1.0, 3.0, 1.0, 1.0), Probe(0.5, -1.0, 1.0, 1.0)]
    assert losses_per_error(apart) == pytest.approx([2.5, 0.1 / 0.5], rel=1e-12)
    # a loss without noise is taken as it is
    sure = [Probe(1.0, 3.0, 1e-9, 1.0), Probe(1.0, 1.0, 1e-9, 1.0)]
    assert losses_per_error(sure) == pytest.approx([3.0, 1.0], rel=1e-6)


def test_what_is_refused() -> None:
    network = NETWORKS["upstream"]
    moments = Moments(network, _windows(network))
    with pytest.raises(InputError, match="no dense layers"):
        reduce_network(network, {"head.readout": Choice(4)}, moments)
    with pytest.raises(InputError, match="weight bits 1"):
        Choice(1)
    with pytest.raises(InputError, match="pattern 5:4"):
        Choice(8, pattern=(5, 4))
    name = _names(network)[0]
    one = candidate(network, name, [Choice(4)], moments(name))[0]
    silent = dataclasses.replace(network[network[name].inputs[0]])
    with pytest.raises(InputError, match="cannot change"):
        rescaled(silent, 0, one.scale)
    assert adopt(network, {}).layers == network.layers
    with pytest.raises(InputError, match="at least 2"):
        sample_windows(network, [3])


@pytest.mark.parametrize(
    ("checkpoint", "aim"),
    [("kjv-4x192/kjv-4x192.pth", 0.01), ("spike-driven-graded/graded.pt", 0.01)],
)
def test_four_bits_of_a_trained_model_lose_little(
    checkpoint: str, aim: float, tmp_path: Path
) -> None:
    """In 200 windows of the validation text; docs/performance.md has the whole text's figure."""
    folder = EXAMPLES / "kjv-4x192"
    vocabulary = read_vocabulary(folder / "kjv-4x192.vocab.json")
    train = vocabulary.encode((folder / "kjv-train.txt").read_text("utf-8")).tolist()
    valid = vocabulary.encode((folder / "kjv-valid.txt").read_text("utf-8"))
    found = []
    for bits in (8, 4):
        path = tmp_path / f"{bits}.net"
        export_checkpoint(
            EXAMPLES / checkpoint, path, calibration=train,
            options=ExportOptions(weight_bits=bits),
        )  # fmt: skip
        network = read_network(path)
        with EmulatorSession(network) as session:
            scored = score_tokens(
                session, valid, logit_scale=network.logit_scale, vocabulary_size=63, context=256,
                limit=51_200,
            )  # fmt: skip
        found.append((scored.bits_per_character, path.stat().st_size))
    assert found[1][0] - found[0][0] < aim
    assert found[1][1] < 0.62 * found[0][1]  # the embedding and the parameters stay


def test_a_unit_too_large_for_its_reader_keeps_more_bits() -> None:
    network = NETWORKS["upstream"]
    name = "head.projection"
    readout = network["head.readout"]
    assert readout.kind == "readout"
    # factors of 2**10: those of ternary rows, about 100 times as large, are beyond 2**15
    large = dataclasses.replace(  # type: ignore[call-arg]
        readout, multiplier=np.full(31, 1 << 14, np.int32), shift=np.full(31, 4, np.int32)
    )
    layers = tuple(large if layer is readout else layer for layer in network.layers)
    changed = LanguageModel(network.info, layers)
    done = reduce_network(changed, {name: Choice(2)}, Moments(changed, _windows(network)))
    dense = done.network[name]
    assert isinstance(dense, Dense)
    assert dense.weight_bits == done.layers[0].bits > 2
