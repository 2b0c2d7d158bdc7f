"""An output that is an input is refused by every command that writes, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from spikegpt_neuro.cli.program import app
from spikegpt_neuro.errors import InputError

CASES = {
    "export to its checkpoint": "export m.pt m.pt --force",
    "export to its text": "export m.pt t.txt --calibration t.txt --force",
    "export to a link": "export m.pt link --force",
    "fit in place": "fit n.net n.net --text t.txt --cores 5 --force",
    "fit's front": "fit n.net o.net --text o.net.front.csv --cores 5 --force",
    "report": "energy n.net --text t.txt --output t.json --output t.json --force",
    "report to counts": "energy n.net --counters c.json --output c.json --force",
    "trace": "simulate n.net --prompt a --trace n.net",
    "state and trace": "simulate n.net --prompt a --trace s.npz --state s.npz",
    "raster": "simulate n.net --raster r.npy --output r.npy --force",
    "drawing": "inspect n.net --graph n.net --force",
    "nir export": "nir export n.net n.net --force",
    "nir import": "nir import g.nir g.nir --force",
    "netx": "netx import n.net n.net --force",
    "frontier": "frontier n.net --text t.txt --output t.csv --output ./t.csv --force",
    "train": "train t.txt -o t.txt",
    "train's log": "train t.csv --task classify -o t.pt",
    "train's vocabulary": "train t.txt --tokens v.json -o v.json",
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("m.pt", "t.txt", "n.net", "c.json", "r.npy", "g.nir", "t.csv", "v.json"):
        (tmp_path / name).write_text(name)
    (tmp_path / "o.net.front.csv").write_text("a text")
    (tmp_path / "link").symlink_to("m.pt")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ended = CliRunner().invoke(app, CASES[case].split())
    assert isinstance(ended.exception, InputError), ended.output
    assert "one file cannot be two" in str(ended.exception)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
