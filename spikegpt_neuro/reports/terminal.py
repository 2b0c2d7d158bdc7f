"""Energy reports as tables and sentences for a terminal: rich renderables."""

from __future__ import annotations

import math
from collections.abc import Collection

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from spikegpt_neuro.energy import EnergyReport, Study
from spikegpt_neuro.energy.baselines import Comparison
from spikegpt_neuro.energy.decisions import Decisions, decision_cost
from spikegpt_neuro.energy.paper_formula import PaperFormula
from spikegpt_neuro.energy.parts import Energy
from spikegpt_neuro.energy.report import loop_warnings
from spikegpt_neuro.events.measurement import Measurement
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.reports.decisions import decisions_title
from spikegpt_neuro.reports.numbers import count, engineering, extent, points, share, times_price
from spikegpt_neuro.reports.opponents import paper_sentences
from spikegpt_neuro.reports.rows import ALL_ROWS, rows_in_terminal
from spikegpt_neuro.reports.tables import table, titled_lines

_MOST_ROWS = 12


def _range(energy: Energy | None) -> tuple[str, str]:
    if energy is None:
        return "no per-operation data", ""
    if energy.low == energy.high:
        return engineering(energy.value, "J"), ""
    low, high = engineering(energy.low, "J"), engineering(energy.high, "J")
    return engineering(energy.value, "J"), f"{low} .. {high}"


def study_summary(
    study: Study, *, details: bool = False, also: Collection[str] = ()
) -> list[RenderableType]:
    """The whole study: targets side by side, where spikes enter, what dominates, the opponents.

    ``also``: those of ``ALL_ROWS`` to show; with ``details`` all.
    """
    counters = study.run.counters
    rows = table(
        "target|>mode|>energy/token|>range|>time/token|>bound by|>chips|>largest part",
        title=f"Energy per token over {counters.tokens} tokens of {study.text or 'the text'} "
        "(estimates)",
    )
    for report in study.reports:
        value, extent = _range(report.energy)
        largest = ""
        if report.energy is not None:
            name, energy = max(report.by_category.items(), key=lambda item: item[1].value)
            largest = f"{name} {share(energy.value / report.energy.value)}"
        rows.add_row(
            report.profile.name,
            report.mode if report.profile.method == "event-driven" else "-",
            value,
            extent,
            engineering(report.timing.value, "s") if report.timing else "-",
            next(iter(report.timing.bottlenecks)) if report.timing else "-",
            str(report.mapping.chips) if report.mapping else "-",
            largest,
        )
    for measured in study.measurements:
        joules, seconds = measured.joules_per_token("total"), measured.seconds_per_token
        rows.add_row(
            "loihi2 measured",
            measured.mode,
            "not measured" if joules is None else engineering(joules, "J"),
            "",
            "not measured" if seconds is None else engineering(seconds, "s"),
            "-",
            "",
        )
    decided = [] if study.decisions is None else [decision_table(study, study.decisions)]
    boards = [titled_lines("Measured on a board", _measured(m)) for m in study.measurements]
    shown: list[RenderableType] = [
        rows,
        *decided,
        *boards,
        titled_lines("Where spikes enter", list(study.main.statement)),
    ]
    shown += [sequence_table(study), titled_lines("What moves the totals", _moves(study))]
    shown += [comparison_table(c) for c in study.comparisons]
    for comparison in study.comparisons:
        title = f"Up to five times less energy? By arithmetic, {comparison.profile}"
        shown.append(titled_lines(title, list(comparison.answers)))
    if study.claims:
        sentences = [claim.sentence for claim in study.claims]
        shown.append(titled_lines("Up to five times less energy? On chips", sentences))
    if study.paper is not None:
        sentences = paper_sentences(study.paper)
        shown += [paper_table(study.paper), titled_lines("By the paper's table", sentences)]
    shown += rows_in_terminal(study, ALL_ROWS if details else also)
    seen = set()
    for report in study.reports:
        first = report.profile.name not in seen
        seen.add(report.profile.name)
        if details:
            shown += report_details(report)
            if first and report.energy is not None:
                shown.append(_sources(report.profile))
        elif first:
            shown.append(_gaps(report))
        elif own := loop_warnings(report):
            title = f"{report.profile.name}, {report.mode}: read with the figures"
            shown.append(titled_lines(title, list(own)))
    return shown


