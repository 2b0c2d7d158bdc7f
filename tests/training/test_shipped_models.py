"""The trained spike-driven examples are what their model cards say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from spikegpt_neuro.training.checkpoint import load, load_model
from spikegpt_neuro.training.data import token_tensor
from spikegpt_neuro.training.evaluation import evaluate
from spikegpt_neuro.vocabulary import parse_vocabulary, read_vocabulary

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("name", "bits_per_character", "events", "largest_spike", "rate"),
    [
        ("graded", 1.7520, 127_000, 3, 0.0642),
        ("binary", 1.8409, 243_000, 1, 0.1184),
        ("sparse", 1.9543, 83_300, 3, 0.0416),
        ("parallel", 1.6501, 72_300, 15, 0.0347),
    ],
)
def test_model_card(
    name: str, bits_per_character: float, events: float, largest_spike: int, rate: float
) -> None:
    path = EXAMPLES / f"spike-driven-{name}" / f"{name}.pt"
    model = load_model(path)
    assert sum(parameter.numel() for parameter in model.parameters()) <= 1_970_000
    vocabulary = parse_vocabulary(load(path)["vocabulary"])
    assert vocabulary.text == read_vocabulary(EXAMPLES / "kjv-4x192/kjv-4x192.vocab.json").text
    text = (EXAMPLES / "kjv-4x192" / "kjv-valid.txt").read_text("ascii")[:25601]
    found = evaluate(model, token_tensor(vocabulary.encode(text), 63, 256, "text"), 256)
    # the order of float32 sums flips single spikes; one moves a window by up to some bits
    assert abs(found.bits_per_character - bits_per_character) < 1e-3
    assert found.events_per_token == pytest.approx(events, rel=0.01)
    assert found.mean_rate == pytest.approx(rate, rel=0.01)
    assert model.configuration.levels_input == largest_spike
    # all multiplications are the head's: nothing but spikes enters a block's projection
    assert found.multiplications_per_token <= 192 * 63


@pytest.mark.parametrize(
    ("name", "bits_per_character"), [("rwkv-4x96", 1.6537), ("rwkv-4x128", 1.6365)]
)
def test_a_plain_opponent_is_what_its_card_says(name: str, bits_per_character: float) -> None:
    path = EXAMPLES / name / "rwkv.pt"
    model = load_model(path)
    assert model.configuration.layout == "rwkv"
    vocabulary = parse_vocabulary(load(path)["vocabulary"])
    text = (EXAMPLES / "kjv-4x192" / "kjv-valid.txt").read_text("ascii")[:25601]
    found = evaluate(model, token_tensor(vocabulary.encode(text), 63, 256, "text"), 256)
    # float32 sums in another order
    assert abs(found.bits_per_character - bits_per_character) < 1e-3
    assert found.firing_rates == {}
