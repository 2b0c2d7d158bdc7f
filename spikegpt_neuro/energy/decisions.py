"""What a classifier's decision costs: a text of mean length, read to its end or decided early.

    joules    tokens * joules a token + (static + host) joules a step * steps until the pipeline
              is empty
    seconds   (tokens + steps until the pipeline is empty) * seconds a token

Tokens are a mean, at the mean events of a token: the first tokens of a text, at which early
decisions are taken, are assumed to cost what its tokens cost on average. The reset between texts
is not priced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spikegpt_neuro.energy.report import EnergyReport


@dataclass(frozen=True)
class Decisions:
    """What was decided in a run. ``tokens``: of a text, on average.

    ``accuracy``: share of the texts decided as labelled; None without labels. ``confidence``: the
    probability at which a class is taken early; ``early_tokens`` tokens are read then on average,
    and ``early_accuracy`` is right.
    """

    texts: int
    tokens: float
    accuracy: float | None = None
    confidence: float | None = None
    early_tokens: float | None = None
    early_accuracy: float | None = None


@dataclass(frozen=True)
class DecisionCost:
    """Of one target and mode. None where the profile has no energies, or no times."""

    profile: str
    mode: str
    joules: float | None
    seconds: float | None
    early_joules: float | None = None
    early_seconds: float | None = None


def decision_cost(report: EnergyReport, decisions: Decisions) -> DecisionCost:
    """Estimated joules and seconds of a mean decision, and of an early one where there is one."""
    early = decisions.early_tokens
    return DecisionCost(
        report.profile.name,
        report.mode,
        report.joules_of(decisions.tokens),
        _seconds(report, decisions.tokens),
        None if early is None else report.joules_of(early),
        None if early is None else _seconds(report, early),
    )


def decisions_dict(decisions: Decisions, reports: Sequence[EnergyReport]) -> dict[str, Any]:
    """Plain JSON values of the decisions and their costs on every target."""
    costs = [asdict(decision_cost(report, decisions)) for report in reports]
    return {**asdict(decisions), "targets": costs}


def _seconds(report: EnergyReport, tokens: float) -> float | None:
    return None if report.timing is None else report.timing.seconds(tokens)
