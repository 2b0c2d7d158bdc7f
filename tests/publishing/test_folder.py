"""Models as folders: written whole or not at all, and read wherever a checkpoint is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from typer.testing import CliRunner

import spikegpt_neuro as sn
from spikegpt_neuro.cli.program import app
from spikegpt_neuro.converters.checkpoint import read_checkpoint
from spikegpt_neuro.converters.export import float_model
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.network import atomic
from spikegpt_neuro.publishing import save
from spikegpt_neuro.publishing.tokenizer_files import character_tokenizer
from spikegpt_neuro.training import checkpoint
from spikegpt_neuro.training.start import read_start
from spikegpt_neuro.vocabulary import CharacterVocabulary, byte_tokenizer, read_vocabulary

TEXT = "the words of the wise are as goads, and as nails fastened by the masters.\n" * 3
CHARACTERS = sorted(set(TEXT) | set("éß€🜁"))


def write_model(path: Path, vocabulary: str | None = None, **options: Any) -> Path:
    known = CharacterVocabulary(CHARACTERS).text if vocabulary is None else vocabulary
    size = 256 if vocabulary is not None else len(CHARACTERS)
    torch.manual_seed(5)
    model = SpikeGPT(
        SpikeGPTConfiguration(
            **{"layout": "spike-driven", "n_layer": 2, "n_embd": 16, "vocab_size": size, **options}
        )
    )
    initialise(model)
    with torch.no_grad():  # zero projections would make every layout the same
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    checkpoint.save(path, checkpoint.model_content(model, known))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "options",
    [
        {"layout": "upstream"},
        {"layout": "upstream", "ffn_pre": True, "rescale_every": 1, "embedding": "real"},
        {"layout": "upstream", "branch_decays": (1000, 2048, 3000, tuple(range(16)))},
        {"layout": "rwkv"},
        {"norm": "batch", "branches": "parallel", "levels_head": 2},
        {"labels": ("no", "yes"), "pooling": "mean"},
    ],
)
def test_a_folder_says_what_the_checkpoint_said(tmp_path: Path, options: dict[str, Any]) -> None:
    file = write_model(tmp_path / "m.pt", **options)
    folder = save(tmp_path / "m", file)
    stored, read = read_checkpoint(file), read_checkpoint(folder)
    assert read.configuration == json.loads(json.dumps(stored.configuration))
    assert read.vocabulary == stored.vocabulary
    ours, theirs = float_model(stored), float_model(read)
    assert ours.configuration == theirs.configuration
    tokens = torch.arange(12)[None] % len(CHARACTERS)
    with torch.inference_mode():
        assert torch.equal(ours(tokens)[0], theirs(tokens)[0])
    for model in (checkpoint.load_model(folder), read_start(folder, len(CHARACTERS))):
        for name, value in ours.state_dict().items():
            assert torch.equal(model.state_dict()[name], value)


def test_a_released_file_does_not_say_what_a_folder_does(tmp_path: Path) -> None:
    model = checkpoint.load_model(write_model(tmp_path / "m.pt", layout="rwkv", embedding="real"))
    torch.save(model.state_dict(), tmp_path / "m.pth")
    vocabulary = tmp_path / "vocab.json"
    vocabulary.write_text(CharacterVocabulary(CHARACTERS).text)
    folder = save(
        tmp_path / "m", tmp_path / "m.pth", vocabulary=vocabulary, layout="rwkv", embedding="real"
    )
    assert float_model(read_checkpoint(folder)).configuration == model.configuration
    assert read_checkpoint(tmp_path / "m.pth").architecture.layout == "upstream"
    other = write_model(tmp_path / "n.pt", n_layer=1)
    sn.export(other, tmp_path / "n.net")
    with pytest.raises(InputError, match=r"not an export of this[\s\S]*n_layer"):
        save(tmp_path / "n", tmp_path / "m.pth", network=sn.load(tmp_path / "n.net"))


def test_the_export_of_a_folder_is_the_checkpoints(tmp_path: Path) -> None:
    file = write_model(tmp_path / "m.pt")
    folder = save(tmp_path / "m", file)
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    for source, net in ((file, "a.net"), (folder, "b.net")):
        done = CliRunner().invoke(
            app, ["export", str(source), str(tmp_path / net), "--calibration", str(text)]
        )
        assert done.exit_code == 0, done.output
    from spikegpt_neuro.generation import network_digest
    from spikegpt_neuro.network.file import read_network

    first, second = (read_network(tmp_path / name) for name in ("a.net", "b.net"))
    assert network_digest(first) == network_digest(second)
    assert first.vocabulary == second.vocabulary


def test_the_card_has_the_figures_that_the_commands_print(tmp_path: Path) -> None:
    file, text, net = write_model(tmp_path / "m.pt"), tmp_path / "text.txt", tmp_path / "m.net"
    text.write_text(TEXT)
    run = CliRunner()
    for words in (
        ["export", str(file), str(net), "--calibration", str(text)],
        ["publish", str(file), str(tmp_path / "m"), "--text", str(text), "--network", str(net),
         "--tokens", "100", "--profile", "loihi2"],
    ):  # fmt: skip
        done = run.invoke(app, words)
        assert done.exit_code == 0, done.output
    card = (tmp_path / "m" / "README.md").read_text()
    done = run.invoke(app, ["score", str(net), str(text), "--tokens", "100", "--json"])
    bits = json.loads(done.stdout)["bits_per_character"]
    assert f"| the export's integers | {bits:.4f} |" in card
    done = run.invoke(
        app, ["energy", str(net), "--text", str(text), "--tokens", "100", "--profile", "loihi2",
              "--mode", "both", "--json"],
    )  # fmt: skip
    from spikegpt_neuro.reports.numbers import engineering

    reports = json.loads(done.stdout)["reports"]
    assert len(reports) == 2
    for report in reports:
        joules = engineering(report["energy_joules_per_token"], "J")
        assert f"| loihi2 | {report['mode']} | {joules} |" in card


def test_train_writes_a_folder_and_never_over_another(tmp_path: Path) -> None:
    corpus, folder = tmp_path / "c.txt", tmp_path / "m"
    corpus.write_text(TEXT * 4)
    words = [
        "train", str(corpus), "-o", str(tmp_path / "m.pt"), "--layers", "1", "--width", "8",
        "--steps", "2", "--context", "16", "--batch", "2", "--folder", str(folder),
    ]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "| loihi2 | pipelined |" in (folder / "README.md").read_text()
    stored, read = read_checkpoint(tmp_path / "m.pt"), read_checkpoint(folder)
    for name, value in stored.tensors.items():
        assert torch.equal(read.tensors[name], value)
    before = contents(folder)
    (tmp_path / "m.pt").unlink()
    done = CliRunner().invoke(app, words)
    assert "exists" in str(done.exception)
    assert not (tmp_path / "m.pt").exists()  # refused before the training
    assert contents(folder) == before


def test_nothing_of_anyone_elses_is_replaced(tmp_path: Path) -> None:
    file = write_model(tmp_path / "m.pt")
    folder = tmp_path / "m"
    folder.mkdir()
    save(folder, file)  # an empty folder is free
    with pytest.raises(InputError, match="exists"):
        save(folder, file)
    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    with pytest.raises(InputError, match=r"not of a model folder[\s\S]*notes\.txt"):
        save(folder, file, overwrite=True)
    assert contents(folder) == before
    with pytest.raises(InputError, match="is a file"):
        save(file, file, overwrite=True)
    with pytest.raises(InputError, match="does not exist"):
        save(tmp_path / "nowhere" / "m", file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m.pt"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_is_replaced_whole_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    if not at_once:  # as on systems that cannot exchange two folders
        monkeypatch.setattr(atomic, "_exchanged_at_once", lambda new, old: False)
    file, folder = write_model(tmp_path / "m.pt"), tmp_path / "m"
    save(folder, file)
    before = contents(folder)
    with pytest.raises(InputError, match="calibration text has 1 tokens"):
        save(folder, file, text="t", overwrite=True)
    assert contents(folder) == before
    other = write_model(tmp_path / "n.pt", layout="rwkv")
    save(folder, other, overwrite=True)
    assert read_checkpoint(folder).configuration["layout"] == "rwkv"
    link = tmp_path / "link"
    link.symlink_to(folder)
    save(link, file, overwrite=True)
    assert link.is_symlink()
    assert contents(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "m", "m.pt", "n.pt"]


def test_a_failed_exchange_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = write_model(tmp_path / "m.pt"), tmp_path / "m"
    save(folder, file)
    before = contents(folder)
    monkeypatch.setattr(atomic, "_exchanged_at_once", lambda new, old: False)
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if Path(source).name.endswith(".partial"):
            raise OSError("disk full")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="disk full"):
        save(folder, file, overwrite=True)
    assert contents(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m.pt"]


def test_a_killed_write_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text("old")
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from spikegpt_neuro.network.atomic import replaced_folder\n"
        f"folder, known = Path({str(folder)!r}), ['config.json']\n"
        "with replaced_folder(folder, known=known, overwrite=True) as p:\n"
        "    (p / 'config.json').write_text('new')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert contents(folder) == {"config.json": b"old"}
    with atomic.replaced_folder(folder, known=["config.json"], overwrite=True) as made:
        assert not list(made.iterdir())
        (made / "config.json").write_text("new")
    assert contents(folder) == {"config.json": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 2}, "format_version is 2"),
        ({"spikegpt": []}, "spikegpt is list, must be an object"),
        ({"spikegpt": {"layout": "upstream", "depth": 3}}, "unknown key 'depth'"),
        ({"quantisation": 3}, "quantisation is int, must be an object"),
        ({"spikegpt": {"layout": "upstream", "n_layer": 3, "n_embd": 16, "vocab_size": 9}},
         "the configuration says n_layer = 3, the tensors 2"),
    ],
)  # fmt: skip
def test_a_damaged_description_is_named(tmp_path: Path, change: Any, said: str) -> None:
    folder = save(tmp_path / "m", write_model(tmp_path / "m.pt"))
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(InputError) as error:
        read_checkpoint(folder)
    assert said in str(error.value)


def test_vocabularies_come_back_and_tokenizers_agree(tmp_path: Path) -> None:
    characters = CharacterVocabulary(CHARACTERS)
    tokenizer = Tokenizer.from_str(character_tokenizer(characters))
    text = "".join(CHARACTERS) + TEXT
    assert tokenizer.encode(text).ids == characters.encode(text).tolist()
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    with pytest.raises(Exception, match="UNK"):  # as Vocabulary.encode, it refuses
        tokenizer.encode("Ω")
    folder = save(tmp_path / "bytes", write_model(tmp_path / "b.pt", byte_tokenizer()))
    read = read_vocabulary(folder)
    assert read.text == byte_tokenizer()
    assert read.decode(read.encode("é\n")) == "é\n"
    assert not (folder / "vocab.json").exists()
