"""The command ``train``: what it writes, how it goes on, what it starts from, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from spikegpt_neuro.cli.program import app
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.training import checkpoint
from spikegpt_neuro.vocabulary import parse_vocabulary

SMALL = [
    "--layers", "2", "--width", "16", "--context", "16", "--batch", "2", "--steps", "8",
    "--save-every", "4", "--evaluate-every", "4", "--json",
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be, that is the question. " * 20)
    return path


def run(*arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
@pytest.mark.parametrize("tokens", ["characters", "bytes"])
def test_trains_and_writes_a_model_with_its_vocabulary(
    tmp_path: Path, text: Path, layout: str, tokens: str
) -> None:
    output = tmp_path / "model.pt"
    found = run(
        text, "--output", output, "--valid", text, "--layout", layout, "--tokens", tokens, *SMALL
    )
    assert found["tokens"] == 8 * 2 * 16
    assert found["valid_bits_per_character"] > 0
    assert found["synaptic_events_per_token"] > 0
    content = checkpoint.load(output)
    vocabulary = parse_vocabulary(content["vocabulary"])
    sentence = "to be or not"
    assert vocabulary.decode(vocabulary.encode(sentence)) == sentence
    assert checkpoint.load_model(output).configuration.layout == layout


def test_bits_per_character_of_a_subword_tokenizer(tmp_path: Path, text: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.Fuse()
    tokenizer.train([str(text)], trainers.BpeTrainer(vocab_size=30, show_progress=False))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    output, network = tmp_path / "model.pt", tmp_path / "model.net"
    found = run(
        text, "--output", output, "--valid", text, "--tokens", tmp_path / "tokenizer.json",
        "--integer-steps", "1", *SMALL,
    )  # fmt: skip
    characters = len(text.read_text())
    tokens = len(tokenizer.encode(text.read_text()).ids)
    assert characters > 2 * tokens
    per_token = np.log2(found["valid_perplexity"])
    # the first token is given, so its characters are not predicted
    predicted = characters - tokenizer.encode(text.read_text()).offsets[0][1]
    expected = per_token * (tokens - 1) / predicted
    assert found["valid_bits_per_character"] == pytest.approx(expected)
    for command in (
        ["export", str(output), str(network)],
        ["score", str(network), str(text), "--context", "16", "--json"],
    ):
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    # `score` also counts the rest of the text that fills no window
    scored = json.loads(result.stdout)["bits_per_character"]
    assert scored == pytest.approx(found["valid_bits_per_character"], rel=0.1)


def test_resumes_bit_for_bit(tmp_path: Path, text: Path) -> None:
    whole, broken = tmp_path / "whole.pt", tmp_path / "broken.pt"
    run(text, "--output", whole, *SMALL)
    with pytest.MonkeyPatch.context() as patch:
        original = checkpoint.save

        def stop_after_first_resume_file(path: Path, content: dict[str, Any]) -> None:
            original(path, content)
            if path.name == "broken.pt.resume":
                raise KeyboardInterrupt

        patch.setattr(checkpoint, "save", stop_after_first_resume_file)
        CliRunner().invoke(app, ["train", str(text), "--output", str(broken), *SMALL])
    assert checkpoint.load(tmp_path / "broken.pt.resume")["step"] == 4
    run(text, "--output", broken, "--resume", *SMALL)
    a, b = (checkpoint.load(path)["state_dict"] for path in (whole, broken))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_starts_from_a_released_checkpoint_by_distillation(tmp_path: Path, text: Path) -> None:
    size = len(set(text.read_text()))
    released = SpikeGPT(SpikeGPTConfiguration("upstream", 2, 16, size))
    initialise(released)
    torch.save(released.state_dict(), tmp_path / "released.pth")
    run(text, "--output", tmp_path / "student.pt", "--from", tmp_path / "released.pth", *SMALL)
    settings = checkpoint.load(tmp_path / "student.pt.resume")["settings"]
    assert settings["distillation"] == 0.5
    run(
        text, "--output", tmp_path / "tuned.pt", "--from", tmp_path / "student.pt",
        *SMALL,
    )  # fmt: skip
    assert checkpoint.load(tmp_path / "tuned.pt.resume")["settings"]["distillation"] == 0.0


def test_ends_in_the_integers_that_export_writes(tmp_path: Path, text: Path) -> None:
    output, network = tmp_path / "model.pt", tmp_path / "model.net"
    found = run(
        text, "--output", output, "--valid", text, "--integer-steps", "3",
        "--activation-bits", "6", *SMALL,
    )  # fmt: skip
    result = CliRunner().invoke(app, ["export", str(output), str(network)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "integers as in its training" in result.output
    result = CliRunner().invoke(
        app, ["score", str(network), str(text), "--context", "16", "--json"], catch_exceptions=False
    )
    # float32 against float64 cross-entropy; the last window here is shorter than a context
    assert json.loads(result.stdout)["bits_per_character"] == pytest.approx(
        found["valid_bits_per_character"], rel=1e-2
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--integer-steps", "9"], "integer_steps is 9"),
        (["--preset", "huge"], "preset 'huge' is unknown"),
        (["--layout", "sideways"], "layout is 'sideways'"),
        (["--context", "100000"], "needs 100001"),
        (["--levels", "99"], "levels_input is 99"),
    ],
)
def test_refuses_what_cannot_be(
    tmp_path: Path, text: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(
            app,
            ["train", str(text), "--output", str(tmp_path / "x.pt"), *SMALL, *arguments],
            catch_exceptions=False,
        )
    assert not (tmp_path / "x.pt").exists()


def test_refuses_text_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        CliRunner().invoke(
            app,
            ["train", str(tmp_path / "no.txt"), "--output", str(tmp_path / "x.pt"), *SMALL],
            catch_exceptions=False,
        )
