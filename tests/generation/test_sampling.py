"""Sampling: the greedy choice is exact; the drawn ones follow the distribution they should."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.sampling import Sampler
from spikegpt_neuro.sampling_settings import FOR_TEXT, SamplingSettings

SCALE = 2.0**-16


def units(*real: float) -> np.ndarray:
    return np.array([round(value / SCALE) for value in real], np.int32)


def sampler(size: int = 4, **settings: float) -> Sampler:
    return Sampler(SamplingSettings(**settings), SCALE, size)


def test_greedy_takes_the_first_of_the_largest() -> None:
    assert sampler().choose(np.array([1, 5, 5, -7], np.int32)) == 1
    assert sampler().choose(np.array([-(2**31)] * 4, np.int32)) == 0
    assert sampler(size=2).choose(units(0, 1, 9, 9)) == 1, "tokens beyond the vocabulary never win"


def test_penalties_break_repetition_in_whole_units() -> None:
    chooser = sampler(presence_penalty=0.5, frequency_penalty=1.0)
    logits = units(3.0, 2.0, 0.0, -9.0)
    assert [chooser.choose(logits) for _ in range(5)] == [0, 1, 0, 0, 1]
    one = sampler(presence_penalty=SCALE)
    assert [one.choose(np.array([5, 5, 4, 0], np.int32)) for _ in range(4)] == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (0.4, 0.3, 0.2, 0.1)),
        ({"temperature": 0.5}, (16 / 30, 9 / 30, 4 / 30, 1 / 30)),
        ({"top_k": 2}, (4 / 7, 3 / 7, 0, 0)),
        ({"top_k": 1}, (1, 0, 0, 0)),
        ({"top_k": 9}, (0.4, 0.3, 0.2, 0.1)),
        ({"top_p": 0.69}, (4 / 7, 3 / 7, 0, 0)),
        ({"top_p": 0.71}, (4 / 9, 3 / 9, 2 / 9, 0)),
        ({"top_p": 1e-9}, (1, 0, 0, 0)),
        ({"top_k": 3, "top_p": 0.5}, (4 / 7, 3 / 7, 0, 0)),
    ],
)
def test_draws_follow_the_distribution(settings: dict, expected: tuple[float, ...]) -> None:
    chooser = sampler(**{"temperature": 1.0, "seed": 5, **settings})
    logits = units(*np.log([0.4, 0.3, 0.2, 0.1]))
    draws = 20_000
    counts = Counter(chooser.choose(logits) for _ in range(draws))
    for token, share in enumerate(expected):
        # five standard deviations of a binomial share; exactly none where the share is 0
        assert abs(counts[token] / draws - share) <= 5 * (share * (1 - share) / draws) ** 0.5


def test_a_seed_decides_the_draws_and_a_state_continues_them() -> None:
    logits = units(0.1, 0.2, 0.0, 0.3)
    settings = {"temperature": 1.0, "seed": 11, "frequency_penalty": 0.1}
    whole = sampler(**settings)
    expected = [whole.choose(logits) for _ in range(60)]
    first = sampler(**settings)
    begun = [first.choose(logits) for _ in range(25)]
    second = sampler(**{**settings, "seed": 0})
    second.state = first.state
    assert begun + [second.choose(logits) for _ in range(35)] == expected
    other = sampler(**{**settings, "seed": 12})
    assert [other.choose(logits) for _ in range(60)] != expected


def test_the_draws_are_these_on_every_machine() -> None:
    chooser = sampler(temperature=1.0, seed=42)
    assert [chooser.choose(units(0, 0, 0, 0)) for _ in range(12)] == [
        3,
        1,
        3,
        2,
        0,
        3,
        3,
        3,
        0,
        1,
        1,
        3,
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1}, {"temperature": float("nan")}, {"temperature": float("inf")},
        {"top_p": 0}, {"top_p": 1.1}, {"top_p": float("nan")}, {"top_k": -1}, {"seed": -1},
        {"presence_penalty": float("inf")}, {"frequency_penalty": float("nan")},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(settings: dict) -> None:
    with pytest.raises(InputError) as caught:
        SamplingSettings(**settings)
    assert len(caught.value.problems) == 1


def test_a_state_that_is_none() -> None:
    for state in ({}, {"random": 3, "chosen": {}}, {"random": {}, "chosen": {"x": "y"}}):
        with pytest.raises(InputError):
            sampler().state = state


@pytest.mark.parametrize(
    "choice",
    [
        {}, {"top_p": 1.0}, {"top_k": 40}, {"top_k": 40, "top_p": 1.0}, {"top_k": 10**6},
        {"top_p": 0.9999, "temperature": 4.0},
    ],
)  # fmt: skip
@pytest.mark.parametrize("spread", [4, 900])
def test_draws_are_those_of_the_sorted_vocabulary(choice: dict, spread: int) -> None:
    """A spread of 4 over 3,000 tokens: hundreds of equal logits on every border."""
    settings = replace(FOR_TEXT, **choice)
    drawing = Sampler(settings, 0.01, 3000)
    numbers, logits = np.random.Generator(np.random.PCG64(settings.seed)), np.random.default_rng(1)
    for _ in range(30):
        values = (logits.standard_normal(3000) * spread).astype(np.int32)
        order = sorted(range(3000), key=lambda token: (-int(values[token]), token))
        order = order[: settings.top_k or 3000]
        shares = np.exp((values[order] - values.max()) * 0.01 / settings.temperature)
        kept = int((np.cumsum(shares) < settings.top_p * shares.sum()).sum()) + 1
        heap = np.cumsum(shares[:kept])
        drawn = int((heap <= numbers.random() * heap[-1]).sum())
        assert drawing.choose(values) == order[drawn]
