"""Figures for papers: SVG and PNG files of a study, the same bytes for the same values."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter

from spikegpt_neuro.comparison.frontier import REFERENCE_LAYOUT, Point
from spikegpt_neuro.energy import EnergyReport, Study
from spikegpt_neuro.energy.baselines import Comparison
from spikegpt_neuro.energy.parts import CATEGORIES
from spikegpt_neuro.mapping import Mapping
from spikegpt_neuro.reports.charts import GROUPS, chips_of, moves
from spikegpt_neuro.reports.numbers import engineering
from spikegpt_neuro.reports.svg import PALETTE

_STYLE: Final[Any] = {
    "svg.hashsalt": "spikegpt-neuro", "svg.fonttype": "none", "font.size": 8,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip
_METADATA: Final[dict[str, dict[str, Any]]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


def frontier_figure(points: Sequence[Point], kind: str) -> bytes:
    """Bits a character against joules a token, a panel for every target and mode, as the bytes of
    an ``svg`` or ``png``. Points that no other beats are filled and joined; references are squares.
    """
    panels = [
        where
        for where in dict.fromkeys((p.profile, p.mode) for p in points)
        if any(p.cost["joules_per_token"] for p in points if (p.profile, p.mode) == where)
    ]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.4 * max(1, len(panels)), 3.2), layout="constrained")
        for axes, where in zip(
            figure.subplots(1, max(1, len(panels)), squeeze=False)[0], panels, strict=False
        ):
            here = [
                p for p in points
                if (p.profile, p.mode) == where and p.cost["joules_per_token"]
            ]  # fmt: skip
            best = sorted(
                (p for p in here if "joules_per_token" in p.frontier),
                key=lambda p: p.bits_per_character,
            )
            axes.plot(
                [p.bits_per_character for p in best], [p.cost["joules_per_token"] for p in best],
                color=PALETTE[0], linewidth=1,
            )  # fmt: skip
            for p in here:
                reference = p.layout == REFERENCE_LAYOUT
                color = PALETTE[1 if reference else 0]
                axes.plot(
                    p.bits_per_character, p.cost["joules_per_token"],
                    marker="s" if reference else "o", color=color,
                    markerfacecolor=color if p in best else "white",
                )  # fmt: skip
                axes.annotate(
                    Path(p.model).stem, (p.bits_per_character, p.cost["joules_per_token"]),
                    textcoords="offset points", xytext=(4, 3), fontsize=6,
                )  # fmt: skip
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(EngFormatter("J"))
            axes.set(title=" ".join(where).strip(), xlabel="bits a character", ylabel="a token")
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, dpi=300, metadata=_METADATA[kind])
    return stream.getvalue()


def write_figures(study: Study, folder: Path) -> tuple[Path, ...]:
    """Write every figure as ``.svg`` and ``.png`` (300 dots an inch) into ``folder``.

    Makes the folder if needed; returns the files in the order they were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    with matplotlib.rc_context(_STYLE):
        drawn: list[tuple[str, Figure]] = []
        for report in study.reports:
            if report.energy is not None and report.by_stage:
                name = f"energy-{report.profile.name}-{report.mode}"
                drawn.append((name, _stages(report)))
            if report.energy is not None and report.sensitivity:
                name = f"sensitivity-{report.profile.name}-{report.mode}"
                drawn.append((name, _sensitivity(report)))
        placed = {r.profile.name: r.mapping for r in study.reports if r.mapping is not None}
        drawn += [(f"mapping-{name}", _mapping(mapping)) for name, mapping in placed.items()]
        drawn += [(f"opponents-{c.profile}", _opponents(c)) for c in study.comparisons]
        if study.run.raster:
            drawn.append(("firing-rates", _firing_rates(study)))
            drawn.append(("spikes", _spikes(study)))
        for name, figure in drawn:
            for suffix, metadata in _METADATA.items():
                path = folder / f"{name}.{suffix}"
                figure.savefig(path, dpi=300, bbox_inches="tight", metadata=metadata)
                written.append(path)
    return tuple(written)


