"""Every kind of chart is drawn by both renderers, from one description."""

from __future__ import annotations

import io

import pytest

from spikegpt_neuro.reports import figures, svg
from spikegpt_neuro.reports.chart_kinds import (
    Bar,
    Cell,
    Chart,
    Chip,
    Chips,
    Curves,
    Extent,
    HeatMap,
    Ranges,
    SpikeRows,
    StackedBars,
)

SAID = ("A title of its own", "What <it> shows")
CHARTS: list[Chart] = [
    StackedBars(*SAID, ["one", "two"], [Bar("a row", (1e-6, 2e-6), "3 uJ")], "J"),
    Ranges(*SAID, 2e-6, [Extent("a row", 1e-6, 3e-6, "1 to 3 uJ")], "J"),
    Curves(*SAID, [8.0, 16.0], [("a row", [0.25, 0.5])]),
    HeatMap(*SAID, [("a row", [0.25, 0.5])], 16),
    SpikeRows(*SAID, [("a row", [[0, 1], [1, 1]])]),
    Chips(*SAID, [Chip("a row", 2, 2, (Cell(0, 1, 0, "core 0"),))], ["one"]),
]


def test_every_kind_of_chart_is_here() -> None:
    assert {type(chart) for chart in CHARTS} == set(Chart.__subclasses__())


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: type(chart).__name__)
def test_both_renderers_draw_a_chart_with_its_labels(chart: Chart) -> None:
    page = svg.draw(chart, "here")
    assert '<title id="here-t">A title of its own</title>' in page
    assert '<desc id="here-d">What &lt;it&gt; shows</desc>' in page
    stream = io.BytesIO()
    figures.draw(chart).savefig(stream, format="svg", metadata={"Date": None})
    paper = stream.getvalue().decode("utf-8")
    assert "a row" in page
    assert paper.count("<path") > 3
    # glyphs are drawn as shapes; matplotlib keeps each text in a comment
    assert "<!-- a row -->" in paper


def test_a_chart_that_a_renderer_does_not_know_is_an_error() -> None:
    chart = Chart(*SAID)
    with pytest.raises(TypeError, match="Chart"):
        svg.draw(chart, "here")
    with pytest.raises(TypeError, match="Chart"):
        figures.draw(chart)
