"""What a token costs that arrives now and then: a chip that stays on, and one that is switched off.

Tokens arrive one at a time, R a second, and walk through the machine as in generation, in t_token
seconds for E_token joules. In between time steps stand still and powers go on:

    always on     E = E_token + (P_static chips + P_core cores + P_host) (1 / R - t_token)
    power-gated   E = E_token                 while off nothing is drawn, and waking costs nothing

The second is a bound, not a price: what waking costs, and what keeps weights and states through
the gap, is published for none of these targets. The opponent is the same network on the same cores
with every product computed and every value sent; always on, the ratio tends to 1 as R falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from spikegpt_neuro.energy.claims import dense_bill, no_verdict
from spikegpt_neuro.energy.event_driven import powers
from spikegpt_neuro.energy.parts import Energy, settle, total
from spikegpt_neuro.energy.report import EnergyReport
from spikegpt_neuro.energy.timing import ENDS
from spikegpt_neuro.errors import InputError

RATES: Final = (1.0, 10.0, 100.0)
"""Tokens a second that a report shows unless told otherwise."""

NOT_IN_RATES: Final = (
    "waking a chip that was switched off, in joules and seconds, and keeping its weights and "
    "states meanwhile: published for none of these targets, so power-gated figures are bounds",
    "arithmetic targets, their opponents included: their static power is not published, so nothing "
    "is said about them at a rate",
    "measured machines: what they draw between tokens is not in their figure a token",
)
"""What to know before quoting a rate."""


@dataclass(frozen=True)
class ArrivalRow:
    """Joules a token on one target at one rate.

    None where the target cannot keep up (``note`` says so) or its static power is not published.
    ``ratio_*``: joules of the same network computed densely there at the same rate over these;
    None also where the target gets no verdict (``energy.claims``).
    """

    profile: str
    rate: float
    always_on: Energy | None
    gated: Energy | None
    ratio_always_on: float | None
    ratio_gated: float | None
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "profile": self.profile,
            "tokens_per_second": self.rate,
            "always_on_joules_per_token": None
            if self.always_on is None
            else self.always_on.to_dict(),
            "power_gated_joules_per_token": None if self.gated is None else self.gated.to_dict(),
            "dense_over_this_always_on": self.ratio_always_on,
            "dense_over_this_power_gated": self.ratio_gated,
            "note": self.note,
        }


def check_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """Tokens a second, without repetition. Raises InputError for one that is not above 0."""
    wrong = [f"{rate} tokens a second" for rate in rates if not 0 < rate < float("inf")]
    if wrong:
        raise InputError("a rate is a number above 0:", wrong)
    return tuple(dict.fromkeys(rates))


def arrival_rows(report: EnergyReport, rates: Sequence[float] = RATES) -> tuple[ArrivalRow, ...]:
    """Rows of a report of generation on a chip whose times are published; none of others."""
    if report.mode != "fall-through" or report.energy is None or report.timing is None:
        return ()
    watts = static_watts(report)
    own = _At(report.energy, _seconds(report.timing), watts)
    paid = dense_bill(report)
    assert paid.timing is not None
    dense = _At(total(settle(paid.parts)), _seconds(paid.timing), watts)
    reason = no_verdict(report)
    rows = []
    for rate in check_rates(rates):
        if watts is None:
            note = "its static power is not published"
            rows.append(ArrivalRow(report.profile.name, rate, None, None, None, None, note))
            continue
        if rate * report.timing.value > 1:
            most = 1 / report.timing.value
            note = f"cannot keep up: one text at a time gives {most:.4g} tokens a second"
            rows.append(ArrivalRow(report.profile.name, rate, None, None, None, None, note))
            continue
        always_on = own.always_on(rate)
        ratios: tuple[float | None, float | None] = (None, None)
        note = "" if reason is None else f"no ratio: {reason}"
        if reason is None and rate * paid.timing.value > 1:
            note = "no ratio: the opponent cannot keep up"
        elif reason is None:
            ratios = (
                dense.always_on(rate).value / always_on.value,
                dense.energy.value / own.energy.value,
            )
        rows.append(ArrivalRow(report.profile.name, rate, always_on, own.energy, *ratios, note))
    return tuple(rows)


@dataclass(frozen=True)
class _At:
    """A token's joules and seconds, and the watts between tokens; each low, middle, high."""

    energy: Energy
    seconds: Energy
    watts: Energy | None

    def always_on(self, rate: float) -> Energy:
        """Joules a token at so many a second; a time above its interval leaves no gap."""
        assert self.watts is not None
        return Energy(
            *(
                getattr(self.energy, end)
                + getattr(self.watts, end) * max(0.0, 1 / rate - getattr(self.seconds, end))
                for end in ENDS
            )
        )


def _seconds(timing: Any) -> Energy:
    return Energy(timing.low, timing.value, timing.high)


def static_watts(report: EnergyReport) -> Energy | None:
    """What the target draws whether it works or not; None where the chips' part is unpublished."""
    drawn = powers(report.profile, report.mapping)
    if drawn[0].figure is None:
        return None

    def watts(end: str) -> float:
        figures = ((power.count, power.figure) for power in drawn if power.figure is not None)
        return float(sum(count * getattr(figure, end) for count, figure in figures))

    return Energy(*map(watts, ENDS))
