"""Batches, interleaved streams and arrival rates: the same rows in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from rich.console import RenderableType

from spikegpt_neuro.energy import Study
from spikegpt_neuro.energy.arrival import NOT_IN_RATES, ArrivalRow
from spikegpt_neuro.energy.batches import BatchRow
from spikegpt_neuro.energy.parts import Energy
from spikegpt_neuro.energy.streams import NOT_IN_STREAMS, StreamRow
from spikegpt_neuro.reports import elements, tables
from spikegpt_neuro.reports.numbers import count, engineering


@dataclass(frozen=True)
class _Sheet:
    """A table: its columns (those that end in ``*`` hold text), its rows, and what to know."""

    title: str
    columns: str
    rows: list[tuple[str, ...]]
    notes: tuple[str, ...] = ()


ALL_ROWS: Final = ("batches", "streams", "arrivals")
"""The tables, by the names that ``Study`` has for their rows."""


def _sheets(study: Study, which: Collection[str]) -> list[_Sheet]:
    found = []
    if "batches" in which and study.batches:
        found.append(
            _Sheet(
                "Batches: tokens that share the reading of weights, beside the same network "
                "computed densely",
                "target*|mode*|batch|weights read|densely|ratio|products|densely|ratio|whole bill|"
                "densely|ratio",
                [_batch(row) for row in study.batches],
            )
        )
    if "streams" in which and study.streams:
        found.append(
            _Sheet(
                "Interleaved generations: texts that follow each other through the layers",
                "target*|texts|energy/token|range|time/token|range|steps/token|most texts",
                [_streams(row) for row in study.streams],
                NOT_IN_STREAMS,
            )
        )
    if "arrivals" in which and study.arrivals:
        found.append(
            _Sheet(
                "Arrival rates: a token now and then, beside the same network computed densely",
                "target*|tokens/s|always on|range|ratio|power-gated|ratio|note*",
                [_arrival(row) for row in study.arrivals],
                NOT_IN_RATES,
            )
        )
    return found


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _joules(energy: Energy | None) -> tuple[str, str]:
    if energy is None:
        return "-", ""
    extent = f"{engineering(energy.low, 'J')} .. {engineering(energy.high, 'J')}"
    return engineering(energy.value, "J"), extent


def _batch(row: BatchRow) -> tuple[str, ...]:
    return (
        row.profile,
        row.kind,
        str(row.batch),
        count(row.weights_read),
        count(row.weights_read_densely),
        _ratio(row.ratio_of_reads),
        engineering(float(row.products), "J"),
        engineering(float(row.products_densely), "J"),
        _ratio(row.ratio_of_products),
        engineering(float(row.whole), "J"),
        engineering(float(row.whole_densely), "J"),
        _ratio(row.ratio_of_whole),
    )


def _streams(row: StreamRow) -> tuple[str, ...]:
    most = "not known" if row.most_streams is None else str(row.most_streams)
    if row.seconds is None or row.steps is None:
        return row.profile, str(row.streams), "does not fit", "", "", "", "", most
    low, high = engineering(row.seconds.low, "s"), engineering(row.seconds.high, "s")
    return (
        row.profile,
        str(row.streams),
        *_joules(row.energy),
        engineering(row.seconds.value, "s"),
        f"{low} .. {high}",
        f"{row.steps:.3g}",
        most,
    )


def _arrival(row: ArrivalRow) -> tuple[str, ...]:
    return (
        row.profile,
        f"{row.rate:g}",
        *_joules(row.always_on),
        _ratio(row.ratio_always_on),
        _joules(row.gated)[0],
        _ratio(row.ratio_gated),
        row.note,
    )


def rows_in_terminal(study: Study, which: Collection[str]) -> list[RenderableType]:
    """The tables named, each with what to know before quoting it."""
    shown: list[RenderableType] = []
    for sheet in _sheets(study, which):
        names = [
            name.removesuffix("*") if name.endswith("*") else f">{name}"
            for name in sheet.columns.split("|")
        ]
        made = tables.table(names, title=sheet.title)
        for row in sheet.rows:
            made.add_row(*row)
        shown.append(made)
        if sheet.notes:
            shown.append(tables.titled_lines("Read with it", list(sheet.notes)))
    return shown


def rows_section(study: Study) -> str:
    """All of them as a section of the page."""
    return "".join(
        elements.table(sheet.title, sheet.columns, sheet.rows) + elements.bullets(sheet.notes)
        for sheet in _sheets(study, ALL_ROWS)
    )