def _stages(report: EnergyReport) -> Figure:
    """Stacked bars of joules a token by stage and category."""
    stages = list(report.by_stage)
    figure = Figure(figsize=(5.5, 0.8 + 0.22 * len(stages)))
    axes = figure.add_subplot()
    left = [0.0] * len(stages)
    for category in report.by_category:
        widths = [
            report.by_stage[s][category].value if category in report.by_stage[s] else 0.0
            for s in stages
        ]
        colour = PALETTE[CATEGORIES.index(category)]
        axes.barh(stages, widths, left=left, color=colour, label=category)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(EngFormatter(unit="J"))
    axes.set_xlabel("energy per token")
    axes.set_title(f"{report.profile.name}, {report.mode}", loc="left")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _sensitivity(report: EnergyReport) -> Figure:
    """Ranges of the total when one coefficient moves through its range, or by ten per cent."""
    rows = moves(report)
    middle = report.energy.value if report.energy is not None else 0.0
    figure = Figure(figsize=(5.5, 0.8 + 0.22 * len(rows)))
    axes = figure.add_subplot()
    names = [row.label for row in rows]
    widths = [row.high - row.low for row in rows]
    axes.barh(names, widths, left=[row.low for row in rows], color=PALETTE[0], ec=PALETTE[0])
    axes.axvline(middle, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(EngFormatter(unit="J"))
    axes.set_xlabel("energy per token")
    axes.set_title(f"{report.profile.name}, {report.mode}: what moves the total", loc="left")
    return figure


def _mapping(mapping: Mapping) -> Figure:
    """Cores on chips, coloured by the part of the network they hold; cores of a router share it."""
    drawn = chips_of(mapping)
    columns = min(len(drawn), 4)
    rows = -(-len(drawn) // columns)
    wide, tall = drawn[0].wide, drawn[0].tall
    size = 5.5 / (columns * (wide + 1))
    figure = Figure(figsize=(5.5, rows * (tall * size + 0.3) + 0.4))
    for i, chip in enumerate(drawn):
        axes = figure.add_subplot(rows, columns, i + 1)
        sharing = Counter((cell.x, cell.y) for cell in chip.cells)
        met: Counter[tuple[int, int]] = Counter()
        for cell in chip.cells:
            place = (cell.x, cell.y)
            width = 0.9 / sharing[place]
            corner = (cell.x + met[place] * width, cell.y)
            met[place] += 1
            fill = PALETTE[cell.group]
            axes.add_patch(Rectangle(corner, width, 0.9, fc=fill, ec="white", lw=0.3))
        axes.set_xlim(0, wide)
        axes.set_ylim(tall, 0)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(True)
        axes.set_title(chip.label, loc="left", fontsize=6)
    handles = [Rectangle((0, 0), 1, 1, color=PALETTE[i]) for i in range(len(GROUPS))]
    figure.legend(handles, GROUPS, loc="lower left", ncols=len(GROUPS), frameon=False)
    return figure


def _opponents(comparison: Comparison) -> Figure:
    figure = Figure(figsize=(5.5, 2.2))
    axes = figure.add_subplot()
    names = [b.name for b in comparison.baselines]
    arithmetic = [b.joules_per_token for b in comparison.baselines]
    totals = [
        b.joules_per_token
        if b.joules_with_memory_per_token is None
        else b.joules_with_memory_per_token
        for b in comparison.baselines
    ]
    reading = [t - a for t, a in zip(totals, arithmetic, strict=True)]
    axes.barh(names, arithmetic, color=PALETTE[0], label="arithmetic")
    bars = axes.barh(names, reading, left=arithmetic, color=PALETTE[1], label="reading of weights")
    axes.bar_label(bars, [engineering(v, "J") for v in totals], padding=3)
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.05, 1.0))
    axes.xaxis.set_major_formatter(EngFormatter(unit="J"))
    axes.set_xlabel(f"energy per token, matrix products, {comparison.profile}")
    return figure


def _firing_rates(study: Study) -> Figure:
    rates = study.firing_rates()
    figure = Figure(figsize=(5.5, 0.9 + 0.18 * len(rates)))
    axes = figure.add_subplot()
    image = axes.imshow(
        list(rates.values()), aspect="auto", cmap="cividis", vmin=0,
        extent=(0, study.run.counters.tokens, len(rates), 0),
    )  # fmt: skip
    axes.set_yticks([i + 0.5 for i in range(len(rates))], list(rates))
    axes.set_xlabel("token")
    figure.colorbar(image, label="share of neurons that fire")
    return figure


def _spikes(study: Study) -> Figure:
    layers = list(study.run.raster.items())
    figure = Figure(figsize=(5.5, 0.6 + 0.35 * len(layers)))
    axes = figure.add_subplot()
    ticks, base = [], 0
    for i, (_, values) in enumerate(layers):
        token, neuron = values.nonzero()
        axes.scatter(token, base + neuron, s=1.5, marker="|", color=PALETTE[i % 2], linewidths=0.7)
        ticks.append(base + values.shape[1] / 2)
        base += values.shape[1] + 2
    axes.set_yticks(ticks, [name for name, _ in layers])
    axes.invert_yaxis()
    axes.set_xlabel("token")
    return figure
