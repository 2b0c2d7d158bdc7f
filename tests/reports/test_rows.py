"""Batches, streams and arrival rates: the same values on a terminal, a page, in JSON and Python."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from rich.console import Console

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.energy import Study, build_study, run_text
from spikegpt_neuro.energy.study import Rows
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.reports.html import html_page
from spikegpt_neuro.reports.numbers import count, engineering
from spikegpt_neuro.reports.rows import ALL_ROWS, rows_section
from spikegpt_neuro.reports.terminal import study_summary

PROFILES = ("cmos45-int8", "loihi1-paper", "loihi2")
ROWS = Rows(batches=(1, 4), streams=(1, 5, 100000), rates=(20.0, 1e6))
TITLES = ("Batches: tokens that share", "Interleaved generations:", "Arrival rates: a token")


@cache
def _study() -> Study:
    network = random_network(RandomShape(layout="spike-driven", levels=3, n_layer=1, n_embd=32))
    tokens = np.random.default_rng(5).integers(0, network.info.vocabulary_size, 30).tolist()
    run = run_text(Emulator(), network, tokens, batches=ROWS.batches)
    return build_study(network, run, [load_profile(p) for p in PROFILES], rows=ROWS)


def _printed(study: Study, **options: object) -> str:
    text = io.StringIO()
    console = Console(file=text, width=300, force_terminal=False)
    for renderable in study_summary(study, **options):  # type: ignore[arg-type]
        console.print(renderable)
    return text.getvalue()


def test_every_value_stands_in_json_on_the_page_and_on_the_terminal() -> None:
    study = _study()
    values = json.loads(json.dumps(study.to_dict(), allow_nan=False))
    page, shown = rows_section(study), _printed(study, also=ALL_ROWS)
    assert page in html_page(study)
    assert [(r["mode"], r["batch"]) for r in values["batches"]] == [
        ("prefill", 1), ("prefill", 4), ("generation", 1), ("generation", 4),
    ]  # fmt: skip
    for row, told in zip(study.batches, values["batches"], strict=True):
        assert told == row.to_dict()
        for text in (
            count(told["weights_read"]), count(told["weights_read_densely"]),
            engineering(told["whole_bill_joules_per_token"], "J"),
            engineering(told["products_densely_joules_per_token"], "J"),
            f"{told['dense_over_this_whole_bill']:.2f}",
        ):  # fmt: skip
            assert text in page and text in shown
    assert [(r["profile"], r["streams"]) for r in values["streams"]] == [
        (name, n) for name in ("loihi1-paper", "loihi2") for n in ROWS.streams
    ]
    for row, told in zip(study.streams, values["streams"], strict=True):
        assert told == row.to_dict()
        if told["energy_joules_per_token"] is None:
            assert (told["profile"], told["streams"]) == ("loihi2", 100000)
            assert "does not fit" in page and "does not fit" in shown
            continue
        for text in (
            engineering(told["energy_joules_per_token"], "J"),
            engineering(told["seconds_per_token"], "s"),
        ):
            assert text in page and text in shown
    for row, told in zip(study.arrivals, values["arrival_rates"], strict=True):
        assert told == row.to_dict()
        if told["always_on_joules_per_token"] is None:
            assert "cannot keep up" in page and "cannot keep up" in shown
            continue
        for kind in ("always_on", "power_gated"):
            text = engineering(told[f"{kind}_joules_per_token"]["value"], "J")
            assert text in page and text in shown
    for sentence in values["not_in_rows"]:
        assert sentence in shown


@pytest.mark.parametrize("which", [(), *((name,) for name in ALL_ROWS)])
def test_the_terminal_shows_the_tables_that_are_asked_for(which: tuple[str, ...]) -> None:
    shown = _printed(_study(), also=which)
    for name, title in zip(ALL_ROWS, TITLES, strict=True):
        assert (title in shown) == (name in which)
    assert all(title in _printed(_study(), details=True) for title in TITLES)


def test_a_run_whose_operands_were_not_seen_shows_a_batch_of_one(
    make_study: Callable[[str], Study],
) -> None:
    assert {row.batch for row in make_study("upstream").batches} == {1}
