"""Training: it learns, it resumes bit for bit, its files rebuild the model."""

from __future__ import annotations

import csv
import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.training import checkpoint
from spikegpt_neuro.training.data import token_tensor, windows
from spikegpt_neuro.training.evaluation import evaluate, paired_difference
from spikegpt_neuro.training.log import COLUMNS
from spikegpt_neuro.training.loop import Progress, Trainer
from spikegpt_neuro.training.optimiser import Rates, orthogonalise, schedule
from spikegpt_neuro.training.settings import TrainingSettings
from spikegpt_neuro.training.spike_counts import SpikeCounts

VOCABULARY = 5
TEXT = token_tensor(np.arange(2000) * 3 % VOCABULARY, VOCABULARY, 16, "text")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(layout: str = "spike-driven", **choices: object) -> SpikeGPT:
    torch.manual_seed(1)
    model = SpikeGPT(
        SpikeGPTConfiguration(layout=layout, n_layer=2, n_embd=16, vocab_size=5, **choices)  # type: ignore[arg-type]
    )
    initialise(model)
    return model


def settings(**choices: object) -> TrainingSettings:
    base = TrainingSettings(
        steps=12, batch=2, context=16, evaluate_every=6, save_every=5,
        rates=Rates("muon", 5e-3, 5e-3, 2.0), rate_penalty=0.1,
    )  # fmt: skip
    return dataclasses.replace(base, **choices)  # type: ignore[arg-type]


def trainer(folder: Path, model: SpikeGPT, chosen: TrainingSettings) -> Trainer:
    return Trainer(model, chosen, TEXT, TEXT[:200], folder / "model.pt", "{}")


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("at", [5, 8, 10])
@pytest.mark.parametrize("recipe", ["adam", "muon"])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, at: int, recipe: str) -> None:
    chosen = settings(rates=Rates(recipe, 5e-3, 5e-3, 2.0))  # type: ignore[arg-type]
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = make(norm="batch")
    expected = trainer(tmp_path / "whole", whole, chosen).run()

    def interrupt(progress: Progress) -> None:
        if progress.step == at:
            raise Interrupted

    with pytest.raises(Interrupted):
        trainer(tmp_path / "broken", make(norm="batch"), chosen).run(interrupt)
    again = make(norm="batch")
    resumed = trainer(tmp_path / "broken", again, chosen)
    resumed.resume()
    assert resumed.step == at - at % 5
    found = resumed.run()
    assert found.bits_per_character == expected.bits_per_character
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_log_of_a_resumed_run_is_the_uninterrupted_ones(tmp_path: Path) -> None:
    chosen = settings(evaluate_every=2, save_every=5)

    def interrupt(progress: Progress) -> None:
        if progress.step == 8:
            raise Interrupted

    def rows(folder: Path) -> list[list[str]]:
        with (folder / "model.csv").open() as stream:
            found = list(csv.reader(stream))
        seconds = found[0].index("seconds")
        return [row[:seconds] + row[seconds + 1 :] for row in found]

    def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
        accumulator = importlib.import_module(
            "tensorboard.backend.event_processing.event_accumulator"
        ).EventAccumulator(str(folder))
        accumulator.Reload()
        return {
            tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
            for tag in accumulator.Tags()["scalars"]
            if tag != "seconds"
        }

    for name in ("whole", "broken"):
        folder = tmp_path / name
        folder.mkdir()

        def start(folder: Path = folder) -> Trainer:
            return Trainer(
                make(), chosen, TEXT, TEXT[:200], folder / "model.pt", "{}",
                tensorboard=folder / "events",
            )  # fmt: skip

        if name == "whole":
            start().run()
            continue
        with pytest.raises(Interrupted):
            start().run(interrupt)
        resumed = start()
        resumed.resume()
        resumed.run()
    assert [row[0] for row in rows(tmp_path / "whole")[1:]] == ["2", "4", "6", "8", "10", "12"]
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")
    found = events(tmp_path / "whole" / "events")
    assert events(tmp_path / "broken" / "events") == found
    column = COLUMNS.index("valid_bits_per_character")
    with (tmp_path / "whole" / "model.csv").open() as stream:
        written = [float(row[column]) for row in list(csv.reader(stream))[1:]]
    values = [value for _, value in found["valid_bits_per_character"]]
    assert values == pytest.approx(written, rel=1e-6)  # float32
    assert len([tag for tag in found if tag.startswith("firing_rate/blocks.")]) == 2 * 4


def test_resume_refuses_another_run(tmp_path: Path) -> None:
    trainer(tmp_path, make(), settings()).run()
    with pytest.raises(InputError, match=r"settings\.seed: stored 42, asked for 43"):
        trainer(tmp_path, make(), settings(seed=43)).resume()


