"""The layers that choose the next token: the first of the largest logits, whatever the logits."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from spikegpt_neuro.backends.batch import BatchSession
from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.ranges import magnitude, proven_ranges
from spikegpt_neuro.network.selection import (
    LARGEST_VOCABULARY,
    LOGIT_BITS,
    STAGE,
    WINNER,
    SelectingModel,
    as_selecting,
    with_selection,
)
from spikegpt_neuro.sampling import Sampler
from spikegpt_neuro.sampling_settings import SamplingSettings

LIMIT = (1 << (LOGIT_BITS - 1)) - 1


def model(size: int = 12, **more: object) -> LanguageModel:
    return random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=size, **more))  # type: ignore[arg-type]


def winners(network: SelectingModel, logits: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """What the selection's layers make of ``logits`` [tokens, vocabulary]."""
    layers = [layer for layer in network.layers if layer.stage == STAGE]
    name = network.logits.name
    program = Program(layers, sizes={name: logits.shape[1]}, wide=[name])
    program.reserve(len(logits))
    program.value(name)[:] = logits
    program.run(np.zeros(len(logits), np.int64))
    return program.value(WINNER).copy()


def test_every_order_and_every_tie_of_four_logits_has_the_one_winner_of_argmax() -> None:
    logits = np.array(list(itertools.product(range(-2, 2), repeat=4)), np.int32)
    found = winners(with_selection(model(4)), logits)
    assert np.array_equal(found, np.eye(4, dtype=np.int32)[logits.argmax(axis=1)])


@pytest.mark.parametrize("size", [1, 2, 3, 50, LARGEST_VOCABULARY])
def test_random_logits_of_all_magnitudes(size: int) -> None:
    rng = np.random.default_rng(size)
    wide = rng.integers(-LIMIT, LIMIT + 1, (40, size))
    near = rng.integers(-LIMIT, LIMIT, (40, 1)) + rng.integers(0, 2, (40, size))
    ends = rng.choice([-LIMIT, LIMIT], (40, size))
    logits = np.concatenate([wide, near, ends]).astype(np.int32)
    found = winners(with_selection(model(size)), logits)
    assert np.array_equal(found, np.eye(size, dtype=np.int32)[logits.argmax(axis=1)])


def test_only_tokens_that_may_be_chosen_are() -> None:
    rng = np.random.default_rng(1)
    logits = rng.integers(-3, 4, (200, 9)).astype(np.int32)
    for choices in (1, 2, 8, 9):
        found = winners(with_selection(model(9), choices), logits)
        expected = logits[:, :choices].argmax(axis=1)
        assert np.array_equal(found, np.eye(9, dtype=np.int32)[expected])


@pytest.mark.parametrize("layout", ["upstream", "rwkv", "spike-driven"])
def test_the_winner_is_what_the_sampler_chooses_and_all_else_is_unchanged(layout: str) -> None:
    network = model(21, layout=layout)
    chooser = with_selection(network)
    assert with_selection(network) is chooser
    sampler = Sampler(SamplingSettings(temperature=0.0), network.logit_scale, 21)
    tokens = np.random.default_rng(2).integers(0, 21, 100).tolist()
    with EmulatorSession(network) as plain, EmulatorSession(chooser, threads=2) as closed:
        logits, found = plain.score(tokens), closed.score(tokens)
        counts, more = plain.counters, closed.counters
    assert found.argmax(axis=1).tolist() == [sampler.choose(row) for row in logits]
    assert (found.sum(axis=1) == 1).all() and found.min() == 0
    for layer in network.layers:  # the readout's port is narrower, and nothing was clipped
        assert counts.layers[layer.name] == more.layers[layer.name], layer.name
    # each logit that is not 0 meets every other; of a pair at most one beats the other
    events = counts.count("head.readout", "output_events")
    assert more.count(f"{STAGE}.differences", "synaptic_operations") == events * 20
    beaten = more.count(f"{STAGE}.beats", "output_events")
    later = [(row[None, :] > row[:, None])[np.triu_indices(21, 1)].sum() for row in logits]
    assert beaten == sum(later)
    assert more.count(f"{STAGE}.count", "synaptic_operations") == 2 * beaten
    assert more.count(WINNER, "output_events") == 100


def test_streams_of_a_batch_choose_as_alone() -> None:
    chooser = with_selection(model(21))
    with BatchSession(chooser, 3) as batch, EmulatorSession(chooser) as alone:
        found = batch.read([[1, 2], [3], [4, 5, 6]])
        for row, prompt in zip(found, ([1, 2], [3], [4, 5, 6]), strict=True):
            alone.reset()
            assert np.array_equal(row, alone.score(prompt)[-1])


def test_differences_are_proven_to_fit_accumulators_and_keep_their_sign() -> None:
    """The current is clipped to 18 bits, which keeps a difference on its side of the threshold."""
    chooser = with_selection(model(21))
    ranges = proven_ranges(chooser)
    assert chooser.logits.output.bits == LOGIT_BITS
    assert magnitude(ranges[f"{STAGE}.differences"]) <= 2 * LIMIT < 1 << 23
    assert ranges[f"{STAGE}.count"] == (-20, 20)
    assert ranges[WINNER] == (0, 1)


def test_logits_beyond_the_widest_are_clipped_and_counted() -> None:
    network = model(4)
    readout = replace(network.layers[-1], shift=np.zeros(4, np.int32))  # type: ignore[call-arg]
    loud = replace(network, layers=(*network.layers[:-1], readout))
    with EmulatorSession(loud) as plain, EmulatorSession(with_selection(loud)) as closed:
        logits, found = plain.score([0, 1, 2, 3]), closed.score([0, 1, 2, 3])
        clipped = closed.counters.count("head.readout", "saturations")
    beyond = np.abs(logits) > LIMIT
    assert clipped == beyond.sum() > 0
    narrow = logits.clip(-LIMIT, LIMIT)
    assert np.array_equal(found.argmax(axis=1), narrow.argmax(axis=1))


def test_what_cannot_choose_is_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="257 tokens, at most 256 are compared in pairs"):
        with_selection(model(LARGEST_VOCABULARY + 1))
    network = model(4)
    for choices in (0, 5):
        with pytest.raises(InputError, match=f"{choices} tokens to choose from, allowed 1..4"):
            with_selection(network, choices)
    info = replace(network.info, labels=tuple("abcd"))
    with pytest.raises(InputError, match="it is a classifier"):
        with_selection(replace(network, info=info))
    with pytest.raises(InputError, match="does not choose its tokens itself"):
        as_selecting(network)
    chooser = with_selection(network)
    with pytest.raises(InputError, match=r"the last layer must be selection\.winner"):
        replace(chooser, layers=chooser.layers[:-1])
    with pytest.raises(InputError, match="is made in memory"):
        write_network(chooser, tmp_path / "chooser.net")
    assert not list(tmp_path.iterdir())
