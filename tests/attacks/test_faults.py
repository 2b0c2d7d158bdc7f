"""A few faults at random moments; ``python -m attacks faults`` runs thousands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRIALS = 24


def test_whatever_happens_nothing_is_lost_or_left(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    ended = subprocess.run(
        [sys.executable, "-m", "attacks", "faults", "--trials", str(TRIALS), "--seed", "5",
         "--commands", "simulate", "chain", "corpus", "serve", "--json", str(told)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(told.read_text())
    assert found["bad_trials"] == [] and ended.returncode == 0, ended.stderr[-3000:]
    assert found["trials"] == TRIALS
    outcomes = {name for row in found["faults"].values() for name in row}
    assert outcomes >= {"completed", "failed", "ended"}
