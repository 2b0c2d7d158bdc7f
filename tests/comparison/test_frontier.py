"""The frontier: who is beaten by whom, references at equal quality, and runs that are kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from spikegpt_neuro.cli.main import app
from spikegpt_neuro.comparison.frontier import Point, Quality, answer, compared, evaluate, points_of
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network


def _point(model: str, layout: str, bits: float, joules: float, broken: int = 0) -> Point:
    cost = {"joules_per_token": joules, "chips": 1.0, "seconds_per_token": None}
    return Point(model, layout, 1, bits, "chip", "pipelined", None, None, cost, broken, ())


def test_points_that_no_other_beats_are_marked_and_equal_quality_is_interpolated() -> None:
    points = compared(
        [
            _point("wide", "rwkv", 1.7, 100e-6), _point("narrow", "rwkv", 1.9, 1e-6),
            _point("silly", "rwkv", 1.8, 500e-6), _point("spikes", "spike-driven", 1.8, 4e-6),
            _point("worse", "spike-driven", 2.0, 9e-6),
        ]
    )  # fmt: skip
    by_name = {p.model: p for p in points}
    kept = [p.model for p in points if "joules_per_token" in p.frontier]
    assert kept == ["wide", "narrow", "spikes"]
    spikes = by_name["spikes"]
    assert spikes.reference_joules == pytest.approx(10e-6)  # half way between, in logarithms
    assert spikes.ratio == pytest.approx(2.5)
    assert by_name["worse"].ratio is None and by_name["wide"].ratio is None
    assert all("seconds_per_token" not in p.frontier for p in points)
    (sentence,) = answer(points)
    assert "2.50 times less" in sentence and "spikes" in sentence


def test_no_verdict_where_the_target_cannot_run_the_model() -> None:
    points = compared(
        [
            _point("a", "rwkv", 1.7, 9e-6), _point("b", "rwkv", 1.9, 3e-6),
            _point("s", "spike-driven", 1.8, 1e-6, broken=3),
        ]
    )  # fmt: skip
    (sentence,) = answer(points)
    assert "no verdict" in sentence and "3 design rules" in sentence


def test_a_run_is_kept_and_read_back_equal_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    network = random_network(RandomShape(n_layer=1, n_embd=16))
    tokens = np.random.default_rng(0).integers(0, network.info.vocabulary_size, 60)
    file = tmp_path / "run.json"
    first = evaluate(network, tokens, stored=file)
    calls: list[int] = []
    again = evaluate(network, tokens, stored=file, progress=lambda done, total: calls.append(done))
    assert not calls and again.to_dict() == first.to_dict()
    file.write_text(file.read_text()[:50])
    third = evaluate(network, tokens, stored=file, progress=lambda done, total: calls.append(done))
    assert calls and third.to_dict() == first.to_dict()
    rows = points_of("m", network, first, [load_profile("loihi2"), load_profile("cmos45-int8")],
                     ("pipelined", "fall-through"))  # fmt: skip
    assert [(p.profile, p.mode) for p in rows] == [
        ("loihi2", "pipelined"), ("loihi2", "fall-through"), ("cmos45-int8", ""),
    ]  # fmt: skip
    assert all(math.isfinite(p.cost["joules_per_token"] or math.nan) for p in rows)
    # a run that did not count choosing is made again where that is asked for, and kept
    assert first.choosing is None
    chosen = evaluate(network, tokens, stored=file, chooses=True)
    calls.clear()
    kept = evaluate(
        network, tokens, stored=file, chooses=True, progress=lambda done, total: calls.append(done)
    )
    assert not calls and kept.to_dict() == chosen.to_dict() != first.to_dict()
    assert kept.choosing == chosen.choosing and chosen.counters == first.counters
    rows = points_of("m", network, kept, [load_profile("loihi2")], ("closed-loop",))
    assert [(p.profile, p.mode) for p in rows] == [("loihi2", "closed-loop")]
    assert isinstance(first.counters, Counters) and isinstance(first, Quality)


def test_the_command_writes_table_plot_and_cache(tmp_path: Path) -> None:
    characters = "abcdefghijklmnopqrstuvwxyz .,"
    vocabulary = json.dumps({str(i): c for i, c in enumerate(characters)})
    models = []
    for width in (16, 32):
        shape = RandomShape(n_layer=1, n_embd=width, vocabulary_size=len(characters))
        path = tmp_path / f"w{width}.net"
        write_network(random_network(shape), path)
        models.append(str(path))
    text, vocab = tmp_path / "text.txt", tmp_path / "vocab.json"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 3)
    vocab.write_text(vocabulary)
    outputs = [tmp_path / f"out.{kind}" for kind in ("json", "csv", "svg", "png")]
    command = ["frontier", *models, "--text", str(text), "--vocab", str(vocab), "--profile",
               "loihi2", "--cache", str(tmp_path / "cache"), "--json"]  # fmt: skip
    for output in outputs:
        command += ["--output", str(output)]
    (tmp_path / "cache").mkdir()
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    modes = ["pipelined", "fall-through", "closed-loop"]
    assert [point["mode"] for point in found["points"]] == modes * 2
    assert len(list((tmp_path / "cache").glob("*.json"))) == 2
    assert all(output.stat().st_size > 100 for output in outputs)
    assert json.loads(outputs[0].read_text())["points"] == found["points"]
