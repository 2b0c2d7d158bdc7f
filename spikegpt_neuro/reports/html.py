"""A study as one self-contained HTML page: no network, no fonts, no libraries."""

from __future__ import annotations

from collections.abc import Callable

from spikegpt_neuro.energy import EnergyReport, Study
from spikegpt_neuro.energy.decisions import Decisions, decision_cost
from spikegpt_neuro.energy.report_values import ALWAYS_NOT_COUNTED
from spikegpt_neuro.energy.timing import MODE_TITLES
from spikegpt_neuro.events.measurement import SYSTEM, Measurement
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import RULES, Mapping, unchecked_rules
from spikegpt_neuro.network import LanguageModel, Network
from spikegpt_neuro.reports import charts
from spikegpt_neuro.reports.decisions import decisions_title
from spikegpt_neuro.reports.elements import bullets, figure, fold, table
from spikegpt_neuro.reports.numbers import (
    bottlenecks,
    count,
    engineering,
    plural,
    points,
    share,
    times_price,
)
from spikegpt_neuro.reports.opponents import claim_section
from spikegpt_neuro.reports.rows import rows_section
from spikegpt_neuro.reports.style import CSS, SCRIPT
from spikegpt_neuro.reports.svg import draw, escape

_MOST_VIOLATIONS = 60


def _joules(report: EnergyReport) -> str:
    return (
        "no per-operation data" if report.energy is None else engineering(report.energy.value, "J")
    )


def _extent(report: EnergyReport) -> str:
    if report.energy is None or report.energy.low == report.energy.high:
        return ""
    return f"{engineering(report.energy.low, 'J')} to {engineering(report.energy.high, 'J')}"


