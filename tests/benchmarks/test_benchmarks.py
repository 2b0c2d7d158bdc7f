"""The benchmarks run, and say what they found in a form others can read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRAWN = ("projection", "firing", "depth", "context")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "study",
    [
        "projection",
        "blocks",
        "firing",
        "depth",
        "context",
        "resources",
        "export",
        "lava",
        "training",
    ],
)
def test_a_quick_study(study: str, tmp_path: Path) -> None:
    done = _run("--quick", "--study", study, "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["quick"] is True
    assert results[study]
    assert results["machine"]["threads"] == 1
    with_probe = sum("memory probe" in line for line in done.stdout.splitlines())
    assert with_probe == {"firing": 5, "depth": 1, "context": 3}.get(study, 0)
    assert (tmp_path / f"{study}.svg").exists() is (study in DRAWN)


def test_an_unknown_study_is_refused() -> None:
    done = _run("--study", "nothing")
    assert done.returncode == 2
    assert "invalid choice" in done.stderr
