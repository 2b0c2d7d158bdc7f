"""The example of published sizes runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "energy_of_published_sizes.py"


def test_the_example_prints_both_layouts_packings_and_modes() -> None:
    shown = subprocess.run(
        [sys.executable, str(EXAMPLE), "--quick"], capture_output=True, text=True, timeout=600,
        check=True,
    ).stdout  # fmt: skip
    rows = [line for line in shown.splitlines() if "tiny" in line]
    assert len(rows) == 2 * 3 * 2
    for word in ("upstream", "spike-driven", "optimistic", "prefill", "generation"):
        assert any(word in row for row in rows), word


def test_the_example_compares_mappings_of_least_energy() -> None:
    shown = subprocess.run(
        [sys.executable, str(EXAMPLE), "--quick", "--for", "energy"], capture_output=True,
        text=True, timeout=600, check=True,
    ).stdout  # fmt: skip
    rows = [line for line in shown.splitlines() if "tiny" in line]
    assert len(rows) == 2 * 3
    for word in ("packed", "spread", "energy"):
        assert sum(word in row for row in rows) == 2
