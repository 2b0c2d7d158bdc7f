"""``doctor`` imports packages for real and says what fails, why, and what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spikegpt_neuro.cli import doctor_imports
from spikegpt_neuro.cli.doctor_imports import ALONE, PACKAGES, Piece, try_all
from spikegpt_neuro.cli.program import app


def by_name(*names: str) -> tuple[doctor_imports.Package, ...]:
    return tuple(package for package in PACKAGES if package.name in names)


def test_everything_that_set_up_installs_can_be_imported(run_json: Callable[..., Any]) -> None:
    found = run_json("doctor")
    assert found["ok"] is True
    pieces = {piece["name"]: piece for piece in found["pieces"]}
    assert pieces["numba"]["found"] and pieces["lava-loihi"]["without_it"]
    assert [piece["problem"] for piece in found["pieces"]] == [""] * len(pieces)
    assert {backend["name"] for backend in found["backends"]} >= {"emulator", "lava", "loihi2"}


def test_ones_own_scripts_import_slayer_or_doctor_says_why_not() -> None:
    """Without this package's help: what is said is what happens, and the advice helps."""
    (slayer,) = try_all(tuple(package for package in ALONE if package.name == "lava-dl"))
    script = [sys.executable, "-W", "ignore", "-c", "import lava.lib.dl.slayer"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert bool(slayer.problem) == (done.returncode != 0)
    if slayer.problem:
        assert done.stderr.strip().splitlines()[-1] == slayer.problem
        assert "import spikegpt_neuro.slayer.blocks" in slayer.advice
        script[-1] = "import spikegpt_neuro.slayer.blocks, lava.lib.dl.slayer"
        subprocess.run(script, check=True)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("raise ImportError('libnir.so: no such file')", "ImportError: libnir.so: no such file"),
        ("import os; os._exit(3)", "the import ended with exit code 3"),
        ("import os, signal; os.kill(os.getpid(), 11)", "the import ended with exit code -11"),
        ("import time; time.sleep(60)", "the import did not end within 1 s"),
    ],
)
def test_what_is_installed_but_fails_is_not_called_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, problem: str
) -> None:
    (tmp_path / "nir.py").write_text(content)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor_imports, "SECONDS", 1)
    (nir,) = try_all(by_name("nir"))
    assert nir.problem == problem and nir.found and not nir.works
    assert nir.advice == "python -m pip install 'spikegpt-neuro[nir]'"


def test_what_is_missing_gets_the_command_that_adds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_imports, "installed", lambda name: "")
    lava, dl = try_all(by_name("lava-nc", "lava-dl"))
    assert lava == Piece("lava-nc", "", False, lava.without_it, "", doctor_imports.INSTALL_COMMAND)
    assert dl.advice == lava.advice


def test_a_broken_package_that_is_needed_ends_in_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "h5py.py").write_text("raise ImportError('libhdf5.so.310: no such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor_imports, "PACKAGES", by_name("numpy", "h5py"))
    monkeypatch.setattr(doctor_imports, "ALONE", ())
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 3
    assert "libhdf5.so.310" in done.stdout and "--force-reinstall h5py" in done.stdout
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    states = {piece["name"]: bool(piece["problem"]) for piece in found["pieces"]}
    assert states == {"Python": False, "numpy": False, "h5py": True} and found["ok"] is False
