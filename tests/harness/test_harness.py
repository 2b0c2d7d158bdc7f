"""Tasks of lm-evaluation-harness: every backend the same, and the harness's own model agrees."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager, get_task_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

import spikegpt_neuro as sn
from spikegpt_neuro import hugging_face
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.harness import SpikeGPTLM, evaluate
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.training import checkpoint
from spikegpt_neuro.vocabulary import read_vocabulary

ROOT = Path(__file__).parents[2]
KJV = ROOT / "examples" / "kjv-4x192"
TASKS = ROOT / "examples" / "evaluation"
NAMES = ["kjv_endings", "kjv_passages", "kjv_words"]
VERSE = "And he is before all things, and by him all things consist."


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small model's checkpoint, its head trained for a moment, and its export."""
    folder = tmp_path_factory.mktemp("model")
    vocabulary = read_vocabulary(KJV / "kjv-4x192.vocab.json")
    torch.manual_seed(3)
    model = SpikeGPT(SpikeGPTConfiguration("upstream", 1, 16, vocabulary.size))
    initialise(model)
    text = (KJV / "kjv-valid.txt").read_text()[:4000]
    tokens = torch.from_numpy(vocabulary.encode(text)).reshape(16, -1)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        logits, _ = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    checkpoint.save(folder / "m.pt", checkpoint.model_content(model, vocabulary.text))
    (folder / "text.txt").write_text(text)
    sn.export(folder / "m.pt", folder / "m.net", calibration=folder / "text.txt")
    return folder / "m.pt", folder / "m.net"


@pytest.fixture
def integers(files: tuple[Path, Path]) -> Iterator[SpikeGPTLM]:
    model = SpikeGPTLM(files[1])
    yield model
    model.close()


def requests(*arguments: Any) -> list[Any]:
    return [SimpleNamespace(args=given) for given in arguments]


def test_float_integers_and_lava_side_by_side(files: tuple[Path, Path]) -> None:
    results, costs = evaluate(
        files[1], NAMES, ["float", "emulator", "lava"], against=files[0], include=TASKS, limit=2
    )
    assert {(r.task, r.metric) for r in results} == {
        ("kjv_endings", "acc"), ("kjv_endings", "acc_norm"), ("kjv_passages", "bits_per_byte"),
        ("kjv_passages", "byte_perplexity"), ("kjv_words", "exact_match"),
    }  # fmt: skip
    for result in results:
        assert result.samples == 2
        assert result.values["lava"] == result.values["emulator"]
        assert result.integers_agree
    bits = {r.metric: r.values for r in results}["bits_per_byte"]
    assert 2 < bits["float"] < 5
    assert bits["float"] != bits["emulator"] == pytest.approx(bits["float"], abs=0.1)
    assert costs["lava"]["tokens"] == costs["emulator"]["tokens"] > 1000


def test_likelihoods_are_those_of_score(files: tuple[Path, Path], integers: SpikeGPTLM) -> None:
    (rolling,) = integers.loglikelihood_rolling(requests((VERSE,)))
    scoring = sn.score(str(files[1]), "\n" + VERSE)
    assert rolling == pytest.approx(-sum(scoring.window_bits) * math.log(2), rel=1e-14)
    context, rest = VERSE[:20], VERSE[20:]
    whole, behind = integers.loglikelihood(requests(("", VERSE), (context, rest)))
    assert whole[0] == rolling
    first = sn.score(str(files[1]), context)
    both = sn.score(str(files[1]), VERSE)
    wanted = -(sum(both.window_bits) - sum(first.window_bits)) * math.log(2)
    assert behind[0] == pytest.approx(wanted, rel=1e-12)
    # white space at a context's end is its continuation's, and no text costs nothing
    asked = requests((context + " ", "x"), (context, " x"), (context, ""))
    moved, kept, nothing = integers.loglikelihood(asked)
    assert moved == kept
    assert nothing == (0.0, True)


