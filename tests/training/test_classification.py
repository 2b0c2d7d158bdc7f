"""Classifiers from labelled texts to the same decisions on every backend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import spikegpt_neuro as sn
from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.classification import confusion, decide
from spikegpt_neuro.cli.program import app
from spikegpt_neuro.errors import InputError, SpikeGPTNeuroError
from spikegpt_neuro.labelled import read_labelled
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.network.network import as_language_model
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.training.classification import (
    Examples,
    accuracy,
    examples,
    pooled,
    pooled_after_each,
)
from spikegpt_neuro.verification import verify
from spikegpt_neuro.vocabulary import CharacterVocabulary

LAYOUTS = ("upstream", "rwkv", "spike-driven")
SIZE = ("--layers", "1", "--width", "12", "--embedding", "real")


def run(*arguments: object, fails: bool = False) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if fails:
        assert isinstance(done.exception, SpikeGPTNeuroError), done.output
        return str(done.exception)
    assert done.exit_code == 0, (done.exception, done.output)
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts in which the letter a or b says the class."""
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    for name, count in (("train", 200), ("test", 40)):
        rows = []
        for i in range(count):
            letters = "".join(rng.choice(list("xyz"), rng.integers(3, 9)))
            place = int(rng.integers(0, len(letters)))
            sign = "ab"[i % 2]
            rows.append(f"{['no', 'yes'][i % 2]}\t{letters[:place]}{sign}{letters[place:]}\n")
        (folder / f"{name}.tsv").write_text("".join(rows))
    text = "".join(row.text for row in read_labelled(folder / "train.tsv"))
    (folder / "text.txt").write_text(text)
    return folder


@pytest.fixture(scope="module", params=LAYOUTS)
def trained(request: pytest.FixtureRequest, data: Path) -> tuple[Path, Path]:
    """Checkpoint and network of a classifier; last token for upstream, mean for the others."""
    layout = request.param
    stem = data / layout
    pooling = "last" if layout == "upstream" else "mean"
    run(
        "train", data / "train.tsv", "--task", "classify", "--valid", data / "test.tsv", "-o",
        f"{stem}.pt", "--layout", layout, "--pooling", pooling, "--steps", 150, "--batch", 16,
        "--learning-rate", "1e-2", "--dropout", 0, "--evaluate-every", 150, *SIZE, "--json",
    )  # fmt: skip
    run("export", f"{stem}.pt", f"{stem}.net", "--calibration", data / "text.txt")
    return Path(f"{stem}.pt"), Path(f"{stem}.net")


def test_learns_and_the_integers_agree_with_the_float_model(
    trained: tuple[Path, Path], data: Path
) -> None:
    checkpoint, network = trained
    found = json.loads(
        run("classify", network, "--file", data / "test.tsv", "--against", checkpoint,
            "--confidence", 0.9, "--json")
    )  # fmt: skip
    assert found["against"]["accuracy"] > 0.9
    assert abs(found["accuracy"] - found["against"]["accuracy"]) <= 0.05
    assert np.trace(found["confusion"]) == found["accuracy"] * 40
    assert found["early"]["mean_tokens"] <= found["tokens"] / 40
    cost = found["cost"]
    assert cost["joules_per_decision"] > cost["joules_per_token"] > 0
    first = found["decisions"][0]
    assert first["label"] == first["after_each_token"][-1]["label"]
    assert len(first["after_each_token"]) == first["tokens"] >= first["settled_after_tokens"]


