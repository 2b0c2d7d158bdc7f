"""Generation closed on the chip: what is counted, what is priced, and where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from spikegpt_neuro.backends.emulator import Emulator, EmulatorSession
from spikegpt_neuro.cli.main import app
from spikegpt_neuro.energy import build_reports, build_study, run_text
from spikegpt_neuro.energy.choosing import ChoiceCounter, closed_loop_problem
from spikegpt_neuro.energy.report import EnergyReport
from spikegpt_neuro.energy.timing import CLOSED_LOOP, EVERY_MODE
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.selection import STAGE, SelectingModel, with_selection
from spikegpt_neuro.reports.html import html_page
from spikegpt_neuro.reports.tabular import layers_csv, parts_csv

TOKENS = np.random.default_rng(4).integers(0, 20, 70).tolist()
LOIHI2 = load_profile("loihi2")


def model(layout: str = "spike-driven", size: int = 20) -> LanguageModel:
    return random_network(RandomShape(layout, 1, 16, size, firing=0.3))


def reports(network: LanguageModel) -> dict[str, EnergyReport]:
    run = run_text(Emulator(), network, TOKENS, chooses=True)
    found = build_reports(network, run.counters, [LOIHI2], choosing=run.choosing)
    return {report.mode: report for report in found}


@pytest.mark.parametrize("layout", ["upstream", "rwkv", "spike-driven"])
def test_the_choice_is_counted_from_logits_as_a_run_of_it_counts(layout: str) -> None:
    network = model(layout)
    with EmulatorSession(with_selection(network)) as session:
        session.score(TOKENS)
        expected = session.counters
    run = run_text(Emulator(), network, TOKENS, windows=7, chooses=True)
    assert run.choosing is not None and run.choosing.difference(expected) is None
    assert set(run.counters.layers) == set(network.by_name)
    assert run_text(Emulator(), network, TOKENS[:3]).choosing is None


def test_logits_that_are_clipped_are_counted_alike() -> None:
    network = model()
    readout = replace(network.layers[-1], shift=np.zeros(20, np.int32))  # type: ignore[call-arg]
    loud = replace(network, layers=(*network.layers[:-1], readout))
    with EmulatorSession(with_selection(loud)) as session:
        session.score(TOKENS)
        expected = session.counters
    run = run_text(Emulator(), loud, TOKENS, chooses=True)
    assert run.choosing is not None and run.choosing.difference(expected) is None
    (report,) = build_reports(
        loud, run.counters, [LOIHI2], modes=[CLOSED_LOOP], choosing=run.choosing
    )
    clipped = expected.count("head.readout", "saturations")
    assert clipped > 0 and any(f"{clipped} logits" in text for text in report.warnings)
    counter = ChoiceCounter(loud)
    with pytest.raises(ValueError, match="logits of 0 tokens, counts of 70"):
        counter.counters(run.counters)


def test_a_closed_loop_is_generation_without_the_host_and_with_the_choice() -> None:
    found = reports(model())
    assert tuple(found) == EVERY_MODE
    through, closed = found["fall-through"], found[CLOSED_LOOP]
    assert isinstance(closed.network, SelectingModel) and closed.mapping is not None
    assert through.timing is not None and closed.timing is not None and through.mapping is not None
    assert through.timing.host_seconds > 0 == closed.timing.host_seconds
    # two synapses more: differences, and counts of them; the winner enters in its own time step
    assert closed.timing.steps == through.timing.steps + 2 == len(closed.timing.each_step)
    assert closed.timing.value == pytest.approx(sum(s.seconds for s in closed.timing.each_step))
    assert closed.energy is not None and through.energy is not None
    assert closed.energy.value < through.energy.value
    assert STAGE in closed.by_stage and not closed.violations
    # the table is on the chip, and whoever is at work in a step is updated in it
    held = {s.layer for core in closed.mapping.cores for s in core.slices}
    assert f"{STAGE}.feedback" in held and f"{STAGE}.winner" in held
    machine = closed.mapping.machine
    assert machine["embedding.table"].role == "synapse"
    neurons = sum(u.output.size for u in machine.layers if u.role == "neuron")
    lines = {line.event: line.count for line in closed.lines}
    updates = sum(count for event, count in lines.items() if event.startswith("neuron updates"))
    norms = sum(
        u.output.size * (len(machine.visits[u.name]) - 1)
        for u in machine.layers
        if u.role == "neuron"
    )
    assert updates == pytest.approx(neurons * closed.timing.steps, abs=norms)


def test_what_a_quoted_figure_rests_on_is_said() -> None:
    found = reports(model())
    text = " ".join(found[CLOSED_LOOP].warnings)
    for words in ("greedy", "random numbers", "never on silicon", "is assumed"):
        assert words in text and words not in " ".join(found["fall-through"].warnings)
    never = {mode: found[mode].to_dict()["never_counted"] for mode in found}
    assert any("embedding" in text for text in never["fall-through"])
    assert not any("embedding" in text for text in never[CLOSED_LOOP])
    assert any("the prompt" in text for text in never[CLOSED_LOOP])


@pytest.mark.parametrize("aim", ["time", "energy"])
def test_its_mapping_is_chosen_for_it(aim: str) -> None:
    network = model()
    run = run_text(Emulator(), network, TOKENS, chooses=True)
    plain, chosen = (
        build_reports(
            network, run.counters, [LOIHI2], modes=[CLOSED_LOOP], aim=given, choosing=run.choosing
        )[0]
        for given in (None, aim)
    )
    if aim == "time":
        assert chosen.timing is not None and plain.timing is not None
        assert chosen.timing.value <= plain.timing.value
    else:
        assert chosen.energy is not None and plain.energy is not None
        assert chosen.energy.value <= plain.energy.value


def test_targets_and_networks_without_a_loop_have_no_such_report() -> None:
    network = model()
    run = run_text(Emulator(), network, TOKENS, chooses=True)
    others = [load_profile(name) for name in ("loihi1-paper", "cmos45-int8", "jetson-orin-nano")]
    found = build_reports(network, run.counters, [*others, LOIHI2], choosing=run.choosing)
    assert [(r.profile.name, r.mode) for r in found if r.mode == CLOSED_LOOP] == [
        ("loihi2", CLOSED_LOOP)
    ]
    assert "says nothing of loops" in closed_loop_problem(network, others[0])
    large = model(size=257)
    assert "257 tokens" in closed_loop_problem(large, LOIHI2)
    counted = run_text(Emulator(), large, TOKENS, chooses=True)
    assert counted.choosing is None
    assert len(build_study(large, counted, [LOIHI2]).reports) == 2
    with pytest.raises(InputError, match="none of these profiles") as refused:
        build_study(large, counted, [LOIHI2, others[1]], modes=[CLOSED_LOOP])
    assert "257 tokens" in str(refused.value) and "cmos45-int8: its profile" in str(refused.value)
    plain = run_text(Emulator(), network, TOKENS)
    with pytest.raises(InputError, match="did not count what choosing tokens takes"):
        build_study(network, plain, [LOIHI2], modes=[CLOSED_LOOP])


def test_a_study_of_the_loop_alone_is_written_in_every_form() -> None:
    network = model()
    run = run_text(Emulator(), network, TOKENS, chooses=True)
    study = build_study(network, run, [LOIHI2], modes=[CLOSED_LOOP])
    values = json.loads(json.dumps(study.to_dict()))
    assert values["mode"] == CLOSED_LOOP
    assert Counters.from_dict(values["counters"]) == run.counters
    page = html_page(study)
    assert "generation, closed on the chip (greedy)" in page and "never on silicon" in page
    assert f"{STAGE}.winner" in parts_csv(study) and f"{STAGE}.winner" in layers_csv(study)


def test_the_command_shows_it_where_there_is_one(tmp_path: Path) -> None:
    characters = "abcdefghijklmnopqrst"
    network = replace(model(), vocabulary=json.dumps({str(i): c for i, c in enumerate(characters)}))
    write_network(network, tmp_path / "m.net")
    (tmp_path / "t.txt").write_text(characters * 2)
    command = ["energy", str(tmp_path / "m.net"), "--text", str(tmp_path / "t.txt")]
    for mode, expected in (
        ("all", list(EVERY_MODE)), ("both", list(EVERY_MODE[:2])), (CLOSED_LOOP, [CLOSED_LOOP]),
    ):  # fmt: skip
        done = CliRunner().invoke(app, [*command, "--profile", "loihi2", "--mode", mode, "--json"])
        assert done.exit_code == 0, done.exception
        assert [r["mode"] for r in json.loads(done.stdout)["reports"]] == expected
    done = CliRunner().invoke(app, [*command, "--profile", "loihi2"])
    assert done.exit_code == 0 and CLOSED_LOOP in done.stdout
    done = CliRunner().invoke(app, [*command, "--profile", "cmos45-int8", "--mode", CLOSED_LOOP])
    assert isinstance(done.exception, InputError)
