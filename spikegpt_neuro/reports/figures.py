"""Figures for papers: SVG and PNG files of a study, the same bytes for the same values."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, PercentFormatter

from spikegpt_neuro.comparison.frontier import REFERENCE_LAYOUT, Point
from spikegpt_neuro.energy import Study
from spikegpt_neuro.reports import charts
from spikegpt_neuro.reports.chart_kinds import (
    PALETTE,
    Chart,
    Chips,
    Curves,
    HeatMap,
    Ranges,
    SpikeRows,
    StackedBars,
)

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
                p for p in points if (p.profile, p.mode) == where and p.cost["joules_per_token"]
            ]
            best = sorted(
                (p for p in here if "joules_per_token" in p.frontier),
                key=lambda p: p.bits_per_character,
            )
            axes.plot(
                [p.bits_per_character for p in best],
                [p.cost["joules_per_token"] for p in best],
                color=PALETTE[0],
                linewidth=1,
            )
            for p in here:
                reference = p.layout == REFERENCE_LAYOUT
                color = PALETTE[1 if reference else 0]
                axes.plot(
                    p.bits_per_character,
                    p.cost["joules_per_token"],
                    marker="s" if reference else "o",
                    color=color,
                    markerfacecolor=color if p in best else "white",
                )
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
        for name, chart in _charts(study):
            figure = draw(chart)
            for suffix, metadata in _METADATA.items():
                path = folder / f"{name}.{suffix}"
                figure.savefig(path, dpi=300, bbox_inches="tight", metadata=metadata)
                written.append(path)
    return tuple(written)


def _charts(study: Study) -> Iterator[tuple[str, Chart]]:
    """The study's charts, by the names of their files."""
    for report in study.reports:
        name = f"{report.profile.name}-{report.mode}"
        if report.energy is not None and report.by_stage:
            yield f"energy-{name}", charts.energy_by_stage(report)
        if report.energy is not None and report.sensitivity:
            yield f"sensitivity-{name}", charts.sensitivity(report)
    placed = {r.profile.name: r.mapping for r in study.reports if r.mapping is not None}
    for profile, mapping in placed.items():
        yield f"mapping-{profile}", charts.mapping_picture(mapping)
    for comparison in study.comparisons:
        yield f"opponents-{comparison.profile}", charts.opponents(comparison)
    yield "activity", charts.mean_rates(study)
    if study.run.spikes:
        yield "firing-rates", charts.firing_over_text(study)
        yield "spikes", charts.spikes(study)


@singledispatch
def draw(chart: Chart) -> Figure:
    """The chart as a figure of a column's width."""
    raise TypeError(f"no figure of a {type(chart).__name__}")


def _rows(chart: Chart, rows: int, unit: str) -> tuple[Figure, Axes]:
    """An empty figure for ``rows`` horizontal bars in ``unit``, first row on top."""
    figure = Figure(figsize=(5.5, 0.8 + 0.22 * rows))
    axes = figure.add_subplot()
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(EngFormatter(unit=unit))
    axes.set_title(chart.title, loc="left")
    return figure, axes


@draw.register
def _(chart: StackedBars) -> Figure:
    figure, axes = _rows(chart, len(chart.bars), chart.unit)
    labels = [bar.label for bar in chart.bars]
    left = [0.0] * len(labels)
    for part, (name, colour) in enumerate(zip(chart.names, chart.colours, strict=False)):
        widths = [bar.parts[part] for bar in chart.bars]
        drawn = axes.barh(labels, widths, left=left, color=colour, label=name)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.bar_label(drawn, [bar.value for bar in chart.bars], padding=3)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.15, 1.0))
    return figure


@draw.register
def _(chart: Ranges) -> Figure:
    figure, axes = _rows(chart, len(chart.rows), chart.unit)
    widths = [row.high - row.low for row in chart.rows]
    axes.barh(
        [row.label for row in chart.rows], widths, left=[row.low for row in chart.rows],
        color=PALETTE[0], ec=PALETTE[0],
    )  # fmt: skip
    axes.axvline(chart.middle, color="black", linewidth=0.8)
    return figure


@draw.register
def _(chart: Curves) -> Figure:
    figure = Figure(figsize=(5.5, 2.2))
    axes = figure.add_subplot()
    for (name, values), colour in zip(chart.series, PALETTE, strict=False):
        axes.plot(chart.x, values, color=colour, label=name)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.set_xlabel("token")
    axes.set_title(chart.title, loc="left")
    axes.legend(frameon=False)
    return figure


@draw.register
def _(chart: HeatMap) -> Figure:
    names = [name for name, _ in chart.rows]
    figure = Figure(figsize=(5.5, 0.9 + 0.18 * len(names)))
    axes = figure.add_subplot()
    image = axes.imshow(
        [values for _, values in chart.rows], aspect="auto", cmap="cividis", vmin=0,
        extent=(0, chart.tokens, len(names), 0),
    )  # fmt: skip
    axes.set_yticks([i + 0.5 for i in range(len(names))], names)
    axes.set_xlabel("token")
    axes.set_title(chart.title, loc="left")
    figure.colorbar(image, label="share of neurons that fire")
    return figure


@draw.register
def _(chart: SpikeRows) -> Figure:
    figure = Figure(figsize=(5.5, 0.6 + 0.35 * len(chart.groups)))
    axes = figure.add_subplot()
    ticks, base = [], 0
    for i, (_, values) in enumerate(chart.groups):
        spikes = np.asarray(values)
        token, neuron = spikes.nonzero()
        axes.scatter(token, base + neuron, s=1.5, marker="|", color=PALETTE[i % 2], linewidths=0.7)
        ticks.append(base + spikes.shape[1] / 2)
        base += spikes.shape[1] + 2
    axes.set_yticks(ticks, [name for name, _ in chart.groups])
    axes.invert_yaxis()
    axes.set_xlabel("token")
    axes.set_title(chart.title, loc="left")
    return figure


@draw.register
def _(chart: Chips) -> Figure:
    columns = min(len(chart.drawn), 4)
    rows = -(-len(chart.drawn) // columns)
    wide, tall = chart.drawn[0].wide, chart.drawn[0].tall
    size = 5.5 / (columns * (wide + 1))
    figure = Figure(figsize=(5.5, rows * (tall * size + 0.3) + 0.4))
    for i, chip in enumerate(chart.drawn):
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
    handles = [Rectangle((0, 0), 1, 1, color=PALETTE[i]) for i in range(len(chart.groups))]
    figure.legend(handles, chart.groups, loc="lower left", ncols=len(chart.groups), frameon=False)
    return figure