def decision_table(study: Study, decisions: Decisions) -> Table:
    """Energy and time of a classifier's decision, at mean length and early, on every target."""
    rows = table(
        "target|>mode|>energy|>time|>early energy|>early time", title=decisions_title(decisions)
    )
    for report in study.reports:
        cost = decision_cost(report, decisions)
        if cost.joules is None and cost.seconds is None:
            continue
        rows.add_row(
            cost.profile,
            cost.mode if report.profile.method == "event-driven" else "-",
            *(
                "-" if value is None else engineering(value, unit)
                for value, unit in (
                    (cost.joules, "J"), (cost.seconds, "s"),
                    (cost.early_joules, "J"), (cost.early_seconds, "s"),
                )
            ),
        )  # fmt: skip
    return rows


def sequence_table(study: Study) -> Table:
    """Energy, time and power of the whole text as one sequence, of every target with energies."""
    tokens = study.run.counters.tokens
    rows = table(
        "target|>mode|>energy|>time|>tokens/s|>latency|>mean power",
        title=f"The text as one sequence of {count(tokens)} tokens",
    )
    for report in study.reports:
        joules, timing, watts = report.joules_per_sequence, report.timing, report.power_watts
        if joules is None:
            continue
        seconds = None if timing is None else timing.seconds(tokens)
        rows.add_row(
            report.profile.name,
            report.mode if report.profile.method == "event-driven" else "-",
            engineering(joules, "J"),
            "-" if seconds is None else engineering(seconds, "s"),
            count(tokens / seconds) if seconds else "-",
            "-" if timing is None else engineering(timing.latency, "s"),
            "-" if watts is None else engineering(watts, "W"),
        )
    return rows


def _moves(study: Study) -> list[str]:
    """The coefficient that moves each total most, in a sentence each."""
    sentences = []
    for report in study.reports:
        if report.energy is None or not report.sensitivity:
            continue
        first = report.sensitivity[0]
        text = f"{report.profile.name}"
        if report.profile.method == "event-driven":
            text += f", {report.mode}"
        text += (
            f": {first.coefficient}; ten per cent move the total by {share(first.elasticity / 10)}"
        )
        if first.at_low != first.at_high:
            low, high = engineering(first.at_low, "J"), engineering(first.at_high, "J")
            text += f", its range from {low} to {high}"
        sentences.append(text)
    return sentences


def paper_table(paper: PaperFormula) -> Table:
    """The SpikeGPT paper's table, formula by formula, with the measured rate."""
    rows = table(
        "operation|>vanilla GPT|>energy|>SpikeGPT|>energy",
        title="The SpikeGPT paper's table with the measured spike rate, energy a sequence",
    )
    for row in paper.rows:
        spiking = row.spiking_formula
        rows.add_row(
            f"{row.part}: {row.operation}",
            row.vanilla_formula,
            engineering(row.vanilla_joules, "J"),
            spiking,
            "-" if spiking == "-" else engineering(row.spiking_joules, "J"),
        )
    rows.add_row(
        "sum", "", engineering(paper.vanilla_joules, "J"), "",
        engineering(paper.spiking_joules, "J"),
    )  # fmt: skip
    return rows


def bill_table(report: EnergyReport) -> Table:
    """How a total is made: events times prices."""
    total = report.energy.value if report.energy else 0.0
    rows = table(
        "event|>count/token|>price of one|>energy/token|>share|>coefficient|>status",
        title=f"{report.profile.name}, {report.mode}: how the total is made",
    )
    for line in report.lines:
        rows.add_row(
            line.event, *times_price(line.count, line.joules_each, power=line.over_time),
            engineering(line.energy.value, "J"), share(line.energy.value / total),
            line.coefficient, line.status,
        )  # fmt: skip
    return rows


def _sources(profile: Profile) -> Text:
    """Every coefficient and curve with its range, status, source and note."""
    lines = []
    for figure in profile.coefficients.values():
        note = f" {figure.note}" if figure.note else ""
        lines.append(f"{figure.name}: {extent(figure)}, {figure.status}: {figure.source}.{note}")
    lines += [
        f"{curve.name}: {points(curve)} "
        f"({curve.unit} by {curve.argument_unit}), {curve.status}: {curve.source}. {curve.note}"
        for curve in profile.curves.values()
    ]
    return titled_lines(f"{profile.name}: every coefficient and its source", lines)


