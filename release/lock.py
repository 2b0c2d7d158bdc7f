"""``python -m release.lock``: write requirements/*.lock, versions with the SHA-256 of each file.

Versions come from constraints.txt, dependencies from pyproject.toml; uv resolves them for every
supported Python on Linux, x86-64, and asks the package index for the hashes. A build of torch for
the CPU has other files than the index's (which bring CUDA), and comes from PyTorch's own index;
torch and what only its CUDA build needs are therefore a file of their own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "requirements"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PATCH = 12
"""Patch release of each Python that is resolved for: some packages want a late one."""
LAVA = ("lava-nc", "lava-dl")
_USE = {
    "runtime": "what the wheel needs, without torch:\n#   pip install --require-hashes -r FILE",
    "torch-cuda": "torch as the package index has it, with CUDA (the CPU build: docs/releasing.md):"
    "\n#   pip install --require-hashes --no-deps -r FILE",
    "lava": "Lava, on every Python:\n#   pip install --require-hashes --no-deps "
    "--ignore-requires-python -r FILE",
    "development": "what `make setup` installs beside torch and Lava:\n#   pip install "
    "--require-hashes -r FILE",
}
CUDA = re.compile(r"torch$|triton$|nvidia-|cuda-")
"""torch, and what only its CUDA build needs."""


@dataclass(frozen=True)
class Locked:
    """A requirement of a lock file, ``NAME==VERSION ; MARKER``, and its files' SHA-256."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The distribution's name, normalised."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The exact version."""
        return str(self.requirement.specifier).removeprefix("==")

    def wanted(self, python: str) -> bool:
        """Whether that Python (``3.11``) needs it, on Linux, x86-64."""
        marker = self.requirement.marker
        return marker is None or marker.evaluate(
            {
                "python_version": python, "python_full_version": f"{python}.{PATCH}",
                "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
                "platform_machine": "x86_64",
            }
        )  # fmt: skip

    def text(self) -> str:
        """As pip reads it."""
        return " \\\n    ".join(
            [str(self.requirement), *(f"--hash=sha256:{h}" for h in self.hashes)]
        )


def parse(text: str) -> list[Locked]:
    """The requirements of a lock file; ValueError where one has no hash."""
    found = []
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement, *hashes = line.split("--hash=sha256:")
        if not hashes:
            raise ValueError(f"no hash: {line}")
        found.append(Locked(Requirement(requirement.strip()), tuple(h.strip() for h in hashes)))
    return found


def read(name: str) -> list[Locked]:
    """What requirements/NAME.lock holds."""
    return parse((FOLDER / f"{name}.lock").read_text())


def _compiled(source: Path, python: str, *arguments: str) -> list[Locked]:
    """What uv resolves for the newest patch of that Python on Linux, x86-64."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lock.txt"
        subprocess.run(
            [
                sys.executable, "-m", "uv", "pip", "compile", source, "--generate-hashes",
                "--quiet", "--no-header", "--no-annotate", "--output-file", output,
                "--python-version", f"{python}.{PATCH}", "--python-platform",
                "x86_64-manylinux_2_28", "--no-python-downloads", *arguments,
            ],
            check=True, cwd=ROOT,
        )  # fmt: skip
        return parse(output.read_text())


def _resolved(source: Path, *arguments: str) -> list[Locked]:
    """For each Python alone, then together: a marker where not all have the same version."""
    pythons: dict[tuple[str, str], list[str]] = {}
    hashes: dict[tuple[str, str], tuple[str, ...]] = {}
    for python in PYTHONS:
        for one in _compiled(source, python, *arguments):
            pythons.setdefault((one.name, one.version), []).append(python)
            hashes[one.name, one.version] = one.hashes
    return [
        Locked(Requirement(f"{name}=={version}{_marker(wanted)}"), hashes[name, version])
        for (name, version), wanted in sorted(pythons.items())
    ]


def _marker(wanted: list[str]) -> str:
    if wanted == list(PYTHONS):
        return ""
    if wanted == list(PYTHONS[-len(wanted) :]):
        return f" ; python_version >= '{wanted[0]}'"
    return " ; " + " or ".join(f"python_version == '{python}'" for python in wanted)


def _write(name: str, locked: list[Locked]) -> None:
    head = f"# Written by `python -m release.lock`; {_USE[name].replace('FILE', f'{name}.lock')}\n"
    body = "".join(f"{one.text()}\n" for one in locked)
    (FOLDER / f"{name}.lock").write_text(head + body)
    print(f"{name}.lock: {len(locked)} requirements")


def main() -> None:
    """Write all four files."""
    constrained = ("--constraint", "constraints.txt")
    project = ROOT / "pyproject.toml"
    runtime = _resolved(project, *constrained)
    development = _resolved(project, *constrained, "--extra", "dev")
    pins = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.split("==")[0] in LAVA
    ]
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "lava.in"
        wanted.write_text("\n".join(pins))
        # their metadata says Python 3.10 only; their files are the same for all
        lava = _compiled(wanted, PYTHONS[0], "--no-deps")
    FOLDER.mkdir(exist_ok=True)
    _write("runtime", [one for one in runtime if not CUDA.match(one.name)])
    _write("torch-cuda", [one for one in runtime if CUDA.match(one.name)])
    _write("lava", lava)
    _write("development", [one for one in development if not CUDA.match(one.name)])


if __name__ == "__main__":
    main()
