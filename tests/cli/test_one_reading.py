"""A text is read in one way by every command: train, export, score, corpora, prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from spikegpt_neuro.cli.program import app
from spikegpt_neuro.vocabulary import CharacterVocabulary, parse_vocabulary

BOM = b"\xef\xbb\xbf"
TEXT = "to be\tor not\r\nto be\u2028\x0c that\n" * 30
SMALL = [
    "--layers", "1", "--width", "8", "--context", "16", "--batch", "2", "--steps", "2",
    "--save-every", "2", "--evaluate-every", "2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(*arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_marks_line_ends_and_tabs_are_alike_everywhere(tmp_path: Path) -> None:
    """The byte order mark is no part of the text; every other character is, and is counted."""
    marked, plain = tmp_path / "marked.txt", tmp_path / "plain.txt"
    marked.write_bytes(BOM + TEXT.encode())
    plain.write_bytes(TEXT.encode())
    trained = run("train", marked, "--valid", plain, "--output", tmp_path / "m.pt", *SMALL)
    vocabulary = parse_vocabulary(torch.load(tmp_path / "m.pt", weights_only=True)["vocabulary"])
    assert isinstance(vocabulary, CharacterVocabulary)
    assert vocabulary.decode(range(vocabulary.size)) == "".join(sorted(set(TEXT)))
    files = []
    for text in (marked, plain):
        net = tmp_path / f"{text.stem}.net"
        exported = run("export", tmp_path / "m.pt", net, "--calibration", text)
        assert exported["quantisation"]["calibration_tokens"] == len(TEXT) // 256 * 256
        files.append(net.read_bytes())
        scored = run("score", net, text)
        assert scored["characters"] == len(TEXT) - 1
        corpus = run("score", net, text, "--workers", "1", "--results", tmp_path / text.stem)
        assert corpus["characters"] == scored["characters"]
    assert files[0] == files[1]
    assert trained["valid_bits_per_character"] > 0


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_prompts_end_with_their_lines(ends: str, tmp_path: Path) -> None:
    """Only line ends part prompts: not the other characters that ``str.splitlines`` parts at."""
    prompts = ["to be\x0c", "or\u2028not", "\tthat"]
    text, lines = tmp_path / "text.txt", tmp_path / "lines.txt"
    text.write_bytes(TEXT.encode())
    lines.write_bytes(BOM + ends.join([*prompts, ""]).encode())
    run("train", text, "--output", tmp_path / "m.pt", *SMALL)
    run("export", tmp_path / "m.pt", tmp_path / "m.net")
    found = run("simulate", tmp_path / "m.net", "--prompts", lines, "--tokens", "2")
    assert [row["prompt"] for row in found["results"]] == prompts
