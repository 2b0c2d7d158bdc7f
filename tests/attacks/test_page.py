"""docs/robustness.md is what its generator writes of the results in the tree."""

from __future__ import annotations

from attacks.page import PAGE, page


def test_the_page_is_written_from_the_results() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python -m attacks page`"
