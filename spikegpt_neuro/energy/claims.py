"""The claim "up to five times less energy" on chips and beside machines: an answer for each.

``baselines`` answers it for arithmetic. Here a chip runs the same network twice: as it is, and with
every product computed, every value sent and every neuron updated, at the same prices and on the
same cores. A machine's joules per token answer it only where they were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.energy.baselines import CLAIM, times_less
from spikegpt_neuro.energy.pricing import Bill, bill
from spikegpt_neuro.energy.report import EnergyReport
from spikegpt_neuro.energy.timing import MODE_TITLES
from spikegpt_neuro.mapping.traffic import measure


@dataclass(frozen=True)
class Claim:
    """One answer. ``ratio``: the opponent's joules over this network's; ``reached``: whether that
    is five or more, None where no like-for-like figure exists."""

    method: str
    opponent: str
    ratio: float | None
    reached: bool | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "method": self.method,
            "opponent": self.opponent,
            "ratio": self.ratio,
            "five_times_less": self.reached,
            "sentence": self.sentence,
        }


def all_computed(layer: LayerActivity) -> LayerActivity:
    """The same layer where no operand is zero and no neuron rests."""
    updates = layer.active_updates + layer.idle_updates
    return replace(
        layer,
        synaptic_operations=layer.dense_operations,
        input_events=layer.tokens * layer.input_size,
        output_events=layer.tokens * layer.size,
        active_updates=updates,
        idle_updates=0,
    )


def dense_bill(report: EnergyReport) -> Bill:
    """The network on the same target and cores with nothing skipped."""
    mapping = report.mapping
    if mapping is not None:
        mapping = replace(mapping, traffic=measure(mapping.machine, mapping.cores, None))
    layers = tuple(all_computed(layer) for layer in report.units)
    return bill(report.network, layers, report.profile, mapping, report.mode)


def dense_joules(report: EnergyReport) -> Fraction:
    """Joules a token of ``dense_bill``."""
    return dense_bill(report).joules_per_token


def claims(reports: Sequence[EnergyReport]) -> tuple[Claim, ...]:
    """Answers for every event-driven report, and for every machine beside it."""
    chips = [r for r in reports if r.profile.method == "event-driven" and r.energy is not None]
    machines = [r for r in reports if r.profile.method == "per-token" and r.energy is not None]
    return (*map(_on_chip, chips), *(claim for m in machines for claim in _beside(m, chips)))


def _where(report: EnergyReport) -> str:
    return f"{report.profile.name}, {MODE_TITLES[report.mode]}"


def no_verdict(report: EnergyReport) -> str | None:
    """Why figures of this target are no answer: it cannot run the network, or prices a part of it.

    None where they are.
    """
    broken = len(report.violations)
    if broken:
        return f"the network does not run there as it is ({broken} broken design rules)"
    if set(report.by_category) <= {"synaptic"}:
        return "only synaptic operations have a price there"
    return None


def _unpriced(report: EnergyReport) -> str:
    """A caveat where the target's power at rest is not known."""
    return "" if "static" in report.by_category else ", power at rest left out (no price)"


def _energy(report: EnergyReport) -> float:
    assert report.energy is not None
    return report.energy.value


def _on_chip(report: EnergyReport) -> Claim:
    opponent = "the same network there with every product computed and every value sent"
    reason = no_verdict(report)
    if reason is not None:
        text = f"On {_where(report)}: no verdict, for {reason}."
        return Claim(_where(report), opponent, None, None, text)
    ratio = float(dense_joules(report)) / _energy(report)
    reached = ratio >= CLAIM
    return Claim(
        _where(report), opponent, ratio, reached,
        f"On {_where(report)}: {times_less(ratio)} energy than {opponent}. "
        f"Five times less: {'yes' if reached else 'no'}{_unpriced(report)}.",
    )  # fmt: skip


def _beside(machine: EnergyReport, chips: Sequence[EnergyReport]) -> list[Claim]:
    """Answers beside one machine; one refusal where its figure is of something else."""
    figure = machine.profile.coefficients["energy_per_token"]
    opponent = f"{machine.profile.name} ({_energy(machine):.3g} J a token, {figure.status})"
    if figure.status != "measured":
        text = (
            f"Beside {opponent}: no answer, for that figure was not measured with this network. "
            "Measure it there and give a profile of your own."
        )
        return [Claim(machine.profile.name, opponent, None, None, text)]
    answers = []
    for chip in chips:
        reason = no_verdict(chip)
        if reason is not None:
            text = f"On {_where(chip)}, beside {opponent}: no verdict, for {reason}."
            answers.append(Claim(_where(chip), opponent, None, None, text))
            continue
        ratio = _energy(machine) / _energy(chip)
        reached = ratio >= CLAIM
        text = (
            f"On {_where(chip)}, beside {opponent}: {times_less(ratio)} energy. Five times less: "
            f"{'yes' if reached else 'no'}, if that was measured with this network and covers the "
            f"whole machine: the chip's figure leaves out its host."
        )
        answers.append(Claim(_where(chip), opponent, ratio, reached, text))
    return answers
