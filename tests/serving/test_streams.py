"""Text comes when it is certain, stops where it should, with the right probabilities."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.predictions import log_probabilities, prediction_bits
from spikegpt_neuro.serving.streams import Order, Piece, Stream
from tests.serving.conftest import CHARACTERS, alone, sampler, small_network

PROMPT = "So it was said."


def _pieces(count: int, *, room: int = 1, **order: object) -> tuple[list[Piece], Stream]:
    network = small_network()
    tokens = CHARACTERS.encode(PROMPT).tolist()
    choose = sampler(network, temperature=1.0, seed=1)
    stream = Stream(Order(tokens, count, choose, **order), CHARACTERS, network.logit_scale, "")  # type: ignore[arg-type]
    found = []
    with EmulatorSession(network) as session:
        while not stream.is_over:
            given = stream.piece(room)
            piece = stream.take(given, session.score(given))
            if piece is not None:
                found.append(piece)
    return found, stream


def _text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


TEXT = alone(PROMPT, 40, temperature=1.0, seed=1).text


@pytest.mark.parametrize("room", [1, 4, 64])
def test_the_text_is_that_of_the_run_alone(room: int) -> None:
    pieces, stream = _pieces(40, room=room)
    assert _text(pieces) == TEXT and stream.reason == "length"
    assert sum(piece.count for piece in pieces) == 40


@pytest.mark.parametrize(("begin", "size"), list(product((0, 1, 17, 35), (1, 2, 5))))
def test_a_stop_ends_the_text_before_it(begin: int, size: int) -> None:
    stop = TEXT[begin : begin + size]
    place = TEXT.find(stop)
    pieces, stream = _pieces(40, stops=("never\n", stop))
    assert _text(pieces) == TEXT[:place]
    # what is held back for a stop is not sent before it is certain
    assert stream.reason == "stop"
    assert stream.chosen == place + len(stop)


def test_what_only_looks_like_a_stop_is_sent() -> None:
    pieces, stream = _pieces(40, stops=(TEXT[5:10] + "\nnot this", TEXT[-3:] + "\n"))
    assert _text(pieces) == TEXT and stream.reason == "length"
    held = next(i for i, piece in enumerate(pieces) if piece.text == "")
    assert held >= 5 and any(len(piece.text) > 1 for piece in pieces)


def test_probabilities_are_those_of_scoring() -> None:
    network = small_network()
    pieces, _ = _pieces(12, room=4, top=3, scores_prompt=True)
    scored = [s for piece in pieces for s in piece.scored]
    tokens = CHARACTERS.encode(PROMPT + TEXT[:12])
    assert [s.token for s in scored] == tokens.tolist()
    with EmulatorSession(network) as session:
        logits = session.score(tokens.tolist())
    bits = prediction_bits(logits[:-1], tokens[1:], network.logit_scale)
    assert scored[0].logprob is None
    assert np.allclose([s.logprob for s in scored[1:]], -bits * math.log(2), rtol=1e-12)
    every = log_probabilities(logits, network.logit_scale)
    assert np.allclose(np.exp(every).sum(axis=1), 1.0)
    for before, s in zip(every, scored[1:], strict=False):
        assert [value for _, value in s.top] == sorted(before.tolist(), reverse=True)[:3]
    assert [s.offset for s in scored[len(PROMPT) :]] == list(range(12))


def test_a_stop_takes_its_tokens_probabilities_with_it() -> None:
    pieces, _ = _pieces(40, stops=(TEXT[10:13],), top=0)
    assert len([s for piece in pieces for s in piece.scored]) == TEXT.find(TEXT[10:13])


def test_nothing_to_generate_only_reads() -> None:
    pieces, stream = _pieces(0, room=4, top=0, scores_prompt=True)
    assert stream.reason == "length" and stream.chosen == 0 and _text(pieces) == ""
    assert sum(len(piece.scored) for piece in pieces) == len(PROMPT)
