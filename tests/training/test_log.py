"""A run's CSV file is rewritten whole or not at all."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from spikegpt_neuro.training.log import COLUMNS, Log, begin_table

HEAD = ",".join(COLUMNS)


def _written(path: Path, steps: range) -> bytes:
    log = Log(path, None, 0)
    for step in steps:
        log.write({"step": step, "tokens": 10 * step, "seconds": 0.5}, {})
    return path.read_bytes()


def test_a_run_that_goes_on_drops_the_rows_it_will_write_again(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    _written(path, range(1, 6))
    Log(path, None, 3)
    rows = path.read_text().splitlines()
    assert rows[0] == HEAD
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "3"]
    Log(path, None, 0)
    assert path.read_text().splitlines() == [HEAD]


def test_where_the_disk_is_full_the_rows_there_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    before = _written(path, range(1, 6))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(HEAD) // 2, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            begin_table(path, COLUMNS, 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.csv"]


def test_where_the_process_is_killed_in_the_middle_the_rows_there_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.csv"
    before = _written(path, range(1, 6))
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(os, "replace", lambda *_: os._exit(9))  # all written, nothing renamed
        begin_table(path, COLUMNS, 4)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert path.read_bytes() == before
    begin_table(path, COLUMNS, 4)  # and what the killed one left goes
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.csv"]
