"""A study: windows add up to the run, and every written form holds the same figures."""

from __future__ import annotations

import csv
import doctest
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.energy import Study, build_study, run_text
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import list_profiles, load_profile
from spikegpt_neuro.mapping import map_network, sizes
from spikegpt_neuro.reports import mapping_tables, numbers, profile_tables, svg, tabular, terminal
from spikegpt_neuro.reports.figures import write_figures

MakeStudy = Callable[[str], Study]
LAYOUTS = pytest.mark.parametrize("layout", ["upstream", "spike-driven"])


def _printed(*renderables: object) -> str:
    text = io.StringIO()
    console = Console(file=text, width=120, force_terminal=False)
    for renderable in renderables:
        console.print(renderable)
    return text.getvalue()


def _words(*renderables: object) -> str:
    """What is printed, lines joined."""
    return " ".join(_printed(*renderables).split())


@LAYOUTS
def test_windows_and_raster_come_from_the_run(make_study: MakeStudy, layout: str) -> None:
    study = make_study(layout)
    total = Counters()
    for window in study.run.windows:
        total += window
    assert total == study.run.counters
    assert study.run.boundaries[-1] == 90
    assert set(study.run.spikes) == set(study.network.spiking_layers)
    for spikes in study.run.spikes.values():
        assert spikes.shape == (90, 16)
    for name, rates in study.firing_rates().items():
        assert len(rates) == 40 and all(0 <= r <= 1 for r in rates), name


def test_reading_in_windows_counts_as_reading_at_once(make_study: MakeStudy) -> None:
    study = make_study("upstream")
    tokens = [3, 1, 4, 1, 5, 9, 2, 6]
    seen: list[tuple[int, int]] = []
    pieces = run_text(
        Emulator(), study.network, tokens, windows=3, progress=lambda a, b: seen.append((a, b))
    )
    with Emulator().open(study.network) as session:
        session.score(tokens)
        assert pieces.counters == session.counters
    assert seen[-1] == (8, 8)
    with pytest.raises(InputError, match="The text has no token"):
        run_text(Emulator(), study.network, [])


@LAYOUTS
def test_json_carries_the_main_figure_and_every_report(make_study: MakeStudy, layout: str) -> None:
    study = make_study(layout)
    values = json.loads(tabular.as_json(study.to_dict()))
    assert values["profile"] == "cmos45-int8"
    assert values["energy_joules_per_token"] == values["reports"][0]["energy_joules_per_token"] > 0
    assert len(values["reports"]) == 1 + 2 + 2 + 1 + 1
    assert Counters.from_dict(values["counters"]) == study.run.counters


def test_csv_parts_sum_to_the_totals_to_the_last_digit(make_study: MakeStudy) -> None:
    study = make_study("upstream")
    rows = list(csv.DictReader(io.StringIO(tabular.parts_csv(study))))
    for report in study.reports:
        mine = [
            float(r["energy_joules_per_token"])
            for r in rows
            if (r["profile"], r["mode"]) == (report.profile.name, report.mode)
        ]
        assert sum(mine) == (report.energy.value if report.energy else 0)
    layers = list(csv.DictReader(io.StringIO(tabular.layers_csv(study))))
    assert len(layers) == len(study.reports) * len(study.network.layers)


def test_terminal_summary_says_what_matters(make_study: MakeStudy) -> None:
    text = _words(*terminal.study_summary(make_study("upstream"), details=True))
    for expected in (
        "no per-operation data",
        "0 of 15 projections took only operands 0 and ±1",
        "Five times less: no.",
        "not counted:",
        "What moves the total",
        "are derived from board runs",
        "how the total is made",
        "E_AC R 3 T d^2",
        "On loihi2, prefill (pipelined):",
        "Lava-DL, tutorials",
        "The text as one sequence of 90 tokens",
    ):
        assert expected in text, expected
    assert "0 J" not in text


def test_terminal_mapping_lists_sizes_traffic_and_rules(make_study: MakeStudy) -> None:
    network = make_study("upstream").network
    profile = load_profile("loihi1-paper")
    mapping = map_network(network, profile)
    text = _words(*mapping_tables.mapping_summary(mapping, sizes(network, profile)))
    for expected in (
        "pessimistic",
        "middle (shown below)",
        "hops a token",
        "graded_spikes:",
        "Fullest cores",
    ):
        assert expected in text, expected
    values = tabular.mapping_dict(mapping, sizes(network, profile))
    assert [row["packing"] for row in values["packings"]] == [
        "pessimistic", "middle", "optimistic",
    ]  # fmt: skip
    json.dumps(values, allow_nan=False)


@pytest.mark.parametrize("name", list_profiles())
def test_every_profile_prints_and_becomes_json(name: str) -> None:
    profile = load_profile(name)
    assert profile.title in _words(*profile_tables.profile_details(profile))
    values = json.loads(tabular.as_json(tabular.profile_dict(profile)))
    assert set(values["coefficients"]) == set(profile.coefficients)


def test_the_list_of_profiles_has_one_line_each() -> None:
    text = _printed(profile_tables.profile_list([load_profile(name) for name in list_profiles()]))
    assert all(name in text for name in list_profiles())


def test_the_same_study_writes_the_same_bytes(make_study: MakeStudy, tmp_path: Path) -> None:
    first = make_study("upstream")
    again = build_study(
        first.network, first.run, [r.profile for r in first.reports[::2]], text=first.text
    )
    twice = build_study(
        first.network, first.run, [r.profile for r in first.reports[::2]], text=first.text
    )
    assert tabular.as_json(again.to_dict()) == tabular.as_json(twice.to_dict())
    one = write_figures(again, tmp_path / "one")
    two = write_figures(twice, tmp_path / "two")
    assert [p.name for p in one] == [p.name for p in two]
    assert {p.suffix for p in one} == {".svg", ".png"}
    assert {p.name.split("-")[0] for p in one} >= {
        "energy", "sensitivity", "mapping", "opponents", "activity.svg", "firing", "spikes.svg",
    }  # fmt: skip
    for a, b in zip(one, two, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_a_study_needs_a_profile(make_study: MakeStudy) -> None:
    study = make_study("upstream")
    with pytest.raises(InputError, match="at least one hardware profile"):
        build_study(study.network, study.run, [])


def test_numbers_read_as_documented() -> None:
    assert doctest.testmod(numbers).failed == 0
    assert doctest.testmod(svg).failed == 0
    assert numbers.engineering(999.96e-9, "J") == "1 µJ"
    assert numbers.engineering(-2e-3, "s") == "-2 ms"
    assert numbers.engineering(3e-20, "J") == "3e-05 fJ"
