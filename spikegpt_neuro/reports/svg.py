"""Small SVG charts as text: stacked bars, ranges, lines, heat maps, rasters, grids.

Every chart is a figure with a title and a description for screen readers, uses text colour from the
page, and fixed coordinates, so that the same values give the same bytes.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from functools import singledispatch
from typing import Final

from spikegpt_neuro.reports.chart_kinds import (
    PALETTE,
    Cell,
    Chart,
    Chips,
    Curves,
    HeatMap,
    Ranges,
    SpikeRows,
    StackedBars,
)

WIDTH: Final = 760
_LABEL: Final = 190
_ROW: Final = 22


def number(value: float) -> str:
    """A coordinate: at most two decimals, no trailing zeros."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def round_up(value: float) -> float:
    """The next of 1, 2, 4, 8 times a power of ten; 1 for zero.

    >>> round_up(0.737), round_up(0.19), round_up(0.0)
    (0.8, 0.2, 1.0)
    """
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    step = next((s for s in (1, 2, 4, 8, 10) if value <= s * power * (1 + 1e-12)), 10)
    return float(f"{step * power:.3g}")


def escape(text: str) -> str:
    """Text that is safe in HTML and SVG, in attributes too."""
    return html.escape(text, quote=True)


def _text(x: float, y: float, content: str, anchor: str = "start", css: str = "") -> str:
    marked = f' class="{css}"' if css else ""
    return (
        f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"{marked}>'
        f"{escape(content)}</text>"
    )


def _rectangle(x: float, y: float, w: float, h: float, fill: str, title: str = "") -> str:
    shape = (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(max(w, 0))}" '
        f'height="{number(h)}" fill="{fill}"'
    )
    return f"{shape}><title>{escape(title)}</title></rect>" if title else f"{shape}/>"


@singledispatch
def draw(chart: Chart, name: str) -> str:
    """The chart as an accessible image. ``name`` is unique on the page."""
    raise TypeError(f"no drawing of a {type(chart).__name__}")


def _image(chart: Chart, name: str, height: float, body: Sequence[str]) -> str:
    return (
        f'<svg class="chart" id="{name}" role="img" viewBox="0 0 {WIDTH} {number(height)}" '
        f'aria-labelledby="{name}-t {name}-d" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{name}-t">{escape(chart.title)}</title>'
        f'<desc id="{name}-d">{escape(chart.description)}</desc>{"".join(body)}</svg>'
    )


def _legend(
    names: Sequence[str], x: float, y: float, colours: Sequence[str] = PALETTE
) -> list[str]:
    """Coloured squares with their names, in one line."""
    marks = []
    for name, colour in zip(names, colours, strict=False):
        marks.append(_rectangle(x, y - 9, 10, 10, colour))
        marks.append(_text(x + 14, y, name))
        x += 26 + 7.2 * len(name)
    return marks


@draw.register
def _(chart: StackedBars, name: str) -> str:
    names, colours = chart.names, chart.colours
    longest = max((math.fsum(bar.parts) for bar in chart.bars), default=0.0) or 1.0
    room = WIDTH - _LABEL - 130
    body = _legend(names, 0, 12, colours)
    y = 28.0
    for bar in chart.bars:
        body.append(_text(_LABEL - 8, y + 14, bar.label, "end"))
        x = float(_LABEL)
        for part, part_name, colour in zip(bar.parts, names, colours, strict=False):
            width = part / longest * room
            if part > 0:
                tip = f"{bar.label}: {part_name}"
                body.append(_rectangle(x, y + 3, width, _ROW - 6, colour, tip))
            x += width
        body.append(_text(x + 6, y + 14, bar.value))
        y += _ROW
    return _image(chart, name, y + 6, body)


@draw.register
def _(chart: Ranges, name: str) -> str:
    middle, rows = chart.middle, chart.rows
    low = min((row.low for row in rows), default=middle)
    high = max((row.high for row in rows), default=middle)
    room = WIDTH - _LABEL - 150
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return _LABEL + (value - low) / span * room

    bottom = _ROW * len(rows) + 8
    body = [
        f'<line class="axis" x1="{number(place(middle))}" x2="{number(place(middle))}" y1="0" '
        f'y2="{bottom}"/>'
    ]
    y = 4.0
    for row in rows:
        begin, end = place(row.low), place(row.high)
        body.append(_text(_LABEL - 8, y + 14, row.label, "end"))
        body.append(_rectangle(begin, y + 3, max(end - begin, 2), _ROW - 6, PALETTE[0], row.value))
        body.append(_text(end + 6, y + 14, row.value))
        y += _ROW
    return _image(chart, name, y + 8, body)


