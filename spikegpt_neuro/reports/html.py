"""A study as one self-contained HTML page: no network, no fonts, no libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from spikegpt_neuro.energy import EnergyReport, Study
from spikegpt_neuro.energy.paper_formula import PaperFormula
from spikegpt_neuro.energy.parts import SYSTEM
from spikegpt_neuro.energy.report import ALWAYS_NOT_COUNTED
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import Mapping
from spikegpt_neuro.reports import charts
from spikegpt_neuro.reports.numbers import count, engineering, plural, share
from spikegpt_neuro.reports.style import CSS, SCRIPT
from spikegpt_neuro.reports.svg import escape

_MOST_VIOLATIONS = 60


@dataclass(frozen=True)
class Column:
    """A table's column; ``text`` columns are left-aligned."""

    name: str
    text: bool = False


def _table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> str:
    """A table in a region that scrolls sideways, reachable by keyboard."""
    head = "".join(
        f'<th scope="col"{" class=text" if c.text else ""}>{escape(c.name)}</th>' for c in columns
    )
    body = []
    for row in rows:
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        for value, column in zip(row[1:], columns[1:], strict=True):
            cells.append(f"<td{' class=text' if column.text else ''}>{escape(value)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _columns(names: str) -> list[Column]:
    """Columns from a string: names apart by ``|``, text columns end in ``*``."""
    return [Column(n.strip(" *"), n.strip().endswith("*")) for n in names.split("|")]


def _figure(picture: str, label: str) -> str:
    return (
        f"<figure><figcaption>{escape(label)}</figcaption>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f"{picture}</div></figure>"
    )


def _fold(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _list(sentences: Iterable[str], css: str = "") -> str:
    marked = f' class="{css}"' if css else ""
    return f"<ul{marked}>{''.join(f'<li>{escape(s)}</li>' for s in sentences)}</ul>"


def _joules(report: EnergyReport) -> str:
    return "no per-operation data" if report.energy is None else engineering(
        report.energy.value, "J"
    )  # fmt: skip


def _extent(report: EnergyReport) -> str:
    if report.energy is None or report.energy.low == report.energy.high:
        return ""
    return f"{engineering(report.energy.low, 'J')} to {engineering(report.energy.high, 'J')}"


def _mode(report: EnergyReport) -> str:
    if report.profile.method != "event-driven":
        return "any"
    return "prefill (pipelined)" if report.mode == "pipelined" else "generation (fall-through)"


def _summary(study: Study) -> str:
    cards = []
    chips = [r for r in study.reports if r.timing is not None]
    shown = {study.main.profile.name, *(r.profile.name for r in chips[-1:])}
    for report in study.reports:
        if report.profile.name not in shown:
            continue
        time = ""
        if report.timing is not None:
            time = f"at least {engineering(report.timing.value, 's')} a token"
        cards.append(
            f"<li>{escape(report.profile.name)}, {escape(_mode(report))}"
            f"<b>{escape(_joules(report))}</b>{escape(_extent(report))}<br>{escape(time)}</li>"
        )
    rows = [
        (
            r.profile.name,
            _mode(r),
            _joules(r),
            _extent(r),
            engineering(r.timing.value, "s") if r.timing else "",
            str(r.mapping.chips) if r.mapping else "",
            str(len(r.violations)),
        )
        for r in study.reports
    ]
    return (
        f'<ul class="cards">{"".join(cards)}</ul>'
        "<p>Energies are estimates: counts of a real run times published coefficients. Times are "
        "lower bounds without congestion.</p>"
        + _table(
            "Energy of one token on every target",
            _columns("target|mode*|energy per token|range|time per token, at least|chips|"
                     "broken design rules"),
            rows,
        )
    )  # fmt: skip


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
    text = _list(study.main.statement)
    rates = study.firing_rates()
    if rates:
        text += _figure(
            charts.firing_over_text(study, "rates"), "Firing rate of each LIF layer over the text"
        )
    text += _figure(charts.mean_rates(study, "activity"), "Activity over the text")
    if study.run.raster:
        text += _figure(
            charts.spikes(study, "raster"), "Spikes of sampled neurons over the first tokens"
        )
    return text + _fold(
        "Every projection: operands and operations",
        _table(
            "Operations per token of every projection",
            _columns("projection|operands*|bits|not zero|effective|dense|as unit spikes|overflows"),
            rows,
        ),
    )


def _claim(study: Study) -> str:
    text = []
    for i, comparison in enumerate(study.comparisons):
        rows = [
            (
                b.name,
                count(b.accumulates_per_token),
                count(b.multiply_accumulates_per_token),
                engineering(b.joules_per_token, "J"),
                "" if b.ratio is None else f"{b.ratio:.2f}",
                ""
                if b.joules_with_memory_per_token is None
                else engineering(b.joules_with_memory_per_token, "J"),
                "" if b.ratio_with_memory is None else f"{b.ratio_with_memory:.2f}",
                b.note,
            )
            for b in comparison.baselines
        ]
        text.append(
            f"<h3>{escape(comparison.profile)}</h3>{_list(comparison.answers)}"
            + _figure(
                charts.opponents(comparison, f"opponents-{i}"),
                "Energy of a token's matrix products beside opponents",
            )
            + _table(
                "Opponents",
                _columns("network|AC|MAC|arithmetic|ratio|with memory|ratio|note*"),
                rows,
            )
            + _paper_formula(comparison.paper)
        )
    return "".join(text)


def _paper_formula(paper: PaperFormula | None) -> str:
    if paper is None:
        return ""
    formulae = "".join(f"<pre>{escape(f)}</pre>" for f in paper.to_dict()["formulae"])
    detail = (
        f"<p>T = {paper.tokens}, d = {paper.width}, {paper.blocks} blocks, measured R = "
        f"{share(paper.rate)}, E_AC = {paper.accumulate_picojoules:g} pJ, E_MAC = "
        f"{paper.multiply_accumulate_picojoules:g} pJ: "
        f"{escape(engineering(paper.vanilla_joules, 'J'))} against "
        f"{escape(engineering(paper.spiking_joules, 'J'))} a sequence.</p>{formulae}"
    )
    return _fold("The paper's formulae with the measured rate", detail)


def _target(report: EnergyReport, name: str) -> str:
    heading = f"<h3>{escape(report.profile.name)}, {escape(_mode(report))}</h3>"
    text = [heading, f"<p>{escape(report.profile.summary)}</p>"]
    if report.profile.warnings:
        text.append(_list(report.profile.warnings, "warning"))
    if report.energy is None:
        text.append("<p><b>No per-operation data</b>: capacity checks only.</p>")
    else:
        text.append(_breakdown(report, name))
    if report.profile.coefficients:
        text.append(_sources(report.profile))
    if report.timing is not None:
        text.append(
            f"<p>A token takes at least {escape(engineering(report.timing.value, 's'))} "
            f"({escape(engineering(report.timing.low, 's'))} to "
            f"{escape(engineering(report.timing.high, 's'))}); the busiest core holds "
            f"{escape(', '.join(report.timing.busiest_layers))}; "
            f"{escape(share(report.timing.barrier_share))} of it is synchronisation.</p>"
        )
    gaps = [
        n.what
        + (f" ({count(n.count_per_token)} a token)" if n.count_per_token is not None else "")
        + f": {n.why}"
        for n in report.not_counted
    ]
    text.append(
        _fold(
            "Not counted",
            _list([*gaps, *(f"not published: {u}" for u in report.profile.unpublished)])
            + _list(ALWAYS_NOT_COUNTED),
        )
    )
    if report.violations:
        listed = [str(v) for v in report.violations[:_MOST_VIOLATIONS]]
        more = len(report.violations) - len(listed)
        text.append(
            _fold(
                f"Broken design rules ({len(report.violations)})",
                _list([*listed, *([f"{more} more"] if more else [])]),
            )
        )
    return "".join(text)


def _breakdown(report: EnergyReport, name: str) -> str:
    total = report.energy.value if report.energy else 1.0
    text = _figure(
        charts.energy_by_stage(report, f"{name}-stages"), "Energy of a token by stage and category"
    )
    if report.sensitivity:
        text += _figure(
            charts.sensitivity(report, f"{name}-moves"),
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
    text += _table("By category", _columns("category|energy per token|share|low|high"), categories)
    text += _fold(
        "Every layer",
        _table("By layer", _columns("layer|kind*|energy per token|share|non-zero outputs"), layers),
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
            ", ".join(f"{float(x):g}: {float(y):g}" for x, y in c.points),
            "",
            f"{c.unit} by {c.argument_unit}",
            c.status,
            c.source,
            c.note,
        )
        for c in profile.curves.values()
    ]
    return _fold(
        "Every coefficient and its source",
        _table(
            "Coefficients", _columns("coefficient|value|range|unit*|status*|source*|note*"), sources
        ),
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
            )
        )
    cores = []
    for i, core in enumerate(mapping.cores):
        use = mapping.use_of_core(i)
        held = ", ".join(f"{s.layer} {s.begin}-{s.end - 1}" for s in core.slices)
        cores.append(
            (str(i), str(int(mapping.placement.chip[i])), count(use.weights),
             share(use.weight_share), count(use.neurons), held)
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
        f"<h3>{escape(mapping.profile.name)}, {mapping.packing} packing</h3>{_list(lines)}"
        + _figure(charts.mapping_picture(mapping, name), "Cores on chips: one square a core")
        + _table("Chips", _columns("chip|weights|full|neurons|full"), rows)
        + _fold(
            "Every core",
            _table("Cores", _columns("core|chip|weights|full|neurons|holds*"), cores),
        )
    )


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
        ("claim", "Up to five times less energy?", lambda: _claim(study)),
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
        f"<header><h1>{escape(title)}</h1><p>{info.n_layer} blocks, width {info.n_embd}, "
        f"vocabulary {info.vocabulary_size}; {study.run.counters.tokens} tokens of "
        f"{escape(study.text or 'a text')}, run by the {escape(study.run.backend)} backend.</p>"
        f'</header><nav aria-label="Contents"><ul>{contents}</ul></nav>'
        f'<main id="main">{body}</main><footer><p>{escape(made)}. Method: docs/energy.md of the '
        f"project.</p></footer><script>{SCRIPT}</script></body></html>\n"
    )