def _measured(measured: Measurement) -> list[str]:
    """Where it was measured, what else was, and what the profilers left out."""
    watts = ", ".join(f"{name} {value:.4g} W" for name, value in measured.power_watts.items())
    counts = ", ".join(
        f"{name.replace('_', ' ')} {count(value / measured.tokens)}"
        for name, value in measured.activity.items()
    )
    lines = [f"{measured.board}, {measured.sdk}, {measured.time_steps} time steps"]
    lines += [f"power: {watts}"] if watts else []
    lines += [f"a token: {counts}"] if counts else []
    if measured.cores is not None:
        share_of = measured.fullest_core_memory_share
        full = "" if share_of is None else f", the fullest {share(share_of)} of its memory"
        lines.append(f"{measured.cores} cores{full}")
    return [*lines, *measured.notes]


def _gaps(report: EnergyReport) -> Text:
    """Warnings, broken rules and what has no price, in a few lines."""
    lines = list(report.warnings)
    for figure in report.profile.coefficients.values():
        if figure.name.endswith("power_per_chip") and report.energy is None:
            lines.append(f"{figure.name}: {extent(figure)} ({figure.status}; {figure.source})")
    rules: dict[str, int] = {}
    for violation in report.violations:
        rules[violation.rule] = rules.get(violation.rule, 0) + 1
    if rules:
        named = ", ".join(f"{rule} ({n})" for rule, n in rules.items())
        lines.append(f"does not fit as it is: {named}; `map` lists all")
    for n in report.not_counted:
        amount = "" if n.count_per_token is None else f" ({count(n.count_per_token)} a token)"
        lines.append(f"not counted: {n.what}{amount}: {n.why}")
    return titled_lines(f"{report.profile.name}: read with the figures", lines)


def report_details(report: EnergyReport) -> list[RenderableType]:
    """Breakdown of one report by layer and coefficient."""
    if report.energy is None:
        return [_gaps(report)]
    total = report.energy.value
    layers = table(
        "layer|>energy/token|>share|>operations/token|>of dense|>operands",
        title=f"{report.profile.name}, {report.mode}: layers",
    )
    activity = {layer.name: layer for layer in report.layers}
    ordered = sorted(report.by_layer.items(), key=lambda item: -item[1].value)
    for name, energy in ordered[:_MOST_ROWS]:
        layer = activity.get(name)
        dense = layer is not None and layer.dense_operations > 0
        layers.add_row(
            name,
            engineering(energy.value, "J"),
            share(energy.value / total),
            count(layer.synaptic_operations / layer.tokens) if layer and dense else "",
            share(layer.synaptic_operations / layer.dense_operations) if layer and dense else "",
            layer.operand if layer else "",
        )
    if len(ordered) > _MOST_ROWS:
        rest = math.fsum(energy.value for _, energy in ordered[_MOST_ROWS:])
        layers.add_row(
            f"{len(ordered) - _MOST_ROWS} more", engineering(rest, "J"), share(rest / total)
        )
    moves = table(
        "coefficient|>+10 % moves it by|>at its low|>at its high|>status",
        title="What moves the total",
    )
    statuses = {name: f.status for name, f in report.profile.coefficients.items()}
    statuses |= {name: c.status for name, c in report.profile.curves.items()}
    for row in report.sensitivity[:_MOST_ROWS]:
        ranged = row.at_low != row.at_high
        moves.add_row(
            row.coefficient,
            share(row.elasticity / 10),
            engineering(row.at_low, "J") if ranged else "",
            engineering(row.at_high, "J") if ranged else "",
            statuses[row.coefficient],
        )
    return [bill_table(report), layers, moves, _gaps(report)]


def comparison_table(comparison: Comparison) -> Table:
    """The network beside its opponents."""
    rows = table(
        "network|>AC|>MAC|>arithmetic|>ratio|>with memory|>ratio|>whole bill|>ratio",
        title=f"Matrix products per token, and all else, {comparison.profile}",
    )
    for row in comparison.baselines:
        rows.add_row(
            row.name,
            count(row.accumulates_per_token),
            count(row.multiply_accumulates_per_token),
            engineering(row.joules_per_token, "J"),
            "-" if row.ratio is None else f"{row.ratio:.2f}",
            "-"
            if row.joules_with_memory_per_token is None
            else engineering(row.joules_with_memory_per_token, "J"),
            "-" if row.ratio_with_memory is None else f"{row.ratio_with_memory:.2f}",
            engineering(row.joules_whole_per_token, "J"),
            "-" if row.ratio_whole is None else f"{row.ratio_whole:.2f}",
        )
    return rows
