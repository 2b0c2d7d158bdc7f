"""The example that counts chips by bits and pruning runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "chips_of_published_sizes.py"


def test_the_example_counts_cores_of_both_layouts() -> None:
    shown = subprocess.run(
        [sys.executable, EXAMPLE, "--size", "tiny", "--prune", "0", "0.75"],
        capture_output=True, text=True, timeout=600, check=True,
    ).stdout  # fmt: skip
    rows = [line.replace("│", " ").split() for line in shown.splitlines() if "tiny" in line]
    assert [row[1] for row in rows] == ["upstream"] * 2 + ["spike-driven"] * 2
    assert [row[4] for row in rows] == ["0%", "75%"] * 2
    assert all(int(row[5]) > 0 and row[6] == "1" for row in rows)
