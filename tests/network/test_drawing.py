"""A drawing: no box over another, all inside, every line from its source's side to its reader's."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from spikegpt_neuro.network.drawing import draw_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network


@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
def test_boxes_and_lines_are_where_they_belong(layout: str) -> None:
    network = random_network(RandomShape(layout, 2, 16, 12))
    svg = draw_network(network)
    found = re.search(r'width="(\d+)" height="(\d+)"', svg)
    assert found
    width, height = map(int, found.groups())
    boxes = {
        name: tuple(map(int, place))
        for name, *place in re.findall(
            r'<title>([^<]+)</title><rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', svg
        )
    }
    assert list(boxes) == [layer.name for layer in network.layers]
    for x, y, w, h in boxes.values():
        assert 0 < x < x + w < width and 0 < y < y + h <= height
    for (x, y, w, h), (a, b, c, d) in combinations(boxes.values(), 2):
        assert x + w < a or a + c < x or y + h < b or b + d < y
    colours = {"binary": "#c2410c", "graded": "#1d4ed8", "accumulator": "#64748b"}
    lines = sorted(
        (colour, *map(int, ends))
        for colour, *ends in re.findall(
            r'<path stroke="(#\w+)" d="M(\d+) (\d+)C-?\d+ \d+ -?\d+ \d+ (\d+) (\d+)"', svg
        )
    )
    expected = []
    for layer in network.layers:
        for source in layer.inputs:
            if source in boxes:
                x, y, w, h = boxes[source]
                a, b, _, d = boxes[layer.name]
                colour = colours[network[source].output.payload]
                expected.append((colour, x + w, y + h // 2, a, b + d // 2))
    assert lines == sorted(expected)
    # within a stage a reader stands to the right of what it reads
    for layer in network.layers:
        for source in layer.inputs:
            if source in boxes and network[source].stage == layer.stage:
                assert boxes[source][0] + boxes[source][2] < boxes[layer.name][0]
