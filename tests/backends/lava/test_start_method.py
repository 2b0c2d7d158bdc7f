"""Lava in a program that used multiprocessing before it was imported."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import multiprocessing
multiprocessing.{before}
from spikegpt_neuro.errors import Unavailable
from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava
try:
    prepare_lava()
    from lava.magma.core.process.process import AbstractProcess
    print("imported", multiprocessing.get_start_method())
except Unavailable as error:
    print(error)
"""


def run(before: str) -> str:
    code = CODE.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_lock_made_before_does_not_keep_lava_out() -> None:
    # a bar of tqdm makes one; from then on Python refuses any choice of how processes start
    assert run("RLock()") == "imported fork"


def test_another_way_of_starting_processes_is_named() -> None:
    said = run("set_start_method('spawn')")
    assert said.startswith("Lava's processes start by fork; this program has chosen spawn.")
