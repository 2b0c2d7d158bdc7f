"""Weights of few bits in training: what is trained is what is deployed, integer for integer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.converters.export_report import ExportOptions
from spikegpt_neuro.converters.trained_weights import TrainedWeights, tensor_of, to_integers
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.training.data import token_tensor
from spikegpt_neuro.training.few_bits import FewBits
from spikegpt_neuro.training.loop import Trainer
from spikegpt_neuro.training.optimiser import Rates
from spikegpt_neuro.training.settings import TrainingSettings

VOCABULARY, CONTEXT = 11, 24
TEXT = token_tensor(
    np.random.default_rng(3).integers(0, VOCABULARY, 2000) * 3 % VOCABULARY,
    VOCABULARY, CONTEXT, "text",
)  # fmt: skip
LAYOUTS: list[dict[str, Any]] = [
    {"layout": "upstream", "ffn_pre": True},
    {"layout": "spike-driven", "levels_head": 3, "embedding": "real"},
    {"layout": "spike-driven", "branches": "parallel"},
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(choices: dict[str, Any]) -> SpikeGPT:
    torch.manual_seed(1)
    model = SpikeGPT(SpikeGPTConfiguration(n_layer=2, n_embd=16, vocab_size=VOCABULARY, **choices))
    initialise(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


SETTINGS = TrainingSettings(
    steps=6, batch=2, context=CONTEXT, dropout=0.0, integer_steps=4, save_every=1, weight_bits=2,
    pruned=0.3, step_rate=1e-2, rates=Rates(adam=1e-2),
)  # fmt: skip


def trainer(folder: Path, model: SpikeGPT, chosen: TrainingSettings = SETTINGS) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(model, chosen, TEXT, TEXT[:200], folder / "model.pt", "{}")


@pytest.mark.parametrize("choices", LAYOUTS)
def test_what_is_trained_is_what_is_deployed(choices: dict[str, Any], tmp_path: Path) -> None:
    run = trainer(tmp_path, make(choices))
    last = run.run()
    assert run.few_bits is not None
    changed = [bool(change.abs().max() > 1e-4) for change in run.few_bits.changes.values()]
    assert sum(changed) > len(changed) // 2  # the steps were learned
    export_checkpoint(tmp_path / "model.pt", tmp_path / "model.net")
    network = read_network(tmp_path / "model.net")
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    assert {layer.weight_bits for layer in dense} == {2}
    assert {tensor_of(layer.name) for layer in dense} == set(run.few_bits.base)
    for layer in dense:
        kept = run.few_bits.masks[tensor_of(layer.name)].numpy()
        assert (~kept).sum() == round(0.3 * kept.size)
        assert not np.asarray(layer.weight)[~kept].any()
    # the evaluation judged that network
    bits = []
    with EmulatorSession(network) as session:
        for row in TEXT[:192].view(8, CONTEXT).tolist():
            session.reset()
            bits.append(session.score(row))
    targets = TEXT[1:193].view(8, CONTEXT)
    found = [
        torch.nn.functional.cross_entropy(
            torch.from_numpy(logits).double() * network.logit_scale, target
        ).item()
        for logits, target in zip(bits, targets, strict=True)
    ]
    assert last.evaluation is not None
    assert last.evaluation.bits_per_character == pytest.approx(np.mean(found) / np.log(2), rel=1e-6)
    with pytest.raises(InputError, match="trained with 2"):
        export_checkpoint(
            tmp_path / "model.pt", tmp_path / "model.net", options=ExportOptions(weight_bits=4)
        )


def test_the_forward_pass_rounds_as_the_export_does() -> None:
    rng = np.random.default_rng(0)
    model = make(LAYOUTS[0])
    names = ("head.weight", "blocks.1.att.key.weight")
    parameters = dict(model.named_parameters())
    base = {
        n: torch.from_numpy(rng.uniform(0.05, 0.5, len(parameters[n])).astype(np.float32))
        for n in names
    }
    masks = {n: torch.ones_like(parameters[n], dtype=torch.bool) for n in names}
    few = FewBits(3, base, masks)
    trained = few.trained()
    for name, weight in few.weights(model).items():
        integers = to_integers(parameters[name].detach().numpy(), trained.scales[name], 3)
        expected = integers.astype(np.float32) * trained.scales[name][:, None]
        assert np.array_equal(weight.detach().numpy(), expected)


def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", make(LAYOUTS[0]))
    whole.run()
    begun = trainer(tmp_path / "begun", make(LAYOUTS[0]))

    def stop(progress: Any) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begun.run(stop)
    resumed = trainer(tmp_path / "begun", make(LAYOUTS[0]))
    resumed.resume()
    resumed.run()
    one, other = (torch.load(tmp_path / f / "model.pt") for f in ("whole", "begun"))
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name
    for name, value in one["quantisation"]["weights"]["scales"].items():
        assert torch.equal(value, other["quantisation"]["weights"]["scales"][name]), name


def test_training_repairs_what_ternary_weights_lose(tmp_path: Path) -> None:
    text = token_tensor(np.arange(3000) * 3 % VOCABULARY, VOCABULARY, CONTEXT, "text")
    found = []
    for steps in (1, 60):
        torch.manual_seed(1)
        model = SpikeGPT(SpikeGPTConfiguration("upstream", 2, 16, VOCABULARY))
        initialise(model)
        chosen = dataclasses.replace(
            SETTINGS, steps=100 + steps, batch=4, integer_steps=steps, pruned=0.0, save_every=500
        )
        last = Trainer(model, chosen, text, text[:500], tmp_path / "m.pt", "{}").run()
        assert last.evaluation is not None
        found.append(last.evaluation.bits_per_character)
    assert found[1] < 0.7 * found[0]


def test_what_is_refused() -> None:
    for wrong, said in (
        ({"weight_bits": 1}, "weight_bits is 1"), ({"pruned": 1.0}, "below 1"),
        ({"integer_steps": 0}, "of integer_steps"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            dataclasses.replace(SETTINGS, **wrong)
    scales = {"head.weight": torch.tensor([1.0, -1.0])}
    for values in ({"bits": 9, "scales": {}}, {"bits": 2, "scales": scales}, {"bits": 2}, 3):
        with pytest.raises(InputError, match="cannot be used"):
            TrainedWeights.from_dict(values)
