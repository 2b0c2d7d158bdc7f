"""Sections of the page of a study: one target in one mode, and the network on its chips."""

from __future__ import annotations

from spikegpt_neuro.energy import EnergyReport
from spikegpt_neuro.energy.report_values import never_counted
from spikegpt_neuro.energy.timing import MODE_TITLES
from spikegpt_neuro.events.measurement import SYSTEM
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import RULES, Mapping, unchecked_rules
from spikegpt_neuro.reports import charts
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
from spikegpt_neuro.reports.svg import draw, escape

_MOST_VIOLATIONS = 60


def mode_title(report: EnergyReport) -> str:
    """Prefill or generation; of targets that know no steps, any."""
    if report.profile.method != "event-driven":
        return "any"
    return MODE_TITLES[report.mode]


def target_section(report: EnergyReport, name: str) -> str:
    """One target in one mode, its bill first. ``name``: of its pictures."""
    heading = f"<h3>{escape(report.profile.name)}, {escape(mode_title(report))}</h3>"
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
            + bullets(never_counted(report.mode)),
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


def mapping_section(mapping: Mapping, name: str) -> str:
    """A network on chips: picture, chips, cores. ``name``: of the picture."""
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
