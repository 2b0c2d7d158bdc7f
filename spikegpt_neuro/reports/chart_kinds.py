"""What a chart shows: values with their labels, and nothing of how they are drawn.

``reports/charts.py`` makes them of a study; ``reports/svg.py`` draws them on the HTML page and
``reports/figures.py`` as figures for papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PALETTE: Final = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1", "#7F7F7F",
)  # fmt: skip
"""Colours that people with colour blindness can tell apart (Okabe and Ito), and two more."""


@dataclass(frozen=True)
class Chart:
    """Base of all charts. ``description``: what it shows, in words, for who cannot see it."""

    title: str
    description: str


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart: parts in order, and the text at its end."""

    label: str
    parts: tuple[float, ...]
    value: str


@dataclass(frozen=True)
class StackedBars(Chart):
    """Horizontal bars, each a stack of the named parts, in ``unit``; one of ``colours`` a part."""

    names: Sequence[str]
    bars: Sequence[Bar]
    unit: str
    colours: Sequence[str] = PALETTE


@dataclass(frozen=True)
class Extent:
    """One row of a range chart."""

    label: str
    low: float
    high: float
    value: str


@dataclass(frozen=True)
class Ranges(Chart):
    """Horizontal low-high bars around a common middle line, in ``unit``."""

    middle: float
    rows: Sequence[Extent]
    unit: str


@dataclass(frozen=True)
class Curves(Chart):
    """Shares (0 to 1) over tokens ``x``, by their names."""

    x: Sequence[float]
    series: Sequence[tuple[str, Sequence[float]]]


@dataclass(frozen=True)
class HeatMap(Chart):
    """Shares (0 to 1): one row a layer, one cell a stretch of a text of ``tokens``."""

    rows: Sequence[tuple[str, Sequence[float]]]
    tokens: int


@dataclass(frozen=True)
class SpikeRows(Chart):
    """Spikes of groups of neurons, each group [token][neuron]: one line a neuron."""

    groups: Sequence[tuple[str, Sequence[Sequence[int]]]]


@dataclass(frozen=True)
class Cell:
    """One core in a mapping picture."""

    x: int
    y: int
    group: int
    title: str


@dataclass(frozen=True)
class Chip:
    """A chip's cores, and the width and height of its grid of routers."""

    label: str
    wide: int
    tall: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Chips(Chart):
    """Chips as grids of cores, coloured by group; cores of one router share its place."""

    drawn: Sequence[Chip]
    groups: Sequence[str]
