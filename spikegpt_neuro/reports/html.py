"""A study as one self-contained HTML page: no network, no fonts, no libraries."""

from __future__ import annotations

from collections.abc import Callable

from spikegpt_neuro.energy import EnergyReport, Study
from spikegpt_neuro.energy.decisions import Decisions, decision_cost
from spikegpt_neuro.events.measurement import Measurement
from spikegpt_neuro.mapping import Mapping
from spikegpt_neuro.network import LanguageModel, Network
from spikegpt_neuro.reports import charts
from spikegpt_neuro.reports.decisions import decisions_title
from spikegpt_neuro.reports.elements import bullets, figure, fold, table
from spikegpt_neuro.reports.html_targets import mapping_section, mode_title, target_section
from spikegpt_neuro.reports.numbers import (
    count,
    engineering,
    share,
)
from spikegpt_neuro.reports.opponents import claim_section
from spikegpt_neuro.reports.rows import rows_section
from spikegpt_neuro.reports.style import CSS, SCRIPT
from spikegpt_neuro.reports.svg import draw, escape


def _joules(report: EnergyReport) -> str:
    return (
        "no per-operation data" if report.energy is None else engineering(report.energy.value, "J")
    )


def _extent(report: EnergyReport) -> str:
    if report.energy is None or report.energy.low == report.energy.high:
        return ""
    return f"{engineering(report.energy.low, 'J')} to {engineering(report.energy.high, 'J')}"


def _largest(report: EnergyReport) -> str:
    if report.energy is None or report.energy.value == 0:
        return ""
    name, part = max(report.by_category.items(), key=lambda item: item[1].value)
    return f"{name} {share(part.value / report.energy.value)}"


def _seconds(value: float) -> str:
    return engineering(value, "s")


def _summary(study: Study) -> str:
    cards = []
    chips = [r for r in study.reports if r.timing is not None]
    shown = {study.main.profile.name, *(r.profile.name for r in chips[-1:])}
    for report in study.reports:
        if report.profile.name not in shown:
            continue
        time = ""
        if report.timing is not None:
            time = f"{engineering(report.timing.value, 's')} a token"
        cards.append(
            f"<li>{escape(report.profile.name)}, {escape(mode_title(report))}"
            f"<b>{escape(_joules(report))}</b>{escape(_extent(report))}<br>{escape(time)}</li>"
        )
    tokens = study.run.counters.tokens
    rows = [
        (
            r.profile.name,
            mode_title(r),
            _joules(r),
            _extent(r),
            _largest(r),
            _seconds(r.timing.value) if r.timing else "",
            str(r.mapping.chips) if r.mapping else "",
            str(len(r.violations)),
        )
        for r in study.reports
    ] + [_measured(m) for m in study.measurements]
    sequences = [
        (
            r.profile.name,
            mode_title(r),
            engineering(r.joules_per_sequence, "J"),
            _seconds(r.timing.seconds(tokens)) if r.timing else "",
            count(tokens / r.timing.seconds(tokens)) if r.timing else "",
            _seconds(r.timing.latency) if r.timing else "",
            "" if r.power_watts is None else engineering(r.power_watts, "W"),
        )
        for r in study.reports
        if r.joules_per_sequence is not None
    ]
    return (
        f'<ul class="cards">{"".join(cards)}</ul>'
        "<p>Energies are estimates: counts of a real run times published coefficients. Times are "
        "the busiest resource of every step; a power is the energy over that time.</p>"
        + table(
            "Energy of one token on every target",
            "target|mode*|energy per token|range|largest part*|time per token|chips|broken rules",
            rows,
        )
        + table(
            f"The whole text as one sequence of {count(tokens)} tokens",
            "target|mode*|energy|time|tokens a second|latency|power",
            sequences,
        )
        + ("" if study.decisions is None else _decisions(study, study.decisions))
    )


def _decisions(study: Study, decisions: Decisions) -> str:
    """The table of what a classifier's decision costs."""
    rows = []
    for report in study.reports:
        cost = decision_cost(report, decisions)
        figures = (
            (cost.joules, "J"), (cost.seconds, "s"), (cost.early_joules, "J"),
            (cost.early_seconds, "s"),
        )  # fmt: skip
        if cost.joules is not None or cost.seconds is not None:
            told = ("" if value is None else engineering(value, unit) for value, unit in figures)
            rows.append((cost.profile, mode_title(report), *told))
    return table(
        decisions_title(decisions), "target|mode*|energy|time|early energy|early time", rows
    )


