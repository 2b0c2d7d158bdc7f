"""Runs of ``train`` as people have them: begun twice, broken off, gone on with, made longer."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from spikegpt_neuro.cli.interrupts import command_that_goes_on
from spikegpt_neuro.cli.program import app
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.training import checkpoint
from spikegpt_neuro.training.loop import Trainer

SMALL = ("--layers", "1", "--width", "16", "--context", "16", "--batch", "2", "--save-every", "4")
TASKS = ("predict", "classify")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, tuple[str, ...]]:
    """Per task the arguments that name its data."""
    text, labelled = tmp_path / "text.txt", tmp_path / "labelled.tsv"
    text.write_text("to be or not to be, that is the question. " * 20)
    rows = (f"{'ab'[i % 2]}\t{'xyz'[i % 3] * (i % 5 + 2)}{'ab'[i % 2]}\n" for i in range(30))
    labelled.write_text("".join(rows))
    return {
        "predict": (str(text), "--valid", str(text)),
        "classify": (str(labelled), "--valid", str(labelled), "--task", "classify"),
    }


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments), *SMALL])


def run(*arguments: str | Path) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, (result.exception, result.output)
    return dict(json.loads(result.stdout))


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(path)["state_dict"])


def assert_same(a: Path, b: Path) -> None:
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_overwritten_unasked(
    tmp_path: Path, corpus: dict[str, tuple[str, ...]], task: str
) -> None:
    output = tmp_path / "model.pt"
    run(*corpus[task], "-o", output, "--steps", "2")
    files = (output, tmp_path / "model.pt.resume", tmp_path / "model.csv")
    before = [path.read_bytes() for path in files]
    refused = invoke(*corpus[task], "-o", output, "--steps", "3")
    assert isinstance(refused.exception, InputError)
    assert "--resume to go on, or --force" in str(refused.exception)
    assert [path.read_bytes() for path in files] == before
    output.unlink()  # the rest is somebody's run, too
    assert isinstance(invoke(*corpus[task], "-o", output, "--steps", "3").exception, InputError)
    assert run(*corpus[task], "-o", output, "--steps", "3", "--force")["step"] == 3


@pytest.mark.parametrize("task", TASKS)
def test_a_finished_run_says_so_and_changes_nothing(
    tmp_path: Path, corpus: dict[str, tuple[str, ...]], task: str
) -> None:
    output = tmp_path / "model.pt"
    first = run(*corpus[task], "-o", output, "--steps", "3")
    files = (output, tmp_path / "model.pt.resume", tmp_path / "model.csv")
    before = [path.read_bytes() for path in files]
    again = invoke(*corpus[task], "-o", output, "--steps", "3", "--resume", "--json")
    assert again.exit_code == 0
    assert "all 3 steps are done" in again.stderr
    found = json.loads(again.stdout)
    key = "valid_bits_per_character" if task == "predict" else "valid_accuracy"
    assert found[key] == first[key]
    assert [path.read_bytes() for path in files] == before


def test_there_must_be_a_run_to_go_on_with(
    tmp_path: Path, corpus: dict[str, tuple[str, ...]]
) -> None:
    for task in TASKS:
        refused = invoke(*corpus[task], "-o", tmp_path / "x.pt", "--steps", "3", "--resume")
        assert "Leave out --resume" in str(refused.exception)


@pytest.mark.parametrize("task", TASKS)
def test_more_steps_at_a_constant_rate_are_the_longer_run(
    tmp_path: Path, corpus: dict[str, tuple[str, ...]], task: str
) -> None:
    whole, extended = tmp_path / "whole.pt", tmp_path / "extended.pt"
    options = ("--schedule", "constant", "--warm-up", "3", "--evaluate-every", "2", "--json")
    run(*corpus[task], "-o", whole, "--steps", "10", *options)
    run(*corpus[task], "-o", extended, "--steps", "6", *options)
    more = invoke(*corpus[task], "-o", extended, "--steps", "10", "--resume", *options)
    assert more.exit_code == 0, more.exception
    assert "the same as 10 steps at once" in more.stderr
    assert_same(whole, extended)
    left, right = (
        [[v for i, v in enumerate(row) if header[i] != "seconds"] for row in rows]
        for header, *rows in (
            list(csv.reader(path.with_suffix(".csv").open())) for path in (whole, extended)
        )
    )
    assert left == right


def test_more_steps_of_a_cosine_say_what_happens(
    tmp_path: Path, corpus: dict[str, tuple[str, ...]]
) -> None:
    """The rest of the longer cosine; broken off and gone on with, the extension is one run."""
    a, b = tmp_path / "a.pt", tmp_path / "b.pt"
    for path in (a, b):
        run(*corpus["predict"], "-o", path, "--steps", "4", "--seed", "1")
    more = invoke(*corpus["predict"], "-o", a, "--steps", "12", "--seed", "1", "--resume")
    assert more.exit_code == 0, more.exception
    assert "from 0.017 to 0.754 of its peak" in more.stderr
    assert "end elsewhere" in more.stderr
    # interrupted after step 8 of 12: as the second Ctrl-C leaves it
    with pytest.MonkeyPatch.context() as patch:
        original = checkpoint.save

        def stop(path: Path, content: dict[str, Any]) -> None:
            original(path, content)
            if content.get("step") == 8:
                raise KeyboardInterrupt

        patch.setattr(checkpoint, "save", stop)
        invoke(*corpus["predict"], "-o", b, "--steps", "12", "--seed", "1", "--resume")
    run(*corpus["predict"], "-o", b, "--steps", "12", "--seed", "1", "--resume")
    assert_same(a, b)
    rows = list(csv.DictReader(a.with_suffix(".csv").open()))
    assert rows[-1]["step"] == "12" and float(rows[-1]["learning_rate_share"]) < 0.02


def test_what_cannot_be_extended(tmp_path: Path, corpus: dict[str, tuple[str, ...]]) -> None:
    output = tmp_path / "model.pt"
    run(*corpus["predict"], "-o", output, "--steps", "5", "--integer-steps", "2")
    options = (*corpus["predict"], "-o", output, "--resume")
    longer = invoke(*options, "--steps", "9", "--integer-steps", "2")
    assert "has begun; start from the model with --from" in str(longer.exception)
    shorter = invoke(*options, "--steps", "3", "--integer-steps", "2")
    assert "5 steps are done, asked for 3" in str(shorter.exception)
    other = (*corpus["predict"], "-o", tmp_path / "other.pt", "--integer-steps", "3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_begin_integers", lambda trainer: raise_interrupt())
        invoke(*other, "--steps", "8", "--save-every", "1")
    late = invoke(*other, "--steps", "6", "--resume")
    assert "of which the last 3 are in the export's integers" in str(late.exception)


def test_a_run_of_an_older_program_goes_on(
    tmp_path: Path, corpus: dict[str, tuple[str, ...]]
) -> None:
    """What did not exist when a resume file was written had its default."""
    output, resume = tmp_path / "model.pt", tmp_path / "model.pt.resume"
    run(*corpus["predict"], "-o", output, "--steps", "2")
    content = checkpoint.load(resume)
    del content["settings"]["rates"]["schedule"]
    del content["configuration"]["rescale_every"]
    checkpoint.save(resume, content)
    assert run(*corpus["predict"], "-o", output, "--steps", "3", "--resume")["step"] == 3
    other = invoke(
        *corpus["predict"], "-o", output, "--steps", "4", "--resume", "--schedule", "constant"
    )
    assert "settings.rates: stored" in str(other.exception)


def test_lines_where_there_is_no_terminal(
    tmp_path: Path, corpus: dict[str, tuple[str, ...]]
) -> None:
    options = ("-o", tmp_path / "model.pt", "--steps", "6")
    said = invoke(*corpus["predict"], *options, "--log-every", "0").stderr
    line = r"^(\d)/6, \d\.\d{3} bits(, [\d.,e+]+ steps/s, \d:\d\d:\d\d left)?$"
    lines = [match[1] for match in re.finditer(line, said, re.MULTILINE)]
    assert lines == list("123456")
    assert len(re.findall("steps/s", said)) == 5  # the first step has no rate yet
    said = invoke(*corpus["classify"], *options, "--force", "--log-every", "1000").stderr
    assert len(re.findall(r"^\d/6, \d\.\d{3} nats", said, re.MULTILINE)) == 1
    quiet = invoke(*corpus["predict"], *options, "--force", "--log-every", "0", "--quiet")
    assert quiet.stderr == ""


@pytest.mark.parametrize("task", TASKS)
def test_ctrl_c_writes_and_names_the_command_that_goes_on(
    tmp_path: Path, corpus: dict[str, tuple[str, ...]], task: str
) -> None:
    output, whole = tmp_path / "model.pt", tmp_path / "whole.pt"
    steps = 2000
    data = (*corpus[task][:1], *corpus[task][3:])  # not judged on the way
    arguments = [
        "train", *data, "-o", str(output), "--steps", str(steps), "--schedule", "constant", *SMALL,
        "--save-every", "100000", "--log-every", "0",
    ]  # fmt: skip
    program = (sys.executable, "-m", "spikegpt_neuro.cli.main")
    with subprocess.Popen(
        (*program, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None and process.stdout is not None
        for line in process.stderr:
            if line.startswith("5/"):
                break
        os.kill(process.pid, signal.SIGINT)
        said = process.stdout.read()
        process.stderr.read()
    assert process.returncode == 130
    step = checkpoint.load(tmp_path / "model.pt.resume")["step"]
    assert 5 <= step < steps
    assert f"interrupted after step {step} of {steps}" in said
    command = shlex.split(said.splitlines()[-1])
    assert command == ["spikegpt-neuro", *arguments, "--resume"]
    # gone on with for a few steps, it is the run that never was interrupted
    short = ("--steps", str(step + 3), "--save-every", "100000", "--schedule", "constant")
    run(*data, "-o", output, "--resume", *short)
    run(*data, "-o", whole, *short)
    assert_same(output, whole)


def test_a_second_ctrl_c_ends_at_once() -> None:
    from spikegpt_neuro.cli.interrupts import asked_to_stop

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), asked_to_stop() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGINT)
        assert asked()
        signal.raise_signal(signal.SIGINT)
        time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is before
    found = command_that_goes_on(["train", "a b.txt", "--force", "-o", "m.pt"])
    assert found == "spikegpt-neuro train 'a b.txt' -o m.pt --resume"
