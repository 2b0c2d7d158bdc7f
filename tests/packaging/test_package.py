"""The package as others get it: every part listed, no generic top-level name, light imports."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
OWN_TOP_LEVEL = ("converters", "hardware_profiles")


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
    assert found == set(configuration()["tool"]["setuptools"]["packages"])


def test_constraints_pin_every_dependency() -> None:
    pinned = {
        line.split("==")[0]
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    project = configuration()["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["lava"], *extras["cluster"], *extras["nir"]]
    wanted += [name for name in extras["dev"] if not name.startswith("setuptools")]
    for requirement in wanted:
        name = requirement.split(";")[0].split(">")[0].split("=")[0].strip()
        assert name.replace("_", "-") in pinned


@pytest.mark.parametrize("module", ["spikegpt_neuro", "spikegpt_neuro.cli.main"])
def test_import_is_light(module: str) -> None:
    heavy = "{'torch', 'lava', 'numba', 'h5py', 'networkx', 'numpy', 'tokenizers'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_wheel_holds_the_package_and_nothing_generic(tmp_path: Path) -> None:
    """Built without isolation from a copy, so that no network and no build folder is involved."""
    source = tmp_path / "source"
    source.mkdir()
    for name in listed_files("-co", "--exclude-standard"):
        if name.startswith(("tests/", "examples/")) or not (ROOT / name).is_file():
            continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source],
        capture_output=True, check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert top == {"spikegpt_neuro", wheel.name.split("-py3")[0] + ".dist-info"}
    assert "spikegpt_neuro/py.typed" in names
    for name in OWN_TOP_LEVEL:
        python = {path.name for path in (ROOT / name).glob("*.py")}
        assert python <= {Path(n).name for n in names if n.startswith(f"spikegpt_neuro/{name}/")}
    profiles = {path.name for path in (ROOT / "hardware_profiles").glob("*.toml")}
    assert profiles and profiles <= {Path(n).name for n in names}