@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
def test_it_learns_and_logs(tmp_path: Path, layout: str) -> None:
    chosen = settings(steps=120, batch=8, evaluate_every=40, dropout=0.0, rate_penalty=0.0)
    last = trainer(tmp_path, make(layout), chosen).run()
    assert last.evaluation is not None
    assert last.evaluation.bits_per_character < 0.7  # untrained: log2(5) = 2.32
    with (tmp_path / "model.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert tuple(rows[0]) == COLUMNS
    assert [row[0] for row in rows[1:]] == ["40", "80", "120"]


def test_model_file_rebuilds_the_model(tmp_path: Path) -> None:
    model = make(levels_hidden=1, norm="batch")
    trainer(tmp_path, model, settings()).run()
    loaded = checkpoint.load_model(tmp_path / "model.pt")
    assert loaded.configuration == model.configuration
    difference = paired_difference(
        evaluate(model, TEXT[:200], 16), evaluate(loaded, TEXT[:200], 16)
    )
    assert difference == (0.0, 0.0)


def test_rate_penalty_lowers_the_rates(tmp_path: Path) -> None:
    events = []
    for penalty in (0.0, 3.0):
        model = make()
        trainer(tmp_path, model, settings(steps=40, rate_penalty=penalty)).run()
        events.append(evaluate(model, TEXT[:200], 16).events_per_token)
    assert events[1] < 0.8 * events[0]


def test_a_penalty_of_events_leaves_the_height_of_spikes_alone() -> None:
    operand = torch.tensor([[[0.0, 1.0, 2.0, 9.0] * 4]], requires_grad=True)
    for penalty, moved in (("events", 0.5), ("additions", 1.0)):
        counts = SpikeCounts(make().configuration, penalty)  # type: ignore[arg-type]
        counts("blocks.0.srwkv.shift_key", operand)
        (gradient,) = torch.autograd.grad(torch.as_tensor(counts.penalised), operand)
        assert (gradient != 0).float().mean().item() == moved


def test_counts_are_those_of_the_operands() -> None:
    model = make().eval()
    seen: dict[str, torch.Tensor] = {}
    tokens, _ = windows(TEXT[:49], 16)
    with torch.no_grad():
        model(tokens, observe=seen.__setitem__)
    counts = SpikeCounts(model.configuration)
    with torch.no_grad():
        model(tokens, observe=counts)
    name = "blocks.1.srffn.shift_key"
    assert counts.events[name] == (seen[name] != 0).sum().item() * 64
    assert counts.additions[name] == seen[name].sum().item() * 64
    name = "blocks.0.srwkv.product_lif"
    assert counts.events[name] == (seen[name] != 0).sum().item() * 16
    assert counts.positions == tokens.numel()
    rate = counts.firing_rates()[name]
    assert rate == pytest.approx((seen[name] != 0).float().mean().item())


def test_penalised_share_is_one_where_every_operand_is_one() -> None:
    counts = SpikeCounts(make().configuration)
    for name, size in (
        ("srwkv.shift_key", 16), ("srwkv.shift_value", 16), ("srwkv.shift_receptance", 16),
        ("srwkv.product_lif", 16), ("srffn.shift_key", 16), ("srffn.shift_receptance", 16),
        ("srffn.hidden_lif", 64),
    ):  # fmt: skip
        for block in range(2):
            counts(f"blocks.{block}.{name}", torch.ones(2, 3, size, requires_grad=True))
    assert torch.as_tensor(counts.penalised).item() == pytest.approx(1.0)


def test_parallel_branches_count_the_same_operands() -> None:
    values = {**make().configuration.to_dict(), "branches": "parallel"}
    model = SpikeGPT(SpikeGPTConfiguration.from_dict(values))
    initialise(model, firing_gain=3.0, firing_bias=-2.0)
    counts = SpikeCounts(model.configuration)
    model(TEXT[:64].view(2, 32), observe=counts)
    parts = {name.split(".", 2)[2] for name in counts.events if name.startswith("blocks.0")}
    assert parts == {
        "parallel.shift_key",
        "parallel.shift_value",
        "parallel.shift_receptance",
        "parallel.product_lif",
        "parallel.shift_ffn_key",
        "parallel.shift_ffn_receptance",
        "parallel.hidden_lif",
    }
    assert model.blocks[0].ln1.bias.eq(-2).all() and not hasattr(model.blocks[0], "ln2")


def test_schedule() -> None:
    assert schedule(1, 100, 10) == pytest.approx(0.1, rel=1e-3)
    assert schedule(100, 100, 10) == pytest.approx(1 / 60)
    values = [schedule(step, 100, 0) for step in range(1, 101)]
    assert values == sorted(values, reverse=True)


def test_orthogonalise_brings_singular_values_near_one() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 24, 8)
    values = torch.linalg.svdvals(orthogonalise(matrices))
    # the quintic iteration oscillates around 1, as published
    assert values.min() > 0.5
    assert values.max() < 1.3
