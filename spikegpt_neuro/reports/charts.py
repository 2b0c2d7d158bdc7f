"""The charts of a study: what each shows, once for the page and for papers."""

from __future__ import annotations

import math
from typing import Final

from spikegpt_neuro.energy import EnergyReport, Study
from spikegpt_neuro.energy.baselines import Comparison
from spikegpt_neuro.energy.parts import CATEGORIES
from spikegpt_neuro.mapping import Mapping
from spikegpt_neuro.reports.chart_kinds import (
    PALETTE,
    Bar,
    Cell,
    Chip,
    Chips,
    Curves,
    Extent,
    HeatMap,
    Ranges,
    SpikeRows,
    StackedBars,
)
from spikegpt_neuro.reports.numbers import engineering, plural, share

_MOST_RASTER_LAYERS: Final = 12
_MOST_CHIPS: Final = 12
_MOST_COEFFICIENTS: Final = 10
_PLAIN_WIDTH: Final = 32

GROUPS: Final = ("embedding", "SRWKV", "SRFFN", "head")
"""What the colours of cores mean."""


def energy_by_stage(report: EnergyReport) -> StackedBars:
    """Stacked bars: joules a token of every stage by category."""
    present = [c for c in CATEGORIES if c in report.by_category]
    bars = []
    for stage, by in report.by_stage.items():
        parts = tuple(by[c].value if c in by else 0.0 for c in present)
        bars.append(Bar(stage, parts, engineering(math.fsum(parts), "J")))
    total = report.energy.value if report.energy else 0.0
    largest = max(report.by_category.items(), key=lambda item: item[1].value)
    description = (
        f"Energy per token by part of the network on {report.profile.name}, {report.mode}. "
        f"The largest category is {largest[0]} with {share(largest[1].value / total)} of "
        f"{engineering(total, 'J')}."
    )
    title = f"Energy per token by stage, {report.profile.name}, {report.mode}"
    colours = [PALETTE[CATEGORIES.index(c)] for c in present]
    return StackedBars(title, description, present, bars, "J", colours)


def _moves(report: EnergyReport) -> list[Extent]:
    """What the strongest coefficients do to the total: the range of their sources, or ten per cent
    either way."""
    middle = report.energy.value if report.energy else 0.0
    rows = []
    for row in report.sensitivity[:_MOST_COEFFICIENTS]:
        change = abs(row.elasticity) * 0.1 * middle
        low, high = min(row.at_low, middle - change), max(row.at_high, middle + change)
        text = f"{engineering(max(low, 0.0), 'J')} to {engineering(high, 'J')}"
        rows.append(Extent(row.coefficient, low, high, text))
    return rows


def sensitivity(report: EnergyReport) -> Ranges:
    """What a change of ten per cent, or the range of sources, does to the total."""
    first = report.sensitivity[0].coefficient if report.sensitivity else "nothing"
    return Ranges(
        f"What moves the total, {report.profile.name}, {report.mode}",
        "Total energy per token when one coefficient moves through the range of its sources, or "
        f"by ten per cent where there is one source. The strongest is {first}.",
        report.energy.value if report.energy else 0.0,
        _moves(report),
        "J",
    )


def opponents(comparison: Comparison) -> StackedBars:
    """The network beside its opponents."""
    rows = []
    for b in comparison.baselines:
        total = b.joules_with_memory_per_token
        reading = 0.0 if total is None else total - b.joules_per_token
        text = engineering(b.joules_per_token if total is None else total, "J")
        ratio = b.ratio if total is None else b.ratio_with_memory
        if ratio is not None:
            text += f" ({ratio:.2f}x)"
        rows.append(Bar(b.name, (b.joules_per_token, reading), text))
    return StackedBars(
        f"Energy per token beside opponents, {comparison.profile}",
        " ".join(comparison.answers),
        ["arithmetic", "reading of weights"],
        rows,
        "J",
    )


def firing_over_text(study: Study) -> HeatMap:
    """Heat map: firing rate of every LIF layer over the text."""
    rates = study.firing_rates()
    return HeatMap(
        "Firing rate of each LIF layer over the text",
        f"{len(rates)} layers, {len(study.run.windows)} stretches of the text. "
        + "; ".join(f"{layer} {share(math.fsum(r) / len(r))}" for layer, r in rates.items() if r),
        list(rates.items()),
        study.run.counters.tokens,
    )


def mean_rates(study: Study) -> Curves:
    """Curves over the text: mean firing rate, and share of non-zero operands of projections."""
    dense = [layer for layer in study.main.layers if layer.role == "synapse"]
    operands = sum(layer.input_size for layer in dense)
    rates = list(study.firing_rates().values())
    mean = [math.fsum(column) / len(column) for column in zip(*rates, strict=True)]
    density = [
        sum(w.count(layer.name, "input_events") for layer in dense) / (w.tokens * operands)
        for w in study.run.windows
    ]
    series = [("operands of projections that are not zero", density)]
    if mean:
        series.append(("LIF neurons that fire", mean))
    return Curves(
        "Activity over the text",
        "Share of neurons that fire, and share of non-zero operands of the projections, over the "
        "text.",
        [float(b) for b in study.run.boundaries],
        series,
    )


def spikes(study: Study) -> SpikeRows:
    """Raster of a sample of neurons over the first tokens."""
    layers = list(study.run.spikes.items())
    step = -(-len(layers) // _MOST_RASTER_LAYERS) or 1
    picked = layers[::step]
    return SpikeRows(
        "Spikes of sampled neurons over the first tokens",
        f"{len(picked)} of {len(layers)} LIF layers; one row a neuron, one mark a spike.",
        [(layer, values.tolist()) for layer, values in picked],
    )


def _group(stage: str) -> int:
    if stage == "embedding":
        return 0
    if stage == "head":
        return 3
    return 1 if "srwkv" in stage else 2


def _chips_of(mapping: Mapping) -> list[Chip]:
    """The first chips of a mapping with their cores, each at its router."""
    place = mapping.placement
    limit = mapping.profile.limit
    per_chip = limit("cores_per_chip") or len(mapping.cores)
    wide = limit("mesh_width") or _PLAIN_WIDTH
    tall = -(-per_chip // ((limit("cores_per_tile") or 1) * wide))
    if not mapping.has_mesh:
        tall = min(tall, -(-min(len(mapping.cores), per_chip) // wide))
    cells: list[list[Cell]] = [[] for _ in range(min(mapping.chips, _MOST_CHIPS))]
    for i, core in enumerate(mapping.cores):
        chip = int(place.chip[i])
        if chip < len(cells):
            use = mapping.use_of_core(i)
            title = f"core {i}, {core.stage}: {use.weights} weights, {use.neurons} neurons"
            slot = int(place.slot[i])
            x, y = int(place.x[i]), int(place.y[i])
            if not mapping.has_mesh:
                x, y = slot % wide, slot // wide
            cells[chip].append(Cell(x, y, _group(core.stage), title))
    return [Chip(f"chip {chip}", wide, tall, tuple(held)) for chip, held in enumerate(cells)]


def mapping_picture(mapping: Mapping) -> Chips:
    """Cores on chips, coloured by the part of the network they hold."""
    shown = "" if mapping.chips <= _MOST_CHIPS else f", the first {_MOST_CHIPS} shown"
    order = "" if mapping.has_mesh else " Where routers lie is not known: drawn in order."
    return Chips(
        f"Cores on {mapping.profile.name}, {mapping.packing} packing",
        f"{plural(len(mapping.cores), 'core')} on {plural(mapping.chips, 'chip')}{shown}.{order}",
        _chips_of(mapping),
        GROUPS,
    )
