"""Tables of artefacts in the documentation: every row names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLES = {"docs/checkpoints.md": 30, "docs/netx.md": 31, "docs/exchange.md": 31}
"""Pages with tables whose last column is headed ``test``, and how many rows they have at least."""
GRAPHS = "tests/exchange/test_public_graphs.py"
"""Its tests run once for each graph that its two tables name; pages name those."""


def named_tests(page: str) -> list[tuple[str, list[str]]]:
    """Each row's first column, and the tests in its last."""
    rows, inside = [], False
    for line in page.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif cells[-1] == "test":
            inside = True
        elif inside and not set(cells[-1]) <= set("-: "):
            named = re.findall(r"`([^`]+)`", cells[-1])
            rows.append((cells[0], [name.removeprefix("tests/exchange/") for name in named]))
    return rows


@pytest.fixture(scope="module")
def tests() -> set[str]:
    files = list((ROOT / "tests").rglob("test_*.py"))
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    graphs = re.findall(r'^    "([^"]+)": \(', (ROOT / GRAPHS).read_text("utf-8"), re.M)
    assert len(graphs) > 30
    functions = set(re.findall(r"^def (test_\w+)\(", text, re.M))
    return {file.name for file in files} | functions | set(graphs)


@pytest.mark.parametrize("page", sorted(TABLES))
def test_every_row_names_tests_that_exist(page: str, tests: set[str]) -> None:
    rows = named_tests((ROOT / page).read_text(encoding="utf-8"))
    assert len(rows) >= TABLES[page]
    without = [what for what, named in rows if not named]
    assert not without, f"rows without a test: {without}"
    unknown = sorted({name for _, named in rows for name in named} - tests)
    assert not unknown, f"no such tests: {unknown}"


def test_a_row_without_a_test_is_seen() -> None:
    page = (
        "| a | test |\n|---|---|\n| x | `test_x.py` and `test_y` |\n| z | none |\n\n| no | more |"
    )
    assert named_tests(page) == [("x", ["test_x.py", "test_y"]), ("z", [])]
