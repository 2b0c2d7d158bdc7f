"""Whether the packages installed here can be imported: each is tried in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from spikegpt_neuro.backends.lava.runtime.compatibility import INSTALL_COMMAND

SECONDS = 120
"""How long an import may take: torch reads hundreds of MB from a cold disk."""
_LAVA = "from spikegpt_neuro.backends.lava.runtime.compatibility import "


@dataclass(frozen=True)
class Package:
    """A distribution the package can use, and the statement that tells whether it works.

    ``needed``: nothing works without it. ``cost``: what its absence costs. ``remedy``: what to do
    about it, a command where there is one.
    """

    name: str
    statement: str
    needed: bool
    cost: str
    remedy: str


@dataclass(frozen=True)
class Piece:
    """What was found of a package: ``found`` its version, "" where it is not installed.

    ``problem``: why its import fails, "" where it works or nothing was tried.
    """

    name: str
    found: str
    needed: bool
    without_it: str
    problem: str = ""
    advice: str = ""

    @property
    def works(self) -> bool:
        """Installed, and it can be imported."""
        return bool(self.found) and not self.problem


def _needed(name: str, module: str, cost: str) -> Package:
    return Package(
        name, f"import {module}", True, cost, f"python -m pip install --force-reinstall {name}"
    )


def _optional(name: str, module: str, cost: str, extra: str) -> Package:
    remedy = f"python -m pip install 'spikegpt-neuro[{extra}]'"
    return Package(name, f"import {module}", False, f"{cost} (extra: {extra})", remedy)


PACKAGES = (
    _needed("numpy", "numpy", "nothing works"),
    _needed("numba", "numba", "nothing executes: the emulator is compiled with it"),
    _needed("h5py", "h5py", "model.net cannot be read or written"),
    _needed("networkx", "networkx", "networks cannot be built"),
    Package(
        "torch", "import torch", True, "no export, no training, no comparison with the float model",
        "Install torch again; a CPU build is enough: docs/installing.md.",
    ),
    _needed("safetensors", "safetensors.torch", "no .safetensors checkpoints"),
    _needed("threadpoolctl", "threadpoolctl", "no weights of fewer than 8 bits"),
    _needed("tokenizers", "tokenizers", "no Hugging Face tokenizer files"),
    _needed("scipy", "scipy.sparse", "no decomposition into simple elements; no Lava"),
    _needed("matplotlib", "matplotlib.figure", "no figures in files; no lava-dl"),
    Package(
        "lava-nc", f"{_LAVA}prepare_lava; prepare_lava(); import lava.magma.runtime.runtime", False,
        "no --backend lava, so no second opinion on the emulator's integers", INSTALL_COMMAND,
    ),
    Package(
        "lava-dl", f"{_LAVA}import_lava_dl; import_lava_dl('lava.lib.dl.slayer')", False,
        "no training with SLAYER blocks, no check with stock NetX", INSTALL_COMMAND,
    ),
    Package(
        "lava-loihi", "import lava.utils.loihi2_profiler", False,
        "no run on a Loihi 2 board (Intel gives it to INRC members)",
        "See docs/backends.md, Loihi 2.",
    ),
    _optional("distributed", "distributed", "scoring on one machine only", "cluster"),
    _optional("fastapi", "fastapi, uvicorn", "no `serve`", "serve"),
    _optional("nir", "nir", "no exchange in the NIR format", "nir"),
    _optional("transformers", "transformers", "no class for Hugging Face's tools", "transformers"),
    _optional("lm-eval", "lm_eval", "no tasks of lm-evaluation-harness", "lm-eval"),
)  # fmt: skip
ALONE = (
    Package(
        "lava-nc", "import lava.magma.runtime.runtime", False,
        "`import lava.magma...` fails in your own scripts, unless this package prepares it",
        "Before Lava: `from spikegpt_neuro.backends.lava.runtime.compatibility import "
        "prepare_lava; prepare_lava()`.",
    ),
    Package(
        "lava-dl", "import lava.lib.dl.slayer", False,
        "`import lava.lib.dl.slayer` fails in your own scripts, unless this package was first",
        "SLAYER's object detection wants OpenCV and torchvision, which nothing here uses: `import "
        "spikegpt_neuro.slayer.blocks` before it leaves that out, or install "
        "opencv-python-headless and the torchvision that was built for your torch.",
    ),
)  # fmt: skip
"""The same two without this package's help: what a user's own script meets."""


def installed(name: str) -> str:
    """The version of a distribution; "" where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def import_problem(statement: str) -> str:
    """Why the statement fails in a fresh interpreter, in a line; "" where it works."""
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", statement],
            capture_output=True, text=True, errors="replace", timeout=SECONDS,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"the import did not end within {SECONDS} s"
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    if done.returncode < 0 or not lines:
        return f"the import ended with exit code {done.returncode}"
    return lines[-1]


def _tried(package: Package) -> Piece:
    found = installed(package.name)
    problem = import_problem(package.statement) if found else ""
    advice = "" if found and not problem else package.remedy
    return Piece(package.name, found, package.needed, package.cost, problem, advice)


def try_all(
    packages: tuple[Package, ...], progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Piece]:
    """Try every package, as many at a time as there are processors; in the order given."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = [pool.submit(_tried, package) for package in packages]
        for done, _ in enumerate(as_completed(running), 1):
            progress(done, len(running))
    return [future.result() for future in running]
