"""docs/file-format.md says what the schema says."""

from __future__ import annotations

from pathlib import Path

from spikegpt_neuro.network import LAYER_KINDS
from spikegpt_neuro.network.documentation import written

PAGE = Path(__file__).parents[2] / "docs/file-format.md"


def test_the_page_lists_every_kind_as_the_schema_does() -> None:
    page = PAGE.read_text("utf-8")
    assert all(f"| `{kind}` |" in page for kind in LAYER_KINDS)
    assert page == written(page), "run: python -m spikegpt_neuro.network.documentation " + str(PAGE)