def test_greedy_is_what_would_be_generated(files: tuple[Path, Path], integers: SpikeGPTLM) -> None:
    context = VERSE[:20]
    options = {"until": [], "max_gen_toks": 30}
    (text,) = integers.generate_until(requests((context, options)))
    assert text == sn.generate(str(files[1]), context, 30, temperature=0.0)
    stop = text[10:12]
    (cut,) = integers.generate_until(requests((context, {**options, "until": ["\x00", stop]})))
    assert cut == text[: text.index(stop)]
    wrong = text[:-1] + ("a" if text[-1] != "a" else "b")
    found = integers.loglikelihood(requests((context, text), (context, wrong)))
    assert [greedy for _, greedy in found] == [True, False]
    with pytest.raises(InputError, match="samples"):
        integers.generate_until(requests((context, {"do_sample": True})))


def test_floats_are_those_of_the_harness_s_own_model(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = hugging_face.save(tmp_path / "m", files[0])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token = "\n"
    model = AutoModelForCausalLM.from_pretrained(folder)
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, device="cpu")
    ours = SpikeGPTLM(files[1], "float", files[0])
    # of whole texts that differ: the harness takes pairs of one text for one request
    asked = [(VERSE[:n], VERSE[n:-n]) for n in (5, 9, 20)] + [
        ("the king ", "of Judah"),
        ("", VERSE),
    ]
    wanted = theirs.loglikelihood(
        [SimpleNamespace(args=a, request_type="loglikelihood", doc={}) for a in asked]
    )
    found = ours.loglikelihood(requests(*asked))
    for (value, greedy), (other, other_greedy) in zip(found, wanted, strict=True):
        assert greedy == other_greedy
        assert value == pytest.approx(other, rel=1e-5)  # float32, sums in another order


def test_documents_are_the_held_out_verses() -> None:
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    tasks = get_task_dict(NAMES, manager)
    lines = (KJV / "kjv-test.txt").read_text().splitlines()
    endings = list(tasks["kjv_endings"].test_docs())
    assert len(endings) == 1468
    for document in endings:
        assert len(set(document["choices"])) == 4
        assert f"{document['context']} {document['choices'][document['answer']]}" in lines
    passages = [document["text"] for document in tasks["kjv_passages"].test_docs()]
    assert "\n".join(passages).splitlines() == lines[1:-1]
    words = list(tasks["kjv_words"].test_docs())
    assert len(words) == 964
    whole = {line.rstrip(".,;:?!()'") for line in lines}
    assert all(document["context"] + document["rest"] in whole for document in words)


def test_what_cannot_be_run_is_named(files: tuple[Path, Path]) -> None:
    for options, said in (
        ({"tasks": ["kjv_ending"], "include": TASKS}, "there is no task kjv_ending"),
        ({"tasks": NAMES, "include": files[0]}, "not a folder of tasks"),
        ({"tasks": []}, "at least one task"),
        ({"tasks": NAMES, "backends": ["emulator", "emulator"]}, "named twice"),
        ({"tasks": NAMES, "include": TASKS, "backends": ["float"]}, "of a checkpoint"),
        ({"tasks": NAMES, "include": TASKS, "prefix": ""}, "prefix has no tokens"),
    ):
        with pytest.raises(InputError, match=said):
            evaluate(files[1], **options)
    with pytest.raises(InputError, match=r"no such parameter:[\s\S]*backends"):
        SpikeGPTLM(files[1], backends="lava")


def test_the_command(files: tuple[Path, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spikegpt_neuro.cli.main", "evaluate", files[1],
         "--tasks", "kjv_passages", "--include", TASKS, "--limit", "1", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    value = json.loads(done.stdout)
    assert [row["metric"] for row in value["results"]] == ["byte_perplexity", "bits_per_byte"]
    assert value["integers_agree"]
    assert done.stderr == ""