@draw.register
def _(chart: Curves, name: str) -> str:
    """The vertical axis begins at zero and ends at a round number."""
    x, series = chart.x, chart.series
    top = round_up(max((max(values, default=0.0) for _, values in series), default=0.0))
    last = max(x, default=1.0) or 1.0
    left, right, height = 60.0, WIDTH - 20.0, 220.0
    body = _legend([label for label, _ in series], left, 12)
    for step in range(5):
        y = 30 + (height - 30) * step / 4
        body.append(
            f'<line class="grid" x1="{number(left)}" x2="{number(right)}" y1="{number(y)}" '
            f'y2="{number(y)}"/>'
        )
        body.append(_text(left - 6, y + 4, f"{top * (4 - step) / 4 * 100:.3g} %", "end"))
    for (label, values), colour in zip(series, PALETTE, strict=False):
        points = " ".join(
            f"{number(left + (right - left) * at / last)},"
            f"{number(30 + (height - 30) * (1 - value / top))}"
            for at, value in zip(x, values, strict=True)
        )
        body.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}">'
            f"<title>{escape(label)}</title></polyline>"
        )
    body.append(_text(left, height + 18, "0"))
    body.append(_text(right, height + 18, f"{last:g} tokens", "end"))
    return _image(chart, name, height + 26, body)


@draw.register
def _(chart: HeatMap, name: str) -> str:
    """Dark is high. Each cell tells its value."""
    rows = chart.rows
    top = max((max(values, default=0.0) for _, values in rows), default=0.0) or 1.0
    room = WIDTH - _LABEL - 10.0
    high = 16.0
    body = []
    for i, (label, values) in enumerate(rows):
        body.append(_text(_LABEL - 8, i * high + 12, label, "end"))
        width = room / max(len(values), 1)
        for j, value in enumerate(values):
            cell = _rectangle(
                _LABEL + j * width, i * high, width + 0.3, high - 1, PALETTE[0],
                f"{label}: {100 * value:.1f} %",
            )  # fmt: skip
            body.append(cell.replace("<rect ", f'<rect opacity="{number(value / top)}" ', 1))
    base = len(rows) * high + 14
    body.append(_text(_LABEL, base, "beginning of the text"))
    body.append(_text(WIDTH - 10, base, f"end; darkest {100 * top:.1f} %", "end"))
    return _image(chart, name, base + 6, body)


@draw.register
def _(chart: SpikeRows, name: str) -> str:
    """One mark a token with a spike."""
    groups = chart.groups
    body = []
    y = 2.0
    steps = max((len(spikes) for _, spikes in groups), default=1) or 1
    width = (WIDTH - _LABEL - 10) / steps
    for index, (label, spikes) in enumerate(groups):
        neurons = len(spikes[0]) if spikes else 0
        marks = []
        for t, row in enumerate(spikes):
            for k, fired in enumerate(row):
                if fired:
                    x = number(_LABEL + t * width)
                    marks.append(f"M{x} {number(y + 3 * k + 1)}h{number(width * 0.8)}")
        body.append(_text(_LABEL - 8, y + 1.5 * neurons + 4, label, "end"))
        colour = PALETTE[index % 2]
        body.append(f'<path stroke="{colour}" stroke-width="2" d="{"".join(marks)}"/>')
        y += 3 * neurons + 6
    body.append(_text(_LABEL, y + 10, "token 0"))
    body.append(_text(WIDTH - 10, y + 10, f"token {steps}", "end"))
    return _image(chart, name, y + 16, body)


@draw.register
def _(chart: Chips, name: str) -> str:
    drawn, groups = chart.drawn, chart.groups
    wide = max((chip.wide for chip in drawn), default=1)
    tall = max((chip.tall for chip in drawn), default=1)
    columns = max(1, min(len(drawn), 4 if wide <= 8 else 2))
    size = min(22.0, (WIDTH - 20.0 * columns) / (columns * wide))
    block_w, block_h = WIDTH / columns, tall * size + 30
    body = []
    for i, chip in enumerate(drawn):
        left, top = (i % columns) * block_w, (i // columns) * block_h
        body.append(_text(left, top + 12, chip.label))
        body.append(
            f'<rect class="outline" x="{number(left)}" y="{number(top + 17)}" '
            f'width="{number(chip.wide * size)}" height="{number(chip.tall * size)}"/>'
        )
        together: dict[tuple[int, int], list[Cell]] = {}
        for cell in chip.cells:
            together.setdefault((cell.x, cell.y), []).append(cell)
        for (column, row), sharing in together.items():
            width = (size - 2) / len(sharing)
            for k, cell in enumerate(sharing):
                body.append(
                    _rectangle(left + column * size + k * width, top + 18 + row * size,
                               max(width - 0.4, 0.6), size - 2,
                               PALETTE[cell.group % len(PALETTE)], cell.title)
                )  # fmt: skip
    bottom = -(-len(drawn) // columns) * block_h
    x, y = 0.0, bottom + 12
    for i, group in enumerate(groups):
        wanted = 26 + 7.2 * len(group)
        if x + wanted > WIDTH:
            x, y = 0.0, y + 18
        body.append(_rectangle(x, y - 9, 10, 10, PALETTE[i % len(PALETTE)]))
        body.append(_text(x + 14, y, group))
        x += wanted
    return _image(chart, name, y + 8, body)