def _measured(m: Measurement) -> tuple[str, ...]:
    """A measured run as a row of the table of estimates."""
    joules, seconds = m.joules_per_token("total"), m.seconds_per_token
    return (
        f"measured: {m.board}",
        m.mode,
        "not measured" if joules is None else engineering(joules, "J"),
        "; ".join(m.notes),
        "",
        "not measured" if seconds is None else engineering(seconds, "s"),
        "",
        "",
    )


def _spikes(study: Study) -> str:
    layers = study.main.layers
    rows = [
        (
            layer.name,
            layer.operand,
            str(layer.payload_bits),
            share(layer.input_rate),
            count(layer.synaptic_operations / layer.tokens),
            count(layer.dense_operations / layer.tokens),
            count(layer.unit_additions / layer.tokens),
            str(layer.overflows),
        )
        for layer in layers
        if layer.role == "synapse"
    ]
    text = bullets(study.main.statement)
    rates = study.firing_rates()
    if rates:
        text += figure(
            draw(charts.firing_over_text(study), "rates"),
            "Firing rate of each LIF layer over the text",
        )
    text += figure(draw(charts.mean_rates(study), "activity"), "Activity over the text")
    if study.run.spikes:
        text += figure(
            draw(charts.spikes(study), "raster"), "Spikes of sampled neurons over the first tokens"
        )
    if rates:
        rows_of_rates = [
            (name, share(study.mean_rate(name)), share(min(over)), share(max(over)))
            for name, over in rates.items()
        ]
        text += fold(
            "Every LIF layer: firing rates",
            table(
                "Share of neurons that fire in a token",
                "layer|mean|lowest stretch of the text|highest stretch",
                rows_of_rates,
            ),
        )
    return text + fold(
        "Every projection: operands and operations",
        table(
            "Operations per token of every projection",
            "projection|operands*|bits|not zero|effective|dense|as unit spikes|overflows",
            rows,
        ),
    )


def _size(network: Network) -> str:
    """A network's size in words."""
    if isinstance(network, LanguageModel):
        info = network.info
        return f"{info.n_layer} blocks, width {info.n_embd}, vocabulary {info.vocabulary_size}"
    return f"{len(network.layers)} layers, {network.layers[-1].output.size} outputs"


def html_page(study: Study, *, date: str = "", version: str = "") -> str:
    """The page. ``date`` and ``version`` are printed as given; all else depends on ``study``."""
    info = study.network.info
    mappings: dict[str, Mapping] = {}
    for report in study.reports:
        if report.mapping is not None:
            mappings.setdefault(report.profile.name, report.mapping)
    targets = "".join(target_section(r, f"target-{i}") for i, r in enumerate(study.reports))
    placed = "".join(mapping_section(m, f"map-{i}") for i, m in enumerate(mappings.values()))
    sections: list[tuple[str, str, Callable[[], str]]] = [
        ("summary", "What it costs", lambda: _summary(study)),
        ("spikes", "Where spikes enter, and how often", lambda: _spikes(study)),
        ("claim", "Up to five times less energy?", lambda: claim_section(study)),
        ("rows", "Batches, streams, arrival rates", lambda: rows_section(study)),
        ("targets", "Target by target", lambda: targets),
    ]
    if mappings:
        sections.append(("mapping", "On the chips", lambda: placed))
    contents = "".join(f'<li><a href="#{k}">{escape(t)}</a></li>' for k, t, _ in sections)
    body = "".join(
        f'<section id="{k}" aria-labelledby="{k}-h"><h2 id="{k}-h">{escape(t)}</h2>{make()}'
        "</section>"
        for k, t, make in sections
    )
    title = f"Energy of a SpikeGPT network, {info.layout} layout"
    made = " ".join(x for x in ("spikegpt-neuro", version, date) if x)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>"
        '<a class="skip" href="#main">Skip to the report</a>'
        f"<header><h1>{escape(title)}</h1><p>{_size(study.network)}; "
        f"{study.run.counters.tokens} tokens of "
        f"{escape(study.text or 'a text')}, run by the {escape(study.run.backend)} backend.</p>"
        f'</header><nav aria-label="Contents"><ul>{contents}</ul></nav>'
        f'<main id="main">{body}</main><footer><p>{escape(made)}. Method: docs/energy.md of the '
        f"project.</p></footer><script>{SCRIPT}</script></body></html>\n"
    )
