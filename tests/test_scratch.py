"""Folders that commands need while they run: gone with the run, or with the next one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spikegpt_neuro import scratch
from spikegpt_neuro.scratch import PREFIX, scratch_folder

OWNER = """
import sys, time
from pathlib import Path
from spikegpt_neuro.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "part").mkdir()
    (folder / "part/file").write_text("half")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_a_folder_goes_with_its_block(tmp_path: Path) -> None:
    with pytest.raises(KeyError), scratch_folder(tmp_path) as folder:
        (folder / "file").write_text("half")
        assert folder.parent == tmp_path
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    others = tmp_path / "notes"
    others.mkdir()
    elsewhere = tmp_path / f"{PREFIX}link"
    elsewhere.symlink_to(others)
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as living,
    ):
        assert killed.stdout is not None and living.stdout is not None
        left, used = (Path(one.stdout.readline().strip()) for one in (killed, living))
        killed.kill()
        killed.wait()
        assert (left / "part/file").exists()
        with scratch_folder(tmp_path) as folder:
            assert set(tmp_path.iterdir()) == {others, elsewhere, used, folder}
            assert (used / "part/file").exists()
        living.kill()


def test_a_folder_that_is_taken_for_abandoned_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = scratch.tempfile.mkdtemp

    def removed_at_once(**options: object) -> str:
        made.append(make(**options))
        if len(made) == 1:
            scratch._remove_abandoned(tmp_path)
        return str(made[-1])

    monkeypatch.setattr(scratch.tempfile, "mkdtemp", removed_at_once)
    with scratch_folder(tmp_path) as folder:
        assert [str(folder)] == made[1:]
        assert folder.is_dir()
