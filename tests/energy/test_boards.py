"""Published boards lie inside the printed ranges, and middles do not drift away from them."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import map_network

ROOT = Path(__file__).parents[2]


def _example() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "published_boards", ROOT / "examples" / "published_boards.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


EXAMPLE = _example()
BOARDS = {board["name"]: board for board in EXAMPLE.read_boards()}
PAGE = (ROOT / "docs" / "validation.md").read_text("utf-8")
FURTHEST = {"PilotNet LIF": 1.75, "MatMul-free LM 370M": 2.4, "Acoustic autoencoder": 4.6}
"""How far middles may be off, a board; 3 elsewhere."""
CITED = (
    "2503.18002", "2406.02528", "2409.15022", "2502.01330", "2511.21549", "2601.10035",
    "2608.18341", "2312.09084", "2511.15950",
)  # fmt: skip


@cache
def _rows(name: str) -> list[Any]:
    found: list[Any] = EXAMPLE.rows_of(BOARDS[name])
    return found


@pytest.mark.parametrize("name", BOARDS)
def test_measurements_lie_inside_the_printed_ranges(name: str) -> None:
    """All but those that the file names, of which the page says why."""
    board, rows = BOARDS[name], _rows(name)
    assert {row.figure for row in rows} == {*board["measured"], *board.get("unread", ())}
    assert [row.figure for row in rows if row.inside is False] == board.get("outside", [])
    assert [row.figure for row in rows if row.inside is None] == board.get("unread", [])
    for row in rows:
        assert row.low <= row.value <= row.high, row
        furthest = FURTHEST.get(name, 3.0)
        if row.inside:
            assert 1 / furthest <= row.ratio <= furthest, row
    by_name = {row.figure: row for row in rows}
    if "cores" in board["measured"] and name != "LIF populations, 200 neurons":
        assert 1 / 1.2 < by_name["cores"].ratio < 1.2
    if name == "PilotNet LIF":
        assert by_name["chips"].value == 1
        assert 1 / 1.5 < by_name["joules_pipelined"].ratio < 1.5


@pytest.mark.parametrize("name", BOARDS)
def test_the_page_holds_the_table_that_is_printed(name: str) -> None:
    assert BOARDS[name]["role"] in ("sets", "tests")
    assert BOARDS[name]["source"] and BOARDS[name]["note"]
    assert "\n".join(row.line() for row in _rows(name)) in PAGE


def test_every_report_says_how_far_predictions_are_from_boards() -> None:
    """The profile's own sentence, which stands in every report, from the rows that are printed."""
    rows = [row for name in BOARDS for row in _rows(name) if row.inside is not None]
    off = {
        inside: [max(row.ratio, 1 / row.ratio) for row in rows if row.inside is inside]
        for inside in (True, False)
    }
    (said,) = (text for text in load_profile("loihi2").warnings if "times off" in text)
    assert said == (
        f"Of {len(rows)} published figures compared in docs/validation.md {len(off[True])} lie "
        f"inside the ranges, their middles up to {max(off[True]):.1f} times off. Outside are an "
        "autoencoder's power on 16 chips and its dynamic energy, which is "
        f"{max(off[False]):.0f} times off."
    )
    assert len(off[False]) == 2


def test_only_one_s4d_of_four_layers_has_the_published_numbers_of_parameters() -> None:
    """67 and 265 thousand: counted array by array, over all usual widths and states."""

    def parameters(channels: int, states: int, inputs: int) -> int:
        layer = [(2, channels, states)] * 3 + [(channels,)] * 3 + [(channels, channels)]
        ends = [(channels, inputs), (channels,), (10, channels), (10,)]
        return sum(prod(shape) for shape in 4 * layer + ends)

    usual = [(c, s) for c in (16, 32, 48, 64, 96, 128, 192, 256) for s in (4, 8, 16, 32, 64, 128)]
    for name, thousands, inputs in (("S4D sMNIST", 67, 1), ("S4D sCIFAR", 265, 3)):
        found = [pair for pair in usual if round(parameters(*pair, inputs) / 1000) == thousands]
        board = BOARDS[name]
        assert found == [(board["channels"], board["states"])]
        assert board["depth"] == 4 and board["inputs"] == inputs and board["classes"] == 10


@pytest.mark.parametrize(
    ("name", "weights", "words", "operations"),
    [
        ("S4D sMNIST", 64 + 4 * 64 * 64 + 640, 8 * 4 * 64 * 32, 4 * 64 * (16 * 32 + 1)),
        ("S4D sCIFAR", 384 + 4 * 128 * 128 + 1280, 8 * 4 * 128 * 64, 4 * 128 * (16 * 64 + 1)),
    ],
)
def test_s4d_is_described_by_what_its_arrays_and_equation_need(
    name: str, weights: int, words: int, operations: int
) -> None:
    network, counters = EXAMPLE.network_of(BOARDS[name])
    assert sum(layer.products for layer in network.layers) == weights
    assert counters.total("synaptic_operations") == counters.tokens * weights // 2
    states = [layer for layer in network.layers if layer.name.endswith("states")]
    assert sum(layer.state_words + layer.parameter_words for layer in states) == words
    assert sum(sum(layer.operations().values()) for layer in states) == operations
    mapping = map_network(network, load_profile("loihi2"), "middle", counters)
    assert mapping.violations == ()
    held = sum(part.words for core in mapping.cores for part in core.slices)
    sums = sum(layer.output.size for layer in network.layers if layer.name.endswith("sums"))
    assert held == words + sums
    assert mapping.machine.steps == 1 + 2 * 4 + 1


def test_every_paper_is_cited_with_how_far_it_was_read() -> None:
    read = PAGE[PAGE.index("how far it was read") :]
    assert [number for number in CITED if f"arXiv {number}" not in read] == []
