"""``python -m release.licences [--write]``: licences of everything the package brings with it.

Read from the metadata of what is installed here, for the wheel, its extras and Lava. Exit code 1
where a package names no licence that is known here, or docs/licences.md is not what it would be.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.lock import CUDA

PAGE = Path(__file__).parents[1] / "docs/licences.md"
PROJECT = "spikegpt-neuro"
NOT_FOR_USERS = ("dev", "bench")
"""Extras of those who work on the project."""
LAVA = ("lava-nc", "lava-dl")
KNOWN = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC",
        "LGPL-2.1-or-later", "LLVM-exception", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
    }
)  # fmt: skip
"""All allow use and distribution beside MIT code; a licence that is not here stops the release."""
_ALIASES = {
    "3-Clause BSD License": "BSD-3-Clause", "Apache": "Apache-2.0", "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0", "BSD License": "BSD", "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT", "Python Software Foundation License": "PSF-2.0",
    "(BSD-3-Clause), (LGPL-2.1-or-later)": "BSD-3-Clause AND LGPL-2.1-or-later",
    "(BSD-3-Clause)": "BSD-3-Clause",
}  # fmt: skip
_ON_OTHER_PYTHONS = {
    "exceptiongroup": "MIT AND PSF-2.0", "six": "MIT", "tomli": "MIT",
}  # fmt: skip
"""Needed below Python 3.11 only; read there."""


def licence(found: Distribution) -> str:
    """The licence a distribution names: an SPDX expression, else a classifier or short field."""
    metadata = found.metadata
    short = (metadata.get("License") or "").strip()
    named = [metadata.get("License-Expression") or "", short if len(short) < 40 else ""]
    named += [
        classifier.split(" :: ")[-1]
        for classifier in metadata.get_all("Classifier") or []
        if classifier.startswith("License :: ")
    ]
    stated = next((name for name in named if name), "")
    return _ALIASES.get(stated, stated)


def unknown(expression: str) -> list[str]:
    """Licences of an expression that are not ``KNOWN``; of an empty one, that it is."""
    atoms = re.split(r"\s+(?:AND|OR|WITH)\s+|[()]+", expression)
    names = [atom.strip() for atom in atoms if atom.strip()]
    return [name for name in names if name not in KNOWN] if names else ["no licence named"]


ELSEWHERE = "(not installed where this page was written)"


def _needed(name: str, extras: frozenset[str], seen: dict[str, str]) -> None:
    key = canonicalize_name(name)
    try:
        found = distribution(name)
    except PackageNotFoundError:
        if key in _ON_OTHER_PYTHONS:
            seen[key] = _ON_OTHER_PYTHONS[key]
        return
    if key in seen or (CUDA.match(key) and key != "torch"):
        return
    seen[key] = licence(found)
    for text in found.requires or ():
        requirement = Requirement(text)
        # whatever the Python: the page is the same on each
        other = {"python_version": "3.10", "python_full_version": "3.10.0"}
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra, **python})
            for extra in extras | {""}
            for python in ({}, other)
        ):
            _needed(requirement.name, frozenset(requirement.extras), seen)


def _groups() -> Iterator[tuple[str, dict[str, str]]]:
    """What each way of installing adds, and its licence."""
    seen: dict[str, str] = {}
    _needed(PROJECT, frozenset(), seen)
    del seen[PROJECT]
    yield "the wheel", dict(seen)
    extras = distribution(PROJECT).metadata.get_all("Provides-Extra") or []
    for extra in sorted(set(extras) - set(NOT_FOR_USERS)):
        before = set(seen)
        for text in distribution(PROJECT).requires or ():
            requirement = Requirement(text)
            if requirement.marker and requirement.marker.evaluate({"extra": extra}):
                _needed(requirement.name, frozenset(requirement.extras), seen)
                seen.setdefault(canonicalize_name(requirement.name), ELSEWHERE)
        yield f"extra `{extra}`", {name: seen[name] for name in seen if name not in before}
    yield "Lava", {name: licence(distribution(name)) for name in LAVA}


def problems() -> list[str]:
    """A sentence for every package whose licence is not known."""
    return [
        f"{name} ({group}): {', '.join(wrong)}"
        for group, packages in _groups()
        for name, expression in packages.items()
        if expression != ELSEWHERE and (wrong := unknown(expression))
    ]


def page() -> str:
    """The text of docs/licences.md."""
    rows = [
        f"| {name} | {expression} | {group} |"
        for group, packages in _groups()
        for name, expression in sorted(packages.items())
    ]
    return "\n".join([_HEAD, *rows, ""])


_HEAD = """# Licences of what comes along

Written by `python -m release.licences --write` from the metadata of the pinned versions; a test
holds it to what is installed. spikegpt-neuro is MIT, and so are the models in the wheel; its text
is the King James Bible (public domain).

The ordinary build of torch for Linux also brings NVIDIA's CUDA libraries, under NVIDIA's own
licence (not open source), and triton (MIT); a CPU build has neither. The wheels of numpy, scipy and
torch contain GCC's runtime (GPL-3.0 with the runtime exception), numpy's and scipy's OpenBLAS
(BSD-3-Clause). lava-nc is partly LGPL: not in the wheel, you install it yourself. lava-loihi is
Intel's, for members of its research community. SANA-FE (GPL-3.0) is an oracle of the tests: never
imported by the package, never distributed with it.

| package | licence | comes with |
| --- | --- | --- |"""


def main() -> None:
    """Check, or write the page."""
    found = problems()
    if "--write" in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.is_file() or PAGE.read_text() != page():
        found.append(f"{PAGE.name} is not what is installed: python -m release.licences --write")
    print("\n".join(found) or "every licence is known, and the page says so")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
