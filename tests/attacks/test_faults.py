"""A few faults at random moments; ``python -m attacks faults`` runs thousands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import spikegpt_neuro
from attacks.faults.trial import before_the_program, without_the_trackers

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


PYTHONS_OWN = """Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/usr/lib/python3.11/re/__init__.py", line 124, in <module>
    import enum
KeyboardInterrupt
"""
TRACKERS = """Traceback (most recent call last):
  File "/usr/lib/python3.11/multiprocessing/resource_tracker.py", line 239, in main
    cache[rtype].remove(name)
    ~~~~~^^^^^^^
KeyError: '/mp-h1zkve3p'
"""


def test_what_came_before_the_program_is_told_by_the_traceback(tmp_path: Path) -> None:
    def begun(said: str) -> bool:
        (tmp_path / "stderr").write_text(said)
        return not before_the_program(tmp_path / "stderr")

    ours = f'  File "{Path(spikegpt_neuro.__file__).resolve()}", line 1, in <module>\n'
    assert not begun(PYTHONS_OWN)
    assert begun(PYTHONS_OWN.replace("  File", f"{ours}  File", 1))
    assert begun(PYTHONS_OWN.replace("KeyboardInterrupt", "KeyError: 1"))
    assert begun(f"error: interrupted\n{PYTHONS_OWN}")
    assert begun(PYTHONS_OWN + PYTHONS_OWN)
    assert begun("")


def test_only_the_trackers_tracebacks_are_not_the_programs() -> None:
    assert without_the_trackers(f"before\n{TRACKERS}{TRACKERS}after\n") == "before\nafter\n"
    assert without_the_trackers(TRACKERS + PYTHONS_OWN) == PYTHONS_OWN
    through = TRACKERS.replace("  File", '  File "/a/spikegpt_neuro/x.py", line 1, in x\n  File', 1)
    assert without_the_trackers(through) == through