def test_energy_and_time_of_a_decision(
    trained: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    network, test = trained[1], data / "test.tsv"
    page, values = tmp_path / "report.html", tmp_path / "report.json"
    arguments = (
        "energy", network, "--labelled", test, "--confidence", 0.9, "--profile", "loihi2",
        "--profile", "cmos45-int8",
    )  # fmt: skip
    said = run(*arguments, "--output", page, "--output", values)
    found = json.loads(values.read_text())
    decided = found["decisions"]
    told = json.loads(run("classify", network, "--file", test, "--confidence", 0.9, "--json"))
    assert decided["texts"] == 40 and decided["accuracy"] == told["accuracy"]
    assert decided["tokens"] == found["tokens"] / 40
    assert decided["early_tokens"] == told["early"]["mean_tokens"] < decided["tokens"]
    assert decided["early_accuracy"] == told["early"]["accuracy"]
    first = decided["targets"][0]
    assert (first["profile"], first["mode"]) == ("loihi2", "pipelined")
    assert first["joules"] == told["cost"]["joules_per_decision"]
    assert first["seconds"] == told["cost"]["seconds_per_decision"]
    assert 0 < first["early_joules"] < first["joules"]
    assert 0 < first["early_seconds"] < first["seconds"]
    report = next(r for r in found["reports"] if r["mode"] == "fall-through")
    slow = next(t for t in decided["targets"] if t["mode"] == "fall-through")
    each = slow["joules"] / report["energy_joules_per_token"]  # no pipeline empties
    assert each == pytest.approx(decided["tokens"])
    arithmetic = decided["targets"][-1]
    assert arithmetic["seconds"] is None and arithmetic["joules"] > 0
    title = f"40 texts of {decided['tokens']:.1f} tokens, {decided['accuracy']:.2%} right"
    assert title in " ".join(said.split()) and title in page.read_text()
    assert "early, at confidence 0.9" in page.read_text()
    # counted over whole texts, the windows are the run
    assert found["firing_rates"]["window_end_tokens"][-1] == found["tokens"]
    assert "--labelled" in run("energy", network, "--text", test, "--confidence", 0.9, fails=True)


def test_classify_in_python(trained: tuple[Path, Path], data: Path) -> None:
    rows = read_labelled(data / "test.tsv")
    texts, labels = [row.text for row in rows], [row.label for row in rows]
    found = sn.classify(trained[1], texts, labels)
    assert repr(found) == f"<Classification of 40 texts on emulator: {found.accuracy:.2%} right>"
    assert found.confusion is not None and np.trace(found.confusion) == 40 * (found.accuracy or 0)
    alone = sn.classify(sn.load(trained[1]), texts[3])
    assert alone.accuracy is None and alone.confusion is None
    assert np.array_equal(alone.decisions[0].scores, found.decisions[3].scores)  # from rest, each
    assert alone.decisions[0].label in repr(alone)
    with pytest.raises(InputError, match="40 texts have 2 labels"):
        sn.classify(trained[1], texts, ["yes", "no"])
    with pytest.raises(InputError, match="label 'maybe'"):
        sn.classify(trained[1], ["ax"], ["maybe"])
    with pytest.raises(InputError, match="not a classifier"):
        sn.classify(random_network(RandomShape(n_layer=1, n_embd=8, vocabulary_size=9)), "a")


def test_decisions_after_every_token_can_be_relied_upon(data: Path, tmp_path: Path) -> None:
    """Before the letter that decides, nothing can be known, and probabilities should say so."""
    rows = read_labelled(data / "test.tsv")
    losses = {}
    for name, options in (("whole", ()), ("every", ("--every-token",))):
        model, network = tmp_path / f"{name}.pt", tmp_path / f"{name}.net"
        run("train", data / "train.tsv", "--task", "classify", "-o", model, "--layout", "rwkv",
            "--pooling", "last", "--steps", 100, "--batch", 16, "--learning-rate", "1e-2",
            "--dropout", 0, *SIZE, *options)  # fmt: skip
        run("export", model, network, "--calibration", data / "text.txt")
        found = sn.classify(network, [row.text for row in rows], [row.label for row in rows])
        assert (found.accuracy or 0) > 0.9
        bits = []
        for row, decision in zip(rows, found.decisions, strict=True):
            right = decision.classes == found.labels.index(row.label)
            bits.append(-np.log2(np.where(right, decision.confidences, 1 - decision.confidences)))
        losses[name] = np.concatenate(bits).mean()
    assert losses["every"] < 0.9 * losses["whole"], losses
    refused = run("train", data / "text.txt", "-o", tmp_path / "x.pt", "--every-token", fails=True)
    assert "classifiers only" in refused


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_what_is_decided_after_each_token(pooling: str) -> None:
    logits = torch.randn(2, 5, 3)
    each = pooled_after_each(logits, pooling)
    for token in range(5):
        lengths = torch.full((2,), token + 1)
        assert torch.allclose(each[:, token], pooled(logits, lengths, pooling), atol=1e-6)


@pytest.mark.parametrize("backend", ["lava", "lava-fine"])
def test_backends_agree_on_256_tokens(trained: tuple[Path, Path], backend: str) -> None:
    network = read_network(trained[1])
    assert isinstance(network, LanguageModel)
    tokens = np.random.default_rng(3).integers(0, network.info.vocabulary_size, 256).tolist()
    found = verify(network, tokens, get_backend("emulator"), get_backend(backend))
    assert found.equal and found.counters_compared, found


def test_what_a_classifier_cannot_do(trained: tuple[Path, Path], data: Path) -> None:
    for refused in (("score", trained[1], data / "text.txt"), ("simulate", trained[1])):
        assert "classifier" in run(*refused, fails=True)
    with pytest.raises(InputError, match="classifier"):
        as_language_model(read_network(trained[1]))


def test_decisions_by_hand(trained: tuple[Path, Path]) -> None:
    network = read_network(trained[1])
    assert isinstance(network, LanguageModel)
    logits = np.array([[5, 0], [0, 6], [0, 2]], np.int32) * 1000
    found = decide(logits, network)
    if network.info.pooling == "mean":
        assert found.scores.tolist() == [[5000, 0], [5000, 6000], [5000, 8000]]
        scale = network.logit_scale / 3
        assert found.confidence == pytest.approx(1 / (1 + np.exp(-3000 * scale)))
    else:
        assert found.scores.tolist() == logits.tolist()
    assert found.classes.tolist() == [0, 1, 1] and found.settled == 2 and found.tokens == 3
    assert found.early(0.0) == 1 and found.early(1.0) == 3


def test_starts_from_a_language_model(data: Path, tmp_path: Path) -> None:
    common = ("--layout", "rwkv", *SIZE)
    model, classifier = tmp_path / "model.pt", tmp_path / "classifier.pt"
    run("train", data / "text.txt", "-o", model, "--steps", 2, "--batch", 2, "--context", 16,
        *common)  # fmt: skip
    run("train", data / "train.tsv", "--task", "classify", "--from", model, "-o", classifier,
        "--steps", 1, "--learning-rate", 0, *common)  # fmt: skip
    before, after = (torch.load(p, weights_only=True) for p in (model, classifier))
    assert torch.equal(before["state_dict"]["emb.weight"], after["state_dict"]["emb.weight"])
    assert after["vocabulary"] == before["vocabulary"]
    assert after["state_dict"]["head.weight"].shape == (2, 12)
    refused = run("train", data / "train.tsv", "--task", "classify", "--from", model, "-o",
                  tmp_path / "other.pt", "--layout", "upstream", *SIZE, fails=True)  # fmt: skip
    assert "layout" in refused


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    configuration = SpikeGPTConfiguration(
        "rwkv", 1, 8, 5, embedding="real", labels=("a", "b"), pooling="mean"
    )
    model = SpikeGPT(configuration).eval()
    texts = (np.array([1, 2, 3, 4]), np.array([4, 0]))
    held = Examples(texts, np.array([0, 1]), 0)
    tokens, lengths, _ = held.batch([0, 1])
    for pooling in ("last", "mean"):
        both = pooled(model(tokens)[0], lengths, pooling)
        alone = model(torch.from_numpy(texts[1])[None])[0][0]
        expected = alone[-1] if pooling == "last" else alone.mean(0)
        torch.testing.assert_close(both[1], expected)
    assert accuracy(model, held) in (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tsv", "no\tfirst, one\nyes\tsecond\n"),
        ("x.csv", 'text,label\n"first, one",no\nsecond,yes\n'),
        ("y.csv", 'no,"first, one"\nyes,second\n'),
        ("x.jsonl", '{"label": "no", "text": "first, one"}\n{"text": "second", "label": "yes"}\n'),
    ],
)
def test_labelled_files(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    rows = [(row.label, row.text) for row in read_labelled(path)]
    assert rows == [("no", "first, one"), ("yes", "second")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.txt", "no\ta\n", "ends in"),
        ("x.tsv", "no\ta\nyes\nb\n", "line 2: no text\n.*line 3: no text"),
        ("x.tsv", "\n\n", "holds no line"),
        ("x.jsonl", '{"label": "a", "text": 3}\nnonsense\n', "line 1: no text\n.*line 2: no label"),
    ],
)
def test_what_is_wrong_with_a_labelled_file(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=f"(?s){said}"):
        read_labelled(path)


def test_unknown_labels_and_bad_configurations(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("maybe\tab\n")
    with pytest.raises(InputError, match="'maybe'"):
        examples(read_labelled(path), ("no", "yes"), CharacterVocabulary(["a", "b"]), 8)
    with pytest.raises(InputError, match=r"only 'a'.*\n.*pooling"):
        SpikeGPTConfiguration("rwkv", 1, 8, 5, labels=("a",), pooling="max")  # type: ignore[arg-type]
    assert confusion(("a", "b"), ["a", "a", "b"], ["a", "b", "b"]).tolist() == [[1, 1], [0, 1]]
