"""Compiled kernels are kept, but never in a form older than their sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from spikegpt_neuro.arithmetic import compiler, elementwise


def _package(tmp_path: Path) -> Path:
    """A copy of the arithmetic package that can be changed."""
    root = tmp_path / "copy" / "spikegpt_neuro"
    root.mkdir(parents=True)
    (root / "__init__.py").touch()
    sources = Path(compiler.__file__).parent
    shutil.copytree(sources, root / "arithmetic", ignore=shutil.ignore_patterns("__pycache__"))
    return root.parent


def _residual(folder: Path, notices: list[str] | None = None) -> str:
    """What a fresh process computes with that copy: 5 + round(2 * 3)."""
    script = (
        "import numpy as np\n"
        "from spikegpt_neuro.arithmetic.elementwise import residual\n"
        "def one(x): return np.array([x], np.int32)\n"
        "result = one(0)\n"
        "residual(one(5), one(2), one(3), one(0), result, np.zeros(2, np.int64))\n"
        "print(result[0])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    environment["PYTHONPATH"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=folder,
        env=environment,
    )  # fmt: skip
    if notices is not None:
        notices.append(done.stderr)
    return done.stdout.strip()


def test_compiling_is_announced_once_and_never_where_the_cache_has_it(tmp_path: Path) -> None:
    folder = _package(tmp_path)
    notices: list[str] = []
    for _ in range(2):
        assert _residual(folder, notices) == "11"
    first, second = notices
    assert first.count("Compiling kernels for this machine's processor") == 1  # of six functions
    assert str(folder) in first and "doctor --warm-up" in first
    assert second == ""


def test_a_changed_operation_is_executed_in_its_new_form(tmp_path: Path) -> None:
    folder = _package(tmp_path)
    assert _residual(folder) == "11"
    # residual calls round_shift, which is in another file
    fixed_point = folder / "spikegpt_neuro" / "arithmetic" / "fixed_point.py"
    text = fixed_point.read_text()
    assert "return (value + ((1 << shift) >> 1)) >> shift\n" in text
    fixed_point.write_text(text.replace("return (value +", "return (value + 1000 +", 1))
    assert _residual(folder) == "1011"


def test_the_cache_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").write_text("a = 1\n")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "given"))
    first = compiler.cache_folder(tmp_path)
    assert Path(first).parent == tmp_path / "given"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert Path(compiler.cache_folder(tmp_path)).parent == tmp_path / "__pycache__"
    (tmp_path / "a.py").write_text("a = 2\n")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "given"))
    assert compiler.cache_folder(tmp_path) != first


def test_kernels_are_kept_there() -> None:
    assert str(elementwise.residual._cache.cache_path).startswith(compiler.CACHE_FOLDER)


def test_kernels_run_without_importing_linear_algebra_and_leave_it_usable() -> None:
    script = (
        "import sys\n"
        "from spikegpt_neuro.backends.emulator import Emulator\n"
        "from spikegpt_neuro.network.random_networks import RandomShape, random_network\n"
        "shape = RandomShape(n_layer=1, n_embd=8, vocabulary_size=4)\n"
        "Emulator().open(random_network(shape)).step(0)\n"
        "assert 'scipy.linalg' not in sys.modules\n"
        "import numba, numpy, scipy.linalg\n"
        "product = numba.njit(lambda a, b: numpy.dot(a, b))\n"
        "print(product(numpy.full((2, 3), 2.0), numpy.full((3, 2), 5.0)).sum())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "120.0"


def test_a_cache_that_cannot_be_written_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kernels"
    monkeypatch.setattr(compiler, "CACHE_FOLDER", str(folder))
    kept = compiler.kernel(_sum)
    assert kept(1, 2) == 3 and folder.is_dir()
    shutil.rmtree(folder)
    folder.write_text("a file is where the folder was")
    assert kept(1.5, 2) == 3.5
    assert compiler.kernel(_sum)(2, 3) == 5
    step = compiler.compile_step(_next, numba.int64(numba.int64), "constants")
    assert step.ctypes(4) == 5


def _sum(a: float, b: float) -> float:
    return a + b


def _next(a: int) -> int:
    return a + 1
