"""The corpus options of ``score`` and ``energy``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spikegpt_neuro.cli.main", *map(str, arguments)],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A network, its vocabulary, and a folder of three documents."""
    write_network(
        random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=4)), tmp_path / "m.net"
    )
    (tmp_path / "v.json").write_text(json.dumps({str(i): c for i, c in enumerate("abcd")}))
    (tmp_path / "texts").mkdir()
    for i, text in enumerate(["abcd" * 30, "dcba" * 20, "aabb" * 10]):
        (tmp_path / "texts" / f"{i}.txt").write_text(text)
    return tmp_path


def test_a_corpus_is_scored_and_its_counts_are_priced(files: Path) -> None:
    base = ("score", files / "m.net", files / "texts", "--vocab", files / "v.json", "--json")
    alone = run(*base)
    assert alone.returncode == 0, alone.stderr
    spread = run(*base, "--workers", 2, "--results", files / "done")
    assert spread.stdout == alone.stdout
    values = json.loads(alone.stdout)
    assert values["tokens"] == 119 + 79 + 39
    assert len(values["documents"]) == 3
    assert len(list((files / "done").iterdir())) == 1
    (files / "corpus.json").write_text(alone.stdout)
    priced = run("energy", files / "m.net", "--counters", files / "corpus.json", "--json")
    assert priced.returncode == 0, priced.stderr
    assert json.loads(priced.stdout)["tokens"] == values["tokens"]
    page = run(
        "energy", files / "m.net", "--counters", files / "corpus.json",
        "--output", files / "report.html",
    )  # fmt: skip
    assert page.returncode == 0, page.stderr
    assert "<html" in (files / "report.html").read_text(encoding="utf-8")


def test_mistakes(files: Path) -> None:
    wrong = (
        (("score", files / "m.net", files / "texts", "--vocab", files / "v.json", "--tokens", 5),
         "single text"),
        (("score", files / "m.net", files / "texts", "--vocab", files / "v.json", "--threads", 2),
         "shared by --workers"),
        (("energy", files / "m.net"), "give one of --text, --labelled, --raster and --counters"),
        (("energy", files / "m.net", "--counters", files / "v.json"), "holds no counters"),
        (("score", files / "m.net", files / "texts", files / "none", "--vocab", files / "v.json"),
         "does not exist"),
    )  # fmt: skip
    for arguments, message in wrong:
        found = run(*arguments)
        assert found.returncode == 2
        assert message in found.stderr
        assert "Traceback" not in found.stderr
