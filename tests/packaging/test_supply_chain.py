"""What comes along: locked with hashes, of known licences, audited without a network."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest
import setuptools
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release import audit, licences, lock
from spikegpt_neuro.version import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ("runtime", "torch-cuda", "lava", "development")
AGAIN = "run `make lock`"


def constraints(python: str) -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [lock.Locked(Requirement(line), ()) for line in lines if line and line[0] != "#"]
    return {pin.name: pin.version for pin in pins if pin.wanted(python)}


@pytest.mark.parametrize("python", lock.PYTHONS)
def test_a_package_is_pinned_once_on_each_python(python: str) -> None:
    """Two pins of one package, as a merge may leave them, can be met by no resolver."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [lock.Locked(Requirement(line), ()) for line in lines if line and line[0] != "#"]
    names = [pin.name for pin in pins if pin.wanted(python)]
    assert [name for name in names if names.count(name) > 1] == []


@pytest.mark.parametrize("python", lock.PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_each_package_once_as_constrained_and_hashed(name: str, python: str) -> None:
    wanted = [one for one in lock.read(name) if one.wanted(python)]
    assert len({one.name for one in wanted}) == len(wanted) > 0
    pinned = constraints(python)
    for one in wanted:
        assert one.hashes and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in one.hashes)
        assert one.version == pinned.get(one.name, one.version), AGAIN
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    assert "://" not in text  # whatever index is configured gives the files, the hashes decide


@pytest.mark.parametrize("python", lock.PYTHONS)
def test_what_the_project_asks_for_is_locked(python: str) -> None:
    runtime = {one.name for one in [*lock.read("runtime"), *lock.read("torch-cuda")]}
    assert names(PROJECT["dependencies"], python) <= runtime, AGAIN
    development = {one.name for one in lock.read("development") if one.wanted(python)}
    assert names(PROJECT["optional-dependencies"]["dev"], python) <= development, AGAIN
    assert {one.name for one in lock.read("lava")} == set(lock.LAVA)


def names(requirements: list[str], python: str) -> set[str]:
    wanted = [lock.Locked(Requirement(text), ()) for text in requirements]
    return {one.name for one in wanted if one.wanted(python)}


def test_a_lock_without_a_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="no hash: numpy"):
        lock.parse("numpy==2.4.6\n")


def test_every_licence_that_comes_along_is_known_and_on_the_page() -> None:
    assert licences.problems() == []
    page = licences.PAGE.read_text()
    for line in licences.page().splitlines():
        if line.startswith("| "):
            assert line.split("|")[1] in page, f"{line}: run python -m release.licences --write"


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("MIT", []),
        ("Apache-2.0 WITH LLVM-exception AND (MIT OR BSD-3-Clause)", []),
        ("MIT AND GPL-3.0-only", ["GPL-3.0-only"]),
        ("Proprietary", ["Proprietary"]),
        ("", ["no licence named"]),
    ],
)
def test_an_unknown_licence_is_named(expression: str, wrong: list[str]) -> None:
    assert licences.unknown(expression) == wrong


def test_what_libraries_bring_along_is_not_installed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    before = audit.environment().keys()
    brought = Path(setuptools.__file__).parent / "_vendor"
    assert list(brought.glob("*.dist-info"))
    monkeypatch.syspath_prepend(str(brought))  # as importing setuptools does
    assert audit.environment().keys() == before


def test_what_is_installed_here_is_what_is_locked() -> None:
    found = {name: one.version for name, one in audit.environment().items()}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert audit.versions(found, python) == [], AGAIN
    assert audit.unmet() == []


def test_the_audit_finds_other_versions_strangers_and_builds_from_elsewhere() -> None:
    found = {"torch": "2.13.0+cpu", "numpy": "2.4.5", "leftpad": "1.0", "pip": "1"}
    first, second = audit.versions(found, "3.11")
    assert first == "leftpad 1.0 is installed, but in no lock file"
    assert second == "numpy 2.4.5 is installed, 2.4.6 is locked"
    assert audit.builds(found) == ["torch 2.13.0+cpu"]


def test_the_audit_finds_changed_and_missing_files(tmp_path: Path) -> None:
    """A small package, copied as installed; then a byte is changed and a file removed."""
    found = distribution("mdurl")
    for file in found.files or ():
        if file.parts[0] == "..":
            continue
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(Path(str(file.locate())).read_bytes())
    (folder,) = tmp_path.glob("mdurl-*.dist-info")
    copy = PathDistribution(folder)
    assert list(audit.changed_files(copy)) == []
    changed = tmp_path / "mdurl/_parse.py"
    changed.write_text(changed.read_text() + "\n")
    (tmp_path / "mdurl/_url.py").unlink()
    assert sorted(audit.changed_files(copy)) == [
        "mdurl: mdurl/_parse.py is not what was installed", "mdurl: mdurl/_url.py is missing",
    ]  # fmt: skip


def test_the_citation_is_of_this_version_and_well_formed() -> None:
    """The keys and types that Citation File Format 1.2.0 demands."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert str(cited["version"]) == __version__
    assert cited["license"] == PROJECT["license"]
    assert canonicalize_name(cited["title"]) == PROJECT["name"]
    for work in (cited, *cited["references"]):
        assert work["title"] and all(isinstance(author, dict) for author in work["authors"])
        for author in work["authors"]:
            assert set(author) in ({"name"}, {"family-names", "given-names"})
    for reference in cited["references"]:
        assert {"type", "title", "authors"} <= set(reference)
        assert all(set(one) == {"type", "value"} for one in reference["identifiers"])
