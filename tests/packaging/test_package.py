"""The package as others get it: every part listed, no generic top-level name, light imports."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release import build
from spikegpt_neuro.converters.calibration import calibration_tokens
from spikegpt_neuro.texts import read_text
from spikegpt_neuro.vocabulary import read_vocabulary

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
OWN_TOP_LEVEL = ("converters", "hardware_profiles")
EXAMPLES = ("kjv-4x192", "rwkv-4x96", "spike-driven-parallel")


def configuration() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def listed_files(*options: str) -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, check=True
    )
    return [name.decode() for name in done.stdout.split(b"\0") if name]


def test_every_folder_with_code_is_a_listed_package() -> None:
    code = [Path(name) for name in listed_files("spikegpt_neuro") if name.endswith(".py")]
    found = {".".join(path.parent.parts) for path in code}
    found |= {f"spikegpt_neuro.{name}" for name in OWN_TOP_LEVEL}
    found |= {f"spikegpt_neuro.examples.{name}" for name in EXAMPLES}
    assert found == set(configuration()["tool"]["setuptools"]["packages"])


def test_constraints_pin_every_dependency() -> None:
    pinned = {
        line.split("==")[0]
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    project = configuration()["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["cluster"], *extras["nir"]]
    wanted += extras["dev"]
    for requirement in wanted:
        assert canonicalize_name(Requirement(requirement).name) in pinned


@pytest.mark.parametrize("module", ["spikegpt_neuro", "spikegpt_neuro.cli.program"])
def test_import_is_light(module: str) -> None:
    heavy = "{'torch', 'lava', 'numba', 'h5py', 'networkx', 'numpy', 'tokenizers'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, the wheel and their sums."""
    folder = tmp_path_factory.mktemp("built")
    build.build(folder)
    return folder


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def test_the_wheel_holds_the_package_and_nothing_generic(built: Path) -> None:
    wheel = only(built, "*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert top == {"spikegpt_neuro", wheel.name.split("-py3")[0] + ".dist-info"}
    assert "spikegpt_neuro/py.typed" in names
    for name in OWN_TOP_LEVEL:
        python = {path.name for path in (ROOT / name).glob("*.py")}
        assert python <= {Path(n).name for n in names if n.startswith(f"spikegpt_neuro/{name}/")}
    profiles = {path.name for path in (ROOT / "hardware_profiles").glob("*.toml")}
    assert profiles and profiles <= {Path(n).name for n in names}


def test_the_wheel_holds_the_example_and_no_more_of_the_examples(built: Path) -> None:
    names = zipfile.ZipFile(only(built, "*.whl")).namelist()
    held = {name for name in names if name.startswith("spikegpt_neuro/examples/")}
    data = configuration()["tool"]["setuptools"]["package-data"]
    assert held == {
        f"spikegpt_neuro/examples/{folder}/{file}"
        for folder in EXAMPLES
        for file in data[f"spikegpt_neuro.examples.{folder}"]
    }
    assert only(built, "*.whl").stat().st_size < 18e6


def test_two_builds_are_the_same_bytes(built: Path, tmp_path: Path) -> None:
    """The second from a clone elsewhere with other times, modes, umask, time zone and language."""
    clone = tmp_path / "elsewhere"
    build.copy_sources(clone)
    for path in clone.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o775 if path.is_dir() else path.stat().st_mode | 0o060)
    subprocess.run(["git", "init", "--quiet", clone], check=True)
    environment = {
        **os.environ, "SOURCE_DATE_EPOCH": str(build.epoch()), "TZ": "Asia/Tokyo", "LC_ALL": "C",
    }  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "release.build", tmp_path / "again"],
        cwd=clone, env=environment, umask=0o077, check=True, capture_output=True,
    )  # fmt: skip
    sums = (built / build.SUMS).read_text()
    assert len(sums.splitlines()) == 2
    assert (tmp_path / "again" / build.SUMS).read_text() == sums
    for path in built.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_the_sdist_builds_without_git_and_holds_no_tests(built: Path) -> None:
    with tarfile.open(only(built, "*.tar.gz")) as archive:
        members = archive.getmembers()
    names = {member.name.split("/", 1)[-1] for member in members}
    assert {"LICENSE", "SECURITY.md", "CITATION.cff", "docs/index.md", "pyproject.toml"} <= names
    assert not any(name.startswith(("tests", "attacks", "benchmarks")) for name in names)
    assert {(member.uid, member.gid, member.uname) for member in members} == {(0, 0, "")}


def test_the_short_calibration_text_calibrates_like_the_whole_one() -> None:
    """The wheel has 10 kB of text for the 3.7 MB from which an export takes the same windows."""
    example = ROOT / "examples/kjv-4x192"
    vocabulary = read_vocabulary(example / "kjv-4x192.vocab.json")
    whole, short = (
        calibration_tokens(
            vocabulary.encode(read_text(example / name)), vocabulary.size, parameters=1_950_336
        )
        for name in ("kjv-train.txt", "kjv-calibration.txt")
    )
    assert whole.sha256 == short.sha256 and np.array_equal(whole.tokens, short.tokens)


def environment_without_lava(folder: Path) -> Path:
    """A virtual environment that sees this one's packages, but neither Lava nor this checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    here = Path(sysconfig.get_path("purelib"))
    there = only(folder, "lib/python3*/site-packages")
    for entry in here.iterdir():
        if not entry.name.lower().startswith(("lava", "spikegpt", "__editable__", "tests")):
            (there / entry.name).symlink_to(entry)
    return folder / "bin"


@pytest.mark.slow
def test_an_installed_wheel_runs_the_demo_without_lava(built: Path, tmp_path: Path) -> None:
    """As after ``pip install``: outside the checkout, compiling its kernels, Lava left out."""
    programs = environment_without_lava(tmp_path / "environment")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet",
            "--no-deps", "--no-index", only(built, "*.whl"),
        ],
        check=True, cwd=tmp_path,
    )  # fmt: skip
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON"))}
    done = subprocess.run(
        [programs / "spikegpt-neuro", "demo", "--output", tmp_path / "demo.net"],
        cwd=tmp_path, env={**clean, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=600, check=True,
    )  # fmt: skip
    shown = " ".join(done.stdout.split())
    assert "This step is left out: lava-nc is not installed." in shown
    assert "pip install --no-deps --ignore-requires-python lava-nc==" in shown
    assert "Done in" in shown and (tmp_path / "demo.net").is_file()
    assert done.stderr.count("Compiling kernels for this machine's processor") == 1
