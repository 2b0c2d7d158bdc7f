"""Published boards lie inside the printed ranges, and middles do not drift away from them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

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
FURTHEST = {"PilotNet LIF": 1.75, "MatMul-free LM 370M": 2.4, "Acoustic autoencoder": 3.4}
"""How far middles may be off, a board; 3 elsewhere."""


@pytest.mark.parametrize("name", [n for n, b in BOARDS.items() if b["measured"]])
def test_measurements_lie_inside_the_printed_ranges(name: str) -> None:
    pytest.importorskip("lava.lib.dl", reason="PilotNet's network comes with lava-dl")
    rows = EXAMPLE.rows_of(BOARDS[name])
    assert {row.figure for row in rows} == set(BOARDS[name]["measured"])
    for row in rows:
        assert row.low <= row.value <= row.high, row
        assert row.inside, row
        furthest = FURTHEST.get(name, 3.0)
        assert 1 / furthest <= row.ratio <= furthest, row
    if name == "PilotNet LIF":
        by_name = {row.figure: row for row in rows}
        assert by_name["chips"].value == 1
        assert 1 / 1.2 < by_name["cores"].ratio < 1.2
        assert 1 / 1.5 < by_name["joules_pipelined"].ratio < 1.5


def test_every_board_of_the_file_stands_on_the_page() -> None:
    page = (ROOT / "docs" / "validation.md").read_text("utf-8")
    for name, board in BOARDS.items():
        assert name.split(" (")[0] in page
        assert ("tests" if board["role"] == "tests" else "sets") in page
        assert board["source"] and board["note"]
