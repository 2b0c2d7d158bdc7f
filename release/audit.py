"""``python -m release.audit``: what is installed here against the lock files, without a network.

Four checks: every installed distribution has the version of requirements/*.lock; every file of it
still has the SHA-256 of its RECORD; requirements are met (``pip check``); licences are known. Exit
code 1 where one does not hold. What it cannot know: whether a hole of a locked version was
published, whether a RECORD was rewritten together with its files, what a build of torch that is not
the index's was built from. Programs in ``bin`` and the editable installation of this project are
written at installation and not checked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from release import licences, lock

OWN = "spikegpt-neuro"
BESIDE_THE_LOCK = {
    "pip": "what installed the rest",
    "neurobench": "an oracle of the tests, installed without its dependencies",
}
UNMET = {
    "lava-nc": "its pins refuse Python 3.11 and numpy 2; docs/installing.md",
    "lava-dl": "its pins refuse Python 3.11 and torch 2.4; docs/installing.md",
    "neurobench": "installed without torchaudio and others: the part used needs none",
}


def environment() -> dict[str, Distribution]:
    """Every distribution of this environment by its normalised name.

    Of its own folders only: a library such as setuptools puts what it brings along on ``sys.path``.
    """
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return {
        canonicalize_name(found.metadata["Name"]): found for found in distributions(path=folders)
    }


def versions(installed: dict[str, str], python: str) -> list[str]:
    """Differences between installed versions and the locked ones for that Python.

    A local part (``2.13.0+cpu``) is a build of the locked version from elsewhere: it is no
    difference, and ``builds`` names it.
    """
    locked = {
        one.name: one.version
        for name in ("development", "runtime", "torch-cuda", "lava")
        for one in lock.read(name)
        if one.wanted(python)
    }
    found = []
    for name, version in sorted(installed.items()):
        if name in (OWN, *BESIDE_THE_LOCK):
            continue
        if name not in locked:
            found.append(f"{name} {version} is installed, but in no lock file")
        elif Version(version).public != Version(locked[name]).public:
            found.append(f"{name} {version} is installed, {locked[name]} is locked")
    return found


def builds(installed: dict[str, str]) -> list[str]:
    """Installed builds that do not come from the package index, whose hashes the lock has."""
    return [f"{name} {version}" for name, version in installed.items() if "+" in version]


def changed_files(found: Distribution) -> Iterator[str]:
    """Files of a distribution that are not what its RECORD says they were."""
    for file in found.files or ():
        path = Path(str(file.locate()))
        if file.hash is None or path.suffix == ".pyc" or file.parts[0] == "..":
            continue
        if not path.is_file():
            yield f"{found.metadata['Name']}: {file} is missing"
            continue
        digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
            yield f"{found.metadata['Name']}: {file} is not what was installed"


def unmet() -> list[str]:
    """What ``pip check`` says, less what is known and explained in ``UNMET``."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not done.returncode:
        return []
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    return [line for line in lines if line.split(" ")[0] not in UNMET]


def main() -> None:
    """All four checks; a JSON value with ``--json``."""
    found = environment()
    numbers = {name: one.version for name, one in found.items()}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    result = {
        "versions": versions(numbers, python),
        "files": [
            line for name, one in found.items() if name != OWN for line in changed_files(one)
        ],
        "requirements": unmet(),
        "licences": licences.problems(),
    }
    holds = not any(result.values())
    counted = {"distributions": len(numbers), "builds_from_elsewhere": builds(numbers)}
    if "--json" in sys.argv:
        print(json.dumps({**result, **counted, "ok": holds}, indent=2))
    else:
        for name, lines in result.items():
            print(f"{name}: {f'{len(lines)} problems' if lines else 'holds'}", *lines, sep="\n  ")
        for build in counted["builds_from_elsewhere"]:
            print(f"not from the package index, so not in the lock by hash: {build}")
        print(f"{len(numbers)} distributions. Not known offline: holes published since.")
    sys.exit(not holds)


if __name__ == "__main__":
    main()