def _mode(report: EnergyReport) -> str:
    if report.profile.method != "event-driven":
        return "any"
    return MODE_TITLES[report.mode]


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
            f"<li>{escape(report.profile.name)}, {escape(_mode(report))}"
            f"<b>{escape(_joules(report))}</b>{escape(_extent(report))}<br>{escape(time)}</li>"
        )
    tokens = study.run.counters.tokens
    rows = [
        (
            r.profile.name,
            _mode(r),
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
            _mode(r),
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
            rows.append((cost.profile, _mode(report), *told))
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


def _target(report: EnergyReport, name: str) -> str:
    heading = f"<h3>{escape(report.profile.name)}, {escape(_mode(report))}</h3>"
    text = [heading, f"<p>{escape(report.profile.summary)}</p>"]
    if report.warnings:
        text.append(bullets(report.warnings, "warning"))
    if report.energy is None:
        text.append("<p><b>No per-operation data</b>: capacity checks only.</p>")
    else:
        text.append(_breakdown(report, name))
    if report.profile.coefficients:
        text.append(_sources(report.profile))
    if report.timing is not None:
        text.append(
            f"<p>A token takes {escape(engineering(report.timing.value, 's'))} "
            f"({escape(engineering(report.timing.low, 's'))} to "
            f"{escape(engineering(report.timing.high, 's'))}); the busiest core holds "
            f"{escape(', '.join(report.timing.busiest_layers))}; "
            f"{escape(share(report.timing.overhead_share))} of it is synchronisation. "
            f"What bounds it: "
            f"{escape(bottlenecks(report.timing))}.</p>"
        )
    gaps = [
        n.what
        + (f" ({count(n.count_per_token)} a token)" if n.count_per_token is not None else "")
        + f": {n.why}"
        for n in report.not_counted
    ]
    text.append(
        fold(
            "Not counted",
            bullets([*gaps, *(f"not published: {u}" for u in report.profile.unpublished)])
            + bullets(ALWAYS_NOT_COUNTED),
        )
    )
    unknown = unchecked_rules(report.profile)
    if 0 < len(unknown) < len(RULES):
        text.append(f"<p>Not checked, for no limit is known: {escape(', '.join(unknown))}.</p>")
    if report.violations:
        listed = [str(v) for v in report.violations[:_MOST_VIOLATIONS]]
        more = len(report.violations) - len(listed)
        text.append(
            fold(
                f"Broken design rules ({len(report.violations)})",
                bullets([*listed, *([f"{more} more"] if more else [])]),
            )
        )
    return "".join(text)


def _breakdown(report: EnergyReport, name: str) -> str:
    total = report.energy.value if report.energy else 1.0
    text = figure(
        draw(charts.energy_by_stage(report), f"{name}-stages"),
        "Energy of a token by stage and category",
    )
    if report.sensitivity:
        text += figure(
            draw(charts.sensitivity(report), f"{name}-moves"),
            "What moves the total: the range of sources, or ten per cent either way",
        )
    categories = [
        (c, engineering(e.value, "J"), share(e.value / total), engineering(e.low, "J"),
         engineering(e.high, "J"))
        for c, e in report.by_category.items()
    ]  # fmt: skip
    activity = {layer.name: layer for layer in report.layers}
    layers = [
        (
            where,
            activity[where].kind if where != SYSTEM else "-",
            engineering(e.value, "J"),
            share(e.value / total),
            share(activity[where].output_rate) if where != SYSTEM else "",
        )
        for where, e in report.by_layer.items()
    ]
    evidence = {c.name: c for c in report.profile.coefficients.values()}
    curves = report.profile.curves
    bill = []
    for line in report.lines:
        names = line.coefficient.split(" + ")
        found = [evidence.get(n) or curves.get(n) for n in names]
        sources = dict.fromkeys(e.source for e in found if e is not None)
        bill.append(
            (line.event, *times_price(line.count, line.joules_each, power=line.over_time),
             engineering(line.energy.value, "J"), share(line.energy.value / total),
             engineering(line.energy.low, "J"), engineering(line.energy.high, "J"),
             line.coefficient, line.status, "; ".join(sources))
        )  # fmt: skip
    text += table("By category", "category|energy per token|share|low|high", categories)
    text += fold(
        "How the total is made, with the source of every price",
        table(
            "Events of a token times their prices",
            "event|count|price of one|energy per token|share|low|high|coefficient*|status*|source*",
            bill,
        ),
    )
    text += fold(
        "Every layer",
        table("By layer", "layer|kind*|energy per token|share|non-zero outputs", layers),
    )
    return text


def _sources(profile: Profile) -> str:
    """Every coefficient and curve of a profile with its evidence, folded."""
    sources = [
        (
            f.name,
            f"{float(f.value):g}",
            f"{float(f.low):g} to {float(f.high):g}" if f.has_range else "",
            f.unit,
            f.status,
            f.source,
            f.note,
        )
        for f in profile.coefficients.values()
    ] + [
        (
            c.name,
            points(c),
            "",
            f"{c.unit} by {c.argument_unit}",
            c.status,
            c.source,
            c.note,
        )
        for c in profile.curves.values()
    ]
    return fold(
        "Every coefficient, its range and its source",
        table("Coefficients", "coefficient|value|range|unit*|status*|source*|note*", sources),
    )


def _mapping(mapping: Mapping, name: str) -> str:
    rows = []
    for chip in range(mapping.chips):
        use = mapping.use_of_chip(chip)
        rows.append(
            (
                str(chip),
                count(use.weights),
                share(use.weight_share),
                count(use.neurons),
                "" if use.neuron_share is None else share(use.neuron_share),
                count(use.bytes),
                "" if use.byte_share is None else share(use.byte_share),
            )
        )
    cores = []
    for i, core in enumerate(mapping.cores):
        use = mapping.use_of_core(i)
        held = ", ".join(f"{s.layer} {s.begin}-{s.end - 1}" for s in core.slices)
        cores.append(
            (str(i), str(int(mapping.placement.chip[i])), count(use.weights),
             share(use.weight_share), count(use.neurons), count(use.bytes),
             "" if use.byte_share is None else share(use.byte_share), held)
        )  # fmt: skip
    system = mapping.system
    board = "no board is listed in the profile"
    if mapping.profile.systems:
        board = f"smallest listed board: {system.name}" if system else "no listed board is enough"
    lines = [
        f"{plural(len(mapping.cores), 'core')} on {plural(mapping.chips, 'chip')}; {board}.",
        f"{count(mapping.traffic.total)} packets a token, {count(mapping.hops.chip_crossings)} of "
        "them between chips.",
    ]
    if mapping.has_mesh:
        lines.append(
            f"{count(mapping.hops.total)} hops a token; with cores in execution order "
            f"{count(mapping.baseline_hops.total)}."
        )
    return (
        f"<h3>{escape(mapping.profile.name)}, {mapping.packing} packing</h3>{bullets(lines)}"
        + figure(draw(charts.mapping_picture(mapping), name), "Cores on chips: one square a core")
        + table("Chips", "chip|weights|full|neurons|full|bytes|full", rows)
        + fold(
            "Every core",
            table("Cores", "core|chip|weights|full|neurons|bytes|full|holds*", cores),
        )
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
    targets = "".join(_target(r, f"target-{i}") for i, r in enumerate(study.reports))
    placed = "".join(_mapping(m, f"map-{i}") for i, m in enumerate(mappings.values()))
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
