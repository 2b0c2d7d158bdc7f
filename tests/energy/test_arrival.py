"""Tokens that arrive now and then: watts times the gap, and ratios that tend to one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from spikegpt_neuro.energy import build_report
from spikegpt_neuro.energy.arrival import arrival_rows
from spikegpt_neuro.energy.claims import dense_bill
from spikegpt_neuro.energy.study import Rows
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import load_profile

WATTS = {"low": ("0.232", "0"), "value": ("0.257", "0.0007"), "high": ("0.47", "0.0025")}
"""Of one Loihi 2 chip at rest, and of a core in use."""


def test_a_chip_that_stays_on_draws_its_power_until_the_next_token(run: Any) -> None:
    report = build_report(*run("spike-driven", 3), load_profile("loihi2"), mode="fall-through")
    assert report.timing is not None and report.energy is not None and report.mapping is not None
    assert report.mapping.chips == 1 and not report.violations
    for row in arrival_rows(report, (1, 10, 100)):
        assert row.always_on is not None and row.note == ""
        for end, (chip, core) in WATTS.items():
            watts = Fraction(chip) + Fraction(core) * len(report.mapping.cores)
            gap = Fraction(1, int(row.rate)) - Fraction(getattr(report.timing, end))
            exact = Fraction(getattr(report.energy, end)) + watts * gap
            assert getattr(row.always_on, end) == pytest.approx(float(exact), rel=1e-12)
        assert row.gated == report.energy
    # the chip alone, over a tenth of a second, is what the review of the figures found: 25.7 mJ
    tenth = arrival_rows(report, (10,))[0].always_on
    assert tenth is not None
    cores = 0.0007 * len(report.mapping.cores) * 0.1
    assert tenth.value - cores == pytest.approx(0.0257, rel=0.01)


def test_the_slower_tokens_come_the_less_it_matters_what_they_cost(run: Any) -> None:
    report = build_report(*run("spike-driven", 3), load_profile("loihi2"), mode="fall-through")
    paid = dense_bill(report)
    assert report.energy is not None and report.timing is not None and paid.timing is not None
    rates = (0.001, 1.0, 100.0, 1000.0)
    rows = arrival_rows(report, rates)
    ratios = [row.ratio_always_on for row in rows]
    assert ratios == sorted(ratios) and ratios[0] == pytest.approx(1, abs=1e-6)
    dense = float(paid.joules_per_token)
    for rate, row in zip(rates, rows, strict=True):
        assert row.ratio_gated == pytest.approx(dense / report.energy.value, rel=1e-12)
        assert row.always_on is not None and row.ratio_always_on is not None
        watts = (row.always_on.value - report.energy.value) / (1 / rate - report.timing.value)
        opponent = dense + watts * (1 / rate - paid.timing.value)
        assert row.ratio_always_on == pytest.approx(opponent / row.always_on.value, rel=1e-9)
    # generation: with the gap gone both are the figures of the report
    limit = 1 / max(report.timing.value, paid.timing.value)
    (at_limit,) = arrival_rows(report, (limit * (1 - 1e-12),))
    assert at_limit.always_on is not None and at_limit.ratio_always_on is not None
    assert at_limit.ratio_always_on > ratios[-1]


def test_what_a_target_cannot_do_or_nobody_knows_is_no_number(run: Any) -> None:
    network, counters = run("spike-driven", 3)
    loihi2 = load_profile("loihi2")
    report = build_report(network, counters, loihi2, mode="fall-through")
    assert report.timing is not None
    (fast,) = arrival_rows(report, (1.01 / report.timing.value,))
    assert fast.always_on is fast.gated is fast.ratio_always_on is None
    assert "cannot keep up" in fast.note
    unfit = build_report(network, counters, load_profile("loihi1-paper"), mode="fall-through")
    assert unfit.violations
    (row,) = arrival_rows(unfit, (10,))
    assert row.always_on is not None and row.ratio_always_on is row.ratio_gated is None
    assert "broken design rules" in row.note
    figures = {k: f for k, f in loihi2.coefficients.items() if "static_power" not in k}
    unknown = replace(loihi2, coefficients=figures)
    (row,) = arrival_rows(build_report(network, counters, unknown, mode="fall-through"), (10,))
    assert row.always_on is row.gated is None and "not published" in row.note
    assert arrival_rows(build_report(network, counters, loihi2)) == ()
    timeless = load_profile("spinnaker2-prototype")
    assert arrival_rows(build_report(network, counters, timeless, mode="fall-through")) == ()
    assert arrival_rows(build_report(network, counters, load_profile("cmos45-int8"))) == ()


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_is_a_number_above_zero(rate: float) -> None:
    with pytest.raises(InputError, match="a rate is a number above 0"):
        Rows(rates=(1.0, rate))
