"""The class in transformers: the same bits as our model, generation, training, and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from spikegpt_neuro.converters.checkpoint import read_checkpoint
from spikegpt_neuro.converters.export import float_model
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hugging_face import SpikeGPTConfig, SpikeGPTForCausalLM, save
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.training import checkpoint
from spikegpt_neuro.vocabulary import CharacterVocabulary

CHARACTERS = "abcdefgh \n"
LAYOUTS: dict[str, dict[str, Any]] = {
    "upstream": {"layout": "upstream", "ffn_pre": True, "rescale_every": 1},
    "rwkv": {"layout": "rwkv", "embedding": "real"},
    "spike-driven": {"layout": "spike-driven", "decay_4096": 2048, "levels_head": 2},
    "parallel": {"layout": "spike-driven", "branches": "parallel", "norm": "batch"},
}


def write_model(path: Path, **options: Any) -> Path:
    torch.manual_seed(7)
    sizes = {"n_layer": 2, "n_embd": 16, "vocab_size": len(CHARACTERS)}
    model = SpikeGPT(SpikeGPTConfiguration(**{**sizes, **options}))
    initialise(model)
    with torch.no_grad():  # zero projections would make every layout the same
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    vocabulary = CharacterVocabulary(list(CHARACTERS)).text
    checkpoint.save(path, checkpoint.model_content(model, vocabulary))
    return path


@pytest.fixture(params=LAYOUTS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save(tmp_path / "m", write_model(tmp_path / "m.pt", **LAYOUTS[request.param]))


@pytest.fixture
def model(folder: Path) -> SpikeGPTForCausalLM:
    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture
def ours(folder: Path) -> SpikeGPT:
    return float_model(read_checkpoint(folder.with_suffix(".pt")))


def tokens(rows: int, length: int) -> Tensor:
    return torch.randint(0, len(CHARACTERS), (rows, length), generator=torch.manual_seed(1))


@torch.inference_mode()
def test_logits_are_ours_bit_for_bit(model: SpikeGPTForCausalLM, ours: SpikeGPT) -> None:
    # the same code runs on the same numbers, so there is no tolerance
    text = tokens(3, 20)
    wanted, _ = ours(text)
    whole = model(text)
    assert type(model) is SpikeGPTForCausalLM
    assert torch.equal(whole.logits, wanted)
    # in the same two pieces: torch's products of other shapes add in another order
    _, between = ours(text[:, :7])
    wanted, after = ours(text[:, 7:], between)
    head = model(text[:, :7])
    rest = model(text[:, 7:], state=head.state, logits_to_keep=2)
    assert torch.equal(rest.logits, wanted[:, -2:])
    assert rest.state.get_seq_length() == 20
    assert rest.state.tensors.keys() == after.keys()
    for name, value in after.items():
        assert torch.equal(rest.state.tensors[name], value)


@torch.inference_mode()
def greedy(model: SpikeGPT, prompt: Tensor, count: int) -> list[int]:
    logits, state = model(prompt[None])
    found = []
    for _ in range(count):
        found.append(int(logits[0, -1].argmax()))
        logits, state = model(torch.tensor([[found[-1]]]), state)
    return found


def test_generation_is_ours(model: SpikeGPTForCausalLM, ours: SpikeGPT) -> None:
    prompts = tokens(2, 6)
    options = {"max_new_tokens": 12, "do_sample": False}
    found = model.generate(prompts, **options)
    assert found[:, 6:].tolist() == [greedy(ours, row, 12) for row in prompts]
    # the state stands for the text before: without it the same tokens
    assert torch.equal(model.generate(prompts, use_cache=False, **options), found)
    # beams change places, and their states with them
    beams = model.generate(prompts, num_beams=3, **options)
    assert torch.equal(model.generate(prompts, num_beams=3, use_cache=False, **options), beams)


def test_padding_is_not_read(model: SpikeGPTForCausalLM, ours: SpikeGPT) -> None:
    rows = [tokens(1, 9)[0], tokens(1, 4)[0]]
    padded = torch.stack([rows[0], torch.cat((torch.zeros(5, dtype=torch.int64), rows[1]))])
    mask = torch.ones_like(padded)
    mask[1, :5] = 0
    found = model.generate(
        padded, attention_mask=mask, max_new_tokens=8, do_sample=False, pad_token_id=0
    )
    assert found[:, 9:].tolist() == [greedy(ours, row, 8) for row in rows]
    with torch.inference_mode():
        behind = model(padded.flip(1), attention_mask=mask.flip(1))
        wanted, _ = ours(rows[1].flip(0)[None])
    assert torch.equal(behind.logits[1, :4], wanted[0])
    with pytest.raises(InputError, match="row 1 of the batch is padding only"):
        model(padded, attention_mask=mask * torch.tensor([[1], [0]]))


def test_what_transformers_saves_is_read_everywhere(
    model: SpikeGPTForCausalLM, folder: Path, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "again")
    first, second = read_checkpoint(folder), read_checkpoint(tmp_path / "again")
    assert first.configuration == second.configuration
    assert (
        load_file(folder / "model.safetensors").keys()
        == load_file(tmp_path / "again" / "model.safetensors").keys()
    )
    for name, value in first.tensors.items():
        assert torch.equal(second.tensors[name], value)


def test_the_tokenizer_of_the_folder(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = tokenizer("bad cafe\n")["input_ids"]
    assert found == CharacterVocabulary(list(CHARACTERS)).encode("bad cafe\n").tolist()
    assert tokenizer.decode(found) == "bad cafe\n"


@pytest.mark.parametrize("folder", ["upstream", "parallel"], indirect=True)
def test_trainer_fits_and_what_it_writes_is_read(folder: Path, tmp_path: Path) -> None:
    text = torch.tensor([CHARACTERS.index(c) for c in "abc def gh\nabc " * 40])
    windows = [{"input_ids": w, "labels": w} for w in text.unfold(0, 24, 8)]
    model = AutoModelForCausalLM.from_pretrained(folder)
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "runs"), max_steps=30, per_device_train_batch_size=8,
        learning_rate=3e-3, logging_steps=5, save_strategy="no", report_to=[], use_cpu=True,
        disable_tqdm=True, seed=3,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=windows, eval_dataset=windows[:8])
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    assert after < 0.8 * before
    trainer.save_model(str(tmp_path / "fitted"))
    fitted = float_model(read_checkpoint(tmp_path / "fitted"))
    batch = torch.stack([w["input_ids"] for w in windows[:8]])
    with torch.inference_mode():
        logits, _ = fitted(batch[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    assert float(loss) == pytest.approx(after, rel=1e-5)  # sums in another order


def test_a_new_model_starts_as_ours() -> None:
    configuration = SpikeGPTConfiguration("upstream", 1, 8, 10)
    torch.manual_seed(4)
    model = SpikeGPTForCausalLM(SpikeGPTConfig(spikegpt=configuration.to_dict()))
    torch.manual_seed(4)
    ours = SpikeGPT(configuration)
    initialise(ours)
    for name, value in ours.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], value)


def test_weights_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", write_model(tmp_path / "m.pt", layout="upstream"))
    weights = load_file(folder / "model.safetensors")
    weights["model.extra"] = weights.pop("model.head.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError) as error:
        AutoModelForCausalLM.from_pretrained(folder)
    assert "model.head.weight: missing" in str(error.value)
    assert "model.extra: unexpected" in str(error.value)


def test_classifiers_and_empty_configurations_are_refused(tmp_path: Path) -> None:
    file = write_model(tmp_path / "m.pt", layout="upstream", labels=("no", "yes"))
    with pytest.raises(InputError, match="classifier of 2 classes"):
        AutoModelForCausalLM.from_pretrained(save(tmp_path / "m", file))
    with pytest.raises(InputError, match="says nothing of a model"):
        SpikeGPTForCausalLM(SpikeGPTConfig())


def test_without_transformers_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['transformers'] = None\n"
        "from spikegpt_neuro.errors import Unavailable\n"
        "try:\n"
        "    import spikegpt_neuro.hugging_face\n"
        "except Unavailable as error:\n"
        "    print(error)\n"
        "from spikegpt_neuro.publishing import save\n"
        f"print(save({str(tmp_path / 'm')!r}, sys.argv[1]))\n"
    )
    file = write_model(tmp_path / "m.pt", layout="rwkv")
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
    )
    assert "pip install 'spikegpt-neuro[transformers]'" in done.stdout
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"]
