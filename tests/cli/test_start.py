"""Ctrl-C in the first moments of the program, while it imports what it needs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spikegpt_neuro.cli import main

STARTS = ([sys.executable, "-m", "spikegpt_neuro.cli.main"], [f"{sys.prefix}/bin/spikegpt-neuro"])
INTERRUPTED_IMPORT = """
import os, signal, sys
os.kill(os.getpid(), signal.SIGINT)
sys.exit(7)
"""
"""In the place of typer, which is the first that the program needs."""


def _start(
    program: list[str], folder: Path, before: Callable[[], object]
) -> subprocess.CompletedProcess[str]:
    (folder / "typer.py").write_text(INTERRUPTED_IMPORT)
    return subprocess.run(
        [*program, "--version"], env={**os.environ, "PYTHONPATH": str(folder)}, preexec_fn=before,
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("program", STARTS, ids=["-m", "script"])
def test_an_interrupted_start_ends_by_the_signal_and_silently(
    program: list[str], tmp_path: Path
) -> None:
    ended = _start(program, tmp_path, lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("program", STARTS, ids=["-m", "script"])
def test_a_background_job_of_a_shell_is_not_interrupted(program: list[str], tmp_path: Path) -> None:
    ended = _start(program, tmp_path, lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert ended.returncode == 7


def test_an_interrupt_in_the_very_first_lines_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("signal.getsignal", interrupted)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 130
    assert capfd.readouterr().err == "error: interrupted\n"


def test_nothing_is_imported_before_the_first_line() -> None:
    code = "import sys; before = set(sys.modules); import spikegpt_neuro.cli.main; "
    code += "print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = ["spikegpt_neuro", "spikegpt_neuro.cli", "spikegpt_neuro.cli.main"]
    assert done.stdout.strip() == str(ours)
