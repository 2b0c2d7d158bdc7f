"""What the program offers before it runs: help that fits a terminal, and words for Tab."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.program import app


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_names_are_whole_at_80_columns(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in done.stdout
    shown = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", done.stdout))
    names = {name for parameter in COMMANDS[path].params for name in _options(parameter)}
    assert names <= shown, names - shown


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_word_is_taken_for_markup(path: tuple[str, ...]) -> None:
    """Words in square brackets are styles to the terminal's printer, which shows none of them."""
    for parameter in COMMANDS[path].params:
        assert not re.search(r"\[[a-z]", getattr(parameter, "help", "") or ""), parameter.name


def _options(parameter: Any) -> list[str]:
    return [name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("-")]


def _offered(words: str) -> list[str]:
    """What bash would offer for the last of the words, asked as bash asks."""
    count = len(words.split(" ")) - 1
    done = CliRunner().invoke(
        app,
        env={
            "_SPIKEGPT_NEURO_COMPLETE": "complete_bash", "COMP_WORDS": words.replace(" ", "\n"),
            "COMP_CWORD": str(count),
        },
        prog_name="spikegpt-neuro",
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("energy model.net --profile loihi1", ["loihi1-paper", "loihi1-sanafe"]),
        ("map model.net --profile truen", ["truenorth"]),
        ("fit model.net out.net --profile xy", ["xylo"]),
        ("classify model.net --profile spec", ["speck"]),
        ("frontier model.net --profile aki", ["akida-akd1000"]),
        ("profiles brain", ["brainscales2"]),
        ("simulate model.net --backend lava", ["lava", "lava-fine"]),
        ("verify model.net --backends emulator,lo", ["emulator,loihi2"]),
        ("verify model.net --backends fl", ["float"]),
        ("verify model.net --backends float,em", ["float,emulator"]),
        ("map model.net --packing opt", ["optimistic"]),
        ("export a.pth b.net --layout spike", ["spike-driven"]),
        ("train a.txt -o a.pt --layout rw", ["rwkv"]),
        ("train a.txt -o a.pt --preset 2", ["216m", "260m"]),
        ("train a.txt -o a.pt --recipe m", ["muon"]),
        ("train a.txt -o a.pt --embedding r", ["real"]),
    ],
)
def test_tab_offers_values(words: str, offered: list[str]) -> None:
    assert _offered(f"spikegpt-neuro {words}") == offered


def test_every_option_that_takes_a_profile_or_backend_offers_it() -> None:
    """A new command cannot forget it."""
    for path, command in COMMANDS.items():
        for parameter in command.params:
            name = parameter.opts[0].removeprefix("--")
            if name in ("profile", "backend", "backends", "packing", "layout"):
                found = parameter.shell_complete(typer.Context(command), "")
                assert found, (*path, name)


def test_a_profile_of_ones_own_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "mine.toml").touch()
    (tmp_path / "boards" / "notes.txt").touch()
    (tmp_path / "lab.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert completion.profiles("lab") == ["lab.toml"]
    assert completion.profiles("boards") == ["boards/"]
    assert completion.profiles("boards/") == ["boards/mine.toml"]
    assert completion.profiles("/none/x") == []
    assert "lab.toml" in completion.profiles("") and "boards/" not in completion.profiles("")
