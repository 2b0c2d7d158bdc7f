"""Answers to "up to five times less energy" on chips and beside measured machines."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from spikegpt_neuro.energy import build_report, build_reports
from spikegpt_neuro.energy.claims import claims, dense_joules
from spikegpt_neuro.hardware_profiles import Profile, load_profile, parse_profile


def _machine(status: str, joules: float) -> Profile:
    figure = {"value": joules, "unit": "J", "status": status, "source": "me", "note": "n"}
    return parse_profile(
        {
            "schema": 1, "name": "my-gpu", "title": "t", "summary": "s", "method": "per-token",
            "coefficients": {"energy_per_token": figure},
        }
    )  # fmt: skip


def test_the_dense_opponent_has_its_closed_form_where_only_synapses_cost(run: Any) -> None:
    network, counters = run("spike-driven", 1)
    report = build_report(network, counters, load_profile("spinnaker2-catalogue"))
    products = sum(layer.weight.size for layer in network.layers if layer.kind == "dense")
    assert dense_joules(report) == Fraction(10 * products, 10**12)
    answer = claims([report])[0]
    effective = counters.total("synaptic_operations") / counters.tokens
    assert float(dense_joules(report)) / report.energy.value == pytest.approx(
        products / effective, rel=1e-9
    )  # the report's rounding
    assert answer.reached is None and "no verdict" in answer.sentence  # only a part is priced


def test_every_chip_and_mode_gets_an_answer(run: Any) -> None:
    network, counters = run("spike-driven", 1)
    profiles = [load_profile(name) for name in ("cmos45-int8", "loihi1-paper", "loihi2", "xylo")]
    found = claims(build_reports(network, counters, profiles))
    assert [c.method for c in found] == [
        "loihi1-paper, prefill (pipelined)", "loihi1-paper, generation (fall-through)",
        "loihi2, prefill (pipelined)", "loihi2, generation (fall-through)",
    ]  # fmt: skip
    for claim in found:
        if claim.method.startswith("loihi1"):
            assert (claim.ratio, claim.reached) == (None, None)
            assert "no verdict" in claim.sentence and "broken design rules" in claim.sentence
            continue
        assert claim.ratio is not None and claim.ratio > 1
        assert claim.reached is (claim.ratio >= 5)
        word = "yes" if claim.reached else "no"
        assert f"Five times less: {word}." in claim.sentence
    # the chips of generation mostly wait, dense or not
    assert found[2].ratio > found[3].ratio


def test_a_measured_machine_gets_an_answer_and_a_figure_of_something_else_none(run: Any) -> None:
    network, counters = run("upstream", 1)
    chip = build_report(network, counters, load_profile("loihi2"))
    assert chip.energy is not None
    joules = 3 * chip.energy.value
    measured = build_report(network, counters, _machine("measured", joules))
    answer = claims([chip, measured])[1]
    assert answer.ratio == pytest.approx(3, rel=1e-9)
    assert answer.reached is False and "Five times less: no" in answer.sentence
    derived = build_report(network, counters, _machine("derived", joules))
    refusal = claims([chip, derived])[1]
    assert (refusal.ratio, refusal.reached) == (None, None)
    assert "no answer" in refusal.sentence
    far = build_report(network, counters, _machine("measured", 10 * joules))
    assert claims([replace(chip), far])[1].reached is True


def test_a_chip_that_cannot_run_the_network_gets_no_verdict_beside_a_machine_either(
    run: Any,
) -> None:
    network, counters = run("upstream", 1)
    chips = [
        build_report(network, counters, load_profile(name))
        for name in ("loihi1-paper", "truenorth", "loihi2")
    ]
    assert [bool(chip.violations) for chip in chips] == [True, True, False]
    machine = build_report(network, counters, _machine("measured", 1.0))
    found = claims([*chips, machine])
    for claim, chip in zip(found, chips * 2, strict=True):
        if chip.violations:
            assert (claim.ratio, claim.reached) == (None, None)
            broken = f"({len(chip.violations)} broken design rules)"
            assert "no verdict" in claim.sentence and broken in claim.sentence
        else:
            assert claim.reached is not None


def test_where_only_synapses_are_priced_there_is_no_verdict_beside_a_machine_either(
    run: Any,
) -> None:
    network, counters = run("spike-driven", 1)
    chip = build_report(network, counters, load_profile("spinnaker2-catalogue"))
    assert not chip.violations and set(chip.by_category) == {"synaptic"}
    found = claims([chip, build_report(network, counters, _machine("measured", 1.0))])
    assert len(found) == 2
    for claim in found:
        assert (claim.ratio, claim.reached) == (None, None)
        assert "only synaptic operations have a price there" in claim.sentence


def test_a_verdict_says_where_power_at_rest_has_no_price(run: Any) -> None:
    network, counters = run("spike-driven", 1)
    reports = [
        build_report(network, counters, load_profile(name))
        for name in ("spinnaker2-prototype", "loihi2")
    ]
    assert not reports[0].violations
    silent, told = claims(reports)
    assert silent.reached is not None and "power at rest left out" in silent.sentence
    assert "power at rest" not in told.sentence
