"""Streams that share the weights are each what they are alone."""

from __future__ import annotations

import numpy as np
import pytest

from spikegpt_neuro.backends.batch import BatchSession
from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.generation import generate, generate_batch, read_prompt
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.sampling import Sampler
from spikegpt_neuro.sampling_settings import SamplingSettings

NETWORKS = {
    "upstream": random_network(RandomShape(n_embd=24, vocabulary_size=31)),
    "4 bits": random_network(RandomShape(n_embd=72, vocabulary_size=31, weight_bits=4)),
    "spike-driven ternary": random_network(
        RandomShape("spike-driven", n_embd=33, vocabulary_size=31, levels=3, weight_bits=2)
    ),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))


def _prompts(network: LanguageModel, streams: int) -> list[list[int]]:
    rng = np.random.default_rng(streams)
    size = network.info.vocabulary_size
    return [rng.integers(0, size, rng.integers(1, 90)).tolist() for _ in range(streams)]


@every_network
@pytest.mark.parametrize(("streams", "threads"), [(1, 1), (3, 1), (8, 2), (11, 1)])
def test_each_stream_is_what_it_is_alone(
    network: LanguageModel, streams: int, threads: int
) -> None:
    prompts = _prompts(network, streams)
    settings = SamplingSettings(temperature=1.0, seed=5)

    def sampler() -> Sampler:
        return Sampler(settings, network.logit_scale, network.info.vocabulary_size)

    with BatchSession(network, streams, threads=threads) as session:
        found = generate_batch(session, prompts, [sampler() for _ in prompts], 12)
        states = [session.state(stream) for stream in range(streams)]
        each = [session.stream_counts(stream).named() for stream in range(streams)]
        counts = session.counters
    together = None
    for prompt, tokens, state, own in zip(prompts, found, states, each, strict=True):
        with EmulatorSession(network) as alone:
            logits = read_prompt(alone, prompt)
            expected = [token for token, _ in generate(alone, logits, sampler(), 11)]
            assert tokens[:11] == expected
            assert np.array_equal(state, alone.state)
            assert own == alone.counters
            together = alone.counters if together is None else together + alone.counters
    assert counts == together


@every_network
def test_streams_advance_in_any_order_and_number(network: LanguageModel) -> None:
    rng = np.random.default_rng(2)
    alone = [EmulatorSession(network) for _ in range(5)]
    with BatchSession(network, 5) as session:
        for _ in range(20):
            which = rng.permutation(5)[: rng.integers(1, 6)].tolist()
            tokens = rng.integers(0, network.info.vocabulary_size, len(which)).tolist()
            logits = session.step(tokens, which)
            for row, stream, token in zip(logits, which, tokens, strict=True):
                assert np.array_equal(row, alone[stream].step(token))
        session.reset()
        fresh = session.step([1] * 5)
        assert (fresh == fresh[0]).all()


@every_network
def test_streams_join_and_leave_between_pieces(network: LanguageModel) -> None:
    rng = np.random.default_rng(3)
    size = network.info.vocabulary_size
    with BatchSession(network, 3) as session:
        for turn in range(12):
            # a place is taken over: from the start, or from where another stream was left
            place = turn % 3
            before = session.stream_counts(place)
            with EmulatorSession(network) as alone:
                if turn % 2:
                    alone.score(rng.integers(0, size, 5).tolist())
                    begun = alone.counters
                    session.set_state(place, alone.state)
                else:
                    begun = alone.counters
                    session.reset(place)
                lengths = rng.permutation([0, int(rng.integers(1, 20)), 1])
                pieces = {
                    stream: rng.integers(0, size, length).tolist()
                    for stream, length in enumerate(lengths)
                    if length or stream == place
                }
                pieces[place] = pieces[place] or [1]
                found = session.advance(pieces)
                assert np.array_equal(found[place], alone.score(pieces[place]))
                assert np.array_equal(session.state(place), alone.state)
                since = session.stream_counts(place) - before
                assert since.named() == alone.counters - begun
        assert session.advance({}) == {}


def test_what_is_refused() -> None:
    network = NETWORKS["upstream"]
    with BatchSession(network, 2) as session, pytest.raises(InputError, match="not a state"):
        session.set_state(0, np.zeros(3, np.int32))
    with pytest.raises(InputError, match="at least 1"):
        BatchSession(network, 0)
    with BatchSession(network, 2) as session:
        for tokens, streams in (([1], None), ([1, 2], [0, 0]), ([1], [2]), ([1], [-1])):
            with pytest.raises(InputError, match="stream"):
                session.step(tokens, streams)
        with pytest.raises(InputError, match="vocabulary"):
            session.step([1, 31])
        with pytest.raises(InputError, match="at least one token"):
            session.read([[1], []])
