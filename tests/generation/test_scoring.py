"""Scoring: windows as documented, bits against float64 by definition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.predictions import prediction_bits
from spikegpt_neuro.scoring import prediction_windows, score_tokens

NETWORK = random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=9))
TOKENS = np.random.default_rng(3).integers(0, 9, 41)


def bits_by_definition(tokens: Sequence[int], context: int | None) -> list[float]:
    """One step at a time, with Python's own floats."""
    found = []
    with Emulator().open(NETWORK) as session:
        for position, (token, following) in enumerate(pairwise(tokens)):
            if context is not None and position % context == 0:
                session.reset()
            real = [int(v) * NETWORK.logit_scale for v in session.step(int(token))]
            largest = max(real)
            total = math.fsum(math.exp(v - largest) for v in real)
            found.append((math.log(total) - (real[following] - largest)) / math.log(2))
    return found


@pytest.mark.parametrize("context", [None, 1, 7, 8, 40, 100])
def test_bits_are_those_of_the_definition(context: int | None) -> None:
    expected = bits_by_definition(TOKENS.tolist(), context)
    with Emulator().open(NETWORK) as session:
        scoring = score_tokens(
            session, TOKENS, logit_scale=NETWORK.logit_scale, vocabulary_size=9, context=context
        )
    # 40 sums of 9 float64 exponentials in two orders: far below 1e-12
    assert scoring.bits_per_token == pytest.approx(math.fsum(expected) / 40, rel=0, abs=1e-12)
    assert scoring.bits_per_character == scoring.bits_per_token
    assert scoring.perplexity == 2**scoring.bits_per_token
    size = context or 40
    for number, bits in enumerate(scoring.window_bits):
        part = expected[number * size : (number + 1) * size]
        assert bits == pytest.approx(math.fsum(part), rel=0, abs=1e-11)


@pytest.mark.parametrize("largest", [0, 9 * 5, 9 * 64])
def test_the_tokens_scored_at_a_time_change_nothing(
    largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emulator().open(NETWORK) as session:
        settings = {"logit_scale": NETWORK.logit_scale, "vocabulary_size": 9}
        whole = score_tokens(session, TOKENS, **settings)
        monkeypatch.setattr("spikegpt_neuro.scoring._LARGEST_LOGITS", largest)
        assert score_tokens(session, TOKENS, **settings) == whole


def test_windows_and_limit() -> None:
    assert prediction_windows(513, 256, None) == [range(256), range(256, 512)]
    assert prediction_windows(514, 256, None)[-1] == range(512, 513)
    assert prediction_windows(514, 256, 300) == [range(256), range(256, 300)]
    assert prediction_windows(10, None, None) == [range(9)]
    for arguments in ((1, None, None), (0, None, None), (5, 0, None), (5, -1, None), (5, None, 0)):
        with pytest.raises(InputError):
            prediction_windows(*arguments)


def test_large_logits_neither_overflow_nor_lose_the_difference() -> None:
    logits = np.array([[2**31 - 1, -(2**31), 2**31 - 2]], np.int32)
    bits: npt.NDArray[np.float64] = prediction_bits(
        np.repeat(logits, 3, axis=0), np.array([0, 1, 2]), 1.0
    )
    total = 1 + math.exp(-1)
    assert bits[0] == pytest.approx(math.log2(total), rel=1e-15)  # one float64 logarithm
    assert bits[2] == pytest.approx(math.log2(total) + 1 / math.log(2), rel=1e-15)
    assert bits[1] == pytest.approx((2**32 - 1) / math.log(2), rel=1e-9)


def test_characters_other_than_tokens() -> None:
    with Emulator().open(NETWORK) as session:
        scoring = score_tokens(
            session, TOKENS, logit_scale=NETWORK.logit_scale, vocabulary_size=9, limit=10,
            ends=2 * np.arange(len(TOKENS)),
        )  # fmt: skip
    assert (scoring.tokens, scoring.characters) == (10, 20)
    assert scoring.bits_per_character == scoring.bits_per_token / 2
