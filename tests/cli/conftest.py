"""The program as a user runs it: a process of its own, and one exported network for all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/kjv-4x192"
Run = Callable[..., subprocess.CompletedProcess[str]]


def run_program(
    *arguments: object, code: int = 0, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "spikegpt_neuro.cli.main", *map(str, arguments)],
        capture_output=True, text=True, encoding="utf-8", input=stdin, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="session")
def run() -> Run:
    return run_program


@pytest.fixture(scope="session")
def run_json() -> Callable[..., Any]:
    """Runs with --json; standard output must hold one JSON value and nothing else."""
    return lambda *arguments, **options: json.loads(
        run_program(*arguments, "--json", **options).stdout
    )


@pytest.fixture(scope="session")
def example() -> Path:
    return EXAMPLE


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text((EXAMPLE / "kjv-valid.txt").read_text()[:3000])
    return path


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    path = tmp_path_factory.mktemp("network") / "model.net"
    run_program(
        "export", EXAMPLE / "kjv-4x192.pth", path,
        "--vocab", EXAMPLE / "kjv-4x192.vocab.json", "--calibration", text,
    )  # fmt: skip
    return path
