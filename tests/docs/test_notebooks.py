"""Both notebooks, executed: in this environment, and from a built wheel in one of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import nbformat
import notebook_pages
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(notebook_pages.FOLDER.glob("*.ipynb"))


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["energy-study", "quick-start"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_is_committed(path: Path) -> None:
    run = notebook_pages.executed(path, notebook_pages.FOLDER)
    committed = nbformat.read(path, as_version=4)
    assert notebook_pages.shown(run) == notebook_pages.shown(committed), (
        "run: python docs/make/notebook_pages.py"
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a new environment with the built wheel; its dependencies are this one's."""
    folder = tmp_path_factory.mktemp("newcomer")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.split(b"\0")  # fmt: skip
    for name in map(bytes.decode, listed):
        if name and not name.startswith(("tests/", "docs/")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        capture_output=True, check=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    # the folder's packages, but not its .pth files: an editable install stays out of it
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.mark.slow
def test_a_newcomer_gets_from_the_wheel_to_a_text_in_a_notebook(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    where = subprocess.run(
        [installed, "-c", "import spikegpt_neuro; print(spikegpt_neuro.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(installed.parents[1]))
    manager = AsyncKernelManager()
    manager._kernel_spec = KernelSpec(
        argv=[str(installed), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="newcomer", language="python",
    )  # fmt: skip
    path = notebook_pages.FOLDER / "quick-start.ipynb"
    run = notebook_pages.executed(path, tmp_path, km=manager)
    assert notebook_pages.shown(run) == notebook_pages.shown(nbformat.read(path, as_version=4))
    texts = [text for cell in notebook_pages.shown(run) for text in cell]
    assert any(len(text) > 100 and " the " in text for text in texts)
