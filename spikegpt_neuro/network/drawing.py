"""A drawing of a network: stages from top to bottom, layers from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from spikegpt_neuro.network.network import ModelInfo, Network
from spikegpt_neuro.network.schema import Layer

_WIDTH, _HEIGHT = 150, 34
_GAP_X, _GAP_Y = 30, 12
_MARGIN, _TITLE = 20, 22
_COLOURS = {"binary": "#c2410c", "graded": "#1d4ed8", "accumulator": "#64748b"}
_STYLE = (
    "text{font:11px sans-serif;fill:#0f172a}.stage{font-weight:bold;font-size:13px}"
    ".kind{fill:#475569;font-size:10px}rect{fill:#f8fafc;stroke-width:1.5}"
    "path{fill:none;stroke-width:1.2;opacity:.7}"
)


def _depths(layers: Sequence[Layer]) -> dict[str, int]:
    """Column of each layer of a stage: the longest way to it within the stage."""
    depths: dict[str, int] = {}
    for layer in layers:
        depths[layer.name] = max((depths[s] + 1 for s in layer.inputs if s in depths), default=0)
    return depths


def draw_network(network: Network) -> str:
    """The network as an SVG image: orange lines carry binary spikes, blue graded, grey sums."""
    places: dict[str, tuple[int, int]] = {}
    body: list[str] = []
    top, width = _MARGIN + 2 * _TITLE, 0
    for stage, layers in network.stages.items():
        body.append(f'<text class="stage" x="{_MARGIN}" y="{top}">{escape(stage)}</text>')
        taken: dict[int, int] = {}
        for name, column in _depths(layers).items():
            row = taken.get(column, 0)
            taken[column] = row + 1
            x = _MARGIN + column * (_WIDTH + _GAP_X)
            places[name] = (x, top + 10 + row * (_HEIGHT + _GAP_Y))
            width = max(width, x + _WIDTH + _MARGIN)
        top += 10 + max(taken.values()) * (_HEIGHT + _GAP_Y) + _TITLE
    body += [_line(network[a], places[a], places[b]) for a, b in network.graph.edges]
    body += [_box(layer, places[layer.name]) for layer in network.layers]
    info = network.info
    title = f"a chain of {len(network.layers)} layers"
    if isinstance(info, ModelInfo):
        title = f"{info.layout} layout, {info.n_layer} blocks of width {info.n_embd}"
    legend = "".join(
        f'<tspan fill="{colour}" dx="12">{payload}</tspan>' for payload, colour in _COLOURS.items()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" '
        f'viewBox="0 0 {width} {top}"><style>{_STYLE}</style>'
        f'<text class="stage" x="{_MARGIN}" y="{_MARGIN}">{escape(title)}{legend}</text>'
        + "\n".join(body)
        + "</svg>\n"
    )


def _line(source: Layer, begin: tuple[int, int], end: tuple[int, int]) -> str:
    x0, y0 = begin[0] + _WIDTH, begin[1] + _HEIGHT // 2
    x1, y1 = end[0], end[1] + _HEIGHT // 2
    bend = max(_GAP_X // 2, abs(x1 - x0) // 2)
    return (
        f'<path stroke="{_COLOURS[source.output.payload]}" '
        f'd="M{x0} {y0}C{x0 + bend} {y0} {x1 - bend} {y1} {x1} {y1}"/>'
    )


def _box(layer: Layer, place: tuple[int, int]) -> str:
    x, y = place
    port = layer.output
    short = layer.name.removeprefix(layer.stage).lstrip(".") or layer.name
    return (
        f'<g><title>{escape(layer.name)}</title><rect x="{x}" y="{y}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" rx="4" stroke="{_COLOURS[port.payload]}"/>'
        f'<text x="{x + 8}" y="{y + 14}">{escape(short)}</text>'
        f'<text class="kind" x="{x + 8}" y="{y + 28}">{layer.kind}, {port.size} x {port.bits} bits'
        "</text></g>"
    )
