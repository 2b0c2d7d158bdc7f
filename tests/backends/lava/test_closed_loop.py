"""The graph that chooses its tokens itself, against the emulator's greedy choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.base import ClosedLoop
from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.backends.lava.fine.session import FineSession, LoopSession
from spikegpt_neuro.decomposition.schedule import LONGEST_DELAY, schedule
from spikegpt_neuro.errors import RunFailed
from spikegpt_neuro.generation import generate, generate_closed, read_prompt
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.selection import STAGE, WINNER, SelectingModel, with_selection
from spikegpt_neuro.sampling import Sampler
from spikegpt_neuro.sampling_settings import SamplingSettings
from spikegpt_neuro.verification import verify

SHAPES = {
    "spike-driven": RandomShape("spike-driven", 1, 16, 12, firing=0.3, levels=3),
    "rwkv": RandomShape("rwkv", 1, 16, 12, binary_embedding=False),
}
CALLS = (([3, 1, 4], 5), ([2], 2), ([7, 7], 0))
"""Prompts and how many tokens follow: the state goes on from call to call."""
AGAIN = ([5], 2)
"""After a reset."""


def greedy(network: LanguageModel) -> list[list[int]]:
    """What the emulator's sampler chooses at temperature 0, from the plain network's logits."""
    found = []
    with EmulatorSession(network) as session:
        for prompt, count in (*CALLS, AGAIN):
            if (prompt, count) == AGAIN:
                session.reset()
            sampler = Sampler(SamplingSettings(temperature=0.0), network.logit_scale, 12)
            logits = read_prompt(session, prompt)
            found.append([token for token, _ in generate(session, logits, sampler, count)])
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_left_to_itself_it_generates_the_emulator_s_greedy_tokens(name: str) -> None:
    network = random_network(SHAPES[name])
    chooser = with_selection(network)
    expected = greedy(network)
    assert len({token for tokens in expected for token in tokens}) > 3  # no circle of one token
    with EmulatorSession(chooser, trace=[WINNER]) as session:
        for (prompt, count), tokens in zip((*CALLS, AGAIN), expected, strict=True):
            if (prompt, count) == AGAIN:
                session.reset()
            assert generate_closed(session, prompt, count) == tokens
        counts = session.counters
    with get_backend("lava-fine").open(chooser, trace=[WINNER]) as session:
        assert isinstance(session, ClosedLoop) and isinstance(session, LoopSession)
        for (prompt, count), tokens in zip((*CALLS, AGAIN), expected, strict=True):
            if (prompt, count) == AGAIN:
                session.reset()
            assert generate_closed(session, prompt, count) == tokens
            if count:  # what was fed back was seen by every probe, token by token
                rows = session.trace(WINNER)
                assert rows.shape == (len(prompt) + count, 12)
                assert rows[len(prompt) - 1 : -1].argmax(axis=1).tolist() == tokens
        assert session.counters.difference(counts) is None


def test_known_tokens_are_scored_with_the_loop_closed_off() -> None:
    """Winners fire, and none of them enters; the fused graph chooses alike."""
    chooser = with_selection(random_network(SHAPES["spike-driven"]))
    tokens = np.random.default_rng(3).integers(0, 12, 20).tolist()
    found = verify(chooser, tokens, get_backend("lava"), get_backend("lava-fine"))
    assert found.equal, str(found.difference or found.counter_difference)
    with EmulatorSession(chooser) as session, get_backend("lava").open(chooser) as fused:
        assert np.array_equal(session.score(tokens), fused.score(tokens))


def test_a_plain_network_has_no_loop_and_a_deep_one_more_flag_delays() -> None:
    network = random_network(SHAPES["spike-driven"])
    with FineSession(network) as session:
        assert not isinstance(session, ClosedLoop)
    assert not schedule(network).chooses
    deep = schedule(with_selection(random_network(RandomShape("rwkv", 8, 16, 12))))
    assert deep.chooses and deep.depth > LONGEST_DELAY and deep.flag_delays == 2


def test_two_winners_at_a_time_end_the_run() -> None:
    """A choice that is none is found out: a graph whose winners fire at one beat less."""
    chooser = with_selection(random_network(SHAPES["spike-driven"]))
    winner = chooser.layers[-1]
    eager = replace(winner, offset=winner.offset + 11)  # type: ignore[attr-defined, call-arg]
    broken = replace(chooser, layers=(*chooser.layers[:-1], eager))
    assert isinstance(broken, SelectingModel) and winner.stage == STAGE
    with LoopSession(broken) as session, pytest.raises(RunFailed, match="are fed back"):
        session.run_loop([1, 2], 2)
