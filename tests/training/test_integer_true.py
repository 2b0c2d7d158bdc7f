"""Integer-true training: what the forward pass computes is what the export deploys."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.converters.export_report import ExportOptions
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.training import checkpoint
from spikegpt_neuro.training.data import token_tensor
from spikegpt_neuro.training.evaluation import evaluate
from spikegpt_neuro.training.loop import Progress, Trainer
from spikegpt_neuro.training.optimiser import Rates
from spikegpt_neuro.training.settings import TrainingSettings

VOCABULARY, CONTEXT = 11, 24
TEXT = token_tensor(
    np.random.default_rng(3).integers(0, VOCABULARY, 2000) * 3 % VOCABULARY,
    VOCABULARY, CONTEXT, "text",
)  # fmt: skip
LAYOUTS: list[dict[str, Any]] = [
    {"layout": "spike-driven"},
    {"layout": "spike-driven", "norm": "batch", "levels_head": 3, "decay_4096": 2048,
     "embedding": "real"},
    {"layout": "spike-driven", "levels_input": 1, "levels_product": 1, "levels_hidden": 1,
     "soft_reset": False, "decay_4096": 3000},
    {"layout": "spike-driven", "branches": "parallel", "levels_input": 15, "levels_product": 7},
    {"layout": "rwkv", "embedding": "real"},
    {"layout": "upstream"},
    {"layout": "upstream", "ffn_pre": True, "rescale_every": 1, "embedding": "real"},
]  # fmt: skip


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
    with torch.no_grad():  # move everything off its initial value: many of those are 0
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def settings(**choices: Any) -> TrainingSettings:
    base = TrainingSettings(
        steps=6, batch=2, context=CONTEXT, dropout=0.2, integer_steps=4, save_every=1,
        rates=Rates(adam=1e-2),
    )  # fmt: skip
    return dataclasses.replace(base, **choices)


def trainer(folder: Path, model: SpikeGPT, chosen: TrainingSettings) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(model, chosen, TEXT, TEXT[:200], folder / "model.pt", "{}")


def deployed(path: Path, tokens: Tensor, trace: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """What the exported network computes for each row of tokens, by layer name."""
    rows = []
    with Emulator().open(read_network(path), trace=trace) as session:
        for row in tokens.tolist():
            session.reset()
            logits = session.score(row)
            rows.append({"logits": logits, **{name: session.trace(name) for name in trace}})
    return rows


@pytest.mark.parametrize("choices", LAYOUTS)
@pytest.mark.parametrize("bits", [None, 5])
def test_training_forward_is_the_exported_network(
    choices: dict[str, Any], bits: int | None, tmp_path: Path
) -> None:
    model = make(choices)
    passes: list[tuple[Tensor, Tensor, dict[str, Tensor] | None]] = []

    def note(_: Any, arguments: tuple[Tensor], options: dict[str, Any], result: Any) -> None:
        if "exact" in options:
            passes.append((arguments[0], result[0].detach(), options["exact"]))

    model.register_forward_hook(note, with_kwargs=True)
    # learning rate 0: the weights that are saved are those the last forward pass had
    run = trainer(tmp_path, model, settings(rates=Rates(adam=0.0), activation_bits=bits))
    last = run.run()
    training = [(tokens, logits, exact) for tokens, logits, exact in passes if len(tokens) == 2]
    assert [exact is not None for *_, exact in training[:6]] == [False] * 2 + [True] * 4
    tokens, logits, exact = training[5]
    assert exact is not None

    export_checkpoint(tmp_path / "model.pt", tmp_path / "model.net")
    network = read_network(tmp_path / "model.net")
    assert network.info.quantisation["activation_bits"] == bits
    names = tuple(layer.name for layer in network.layers if layer.name in exact)
    assert {layer.kind for layer in network.layers if layer.name not in exact} == {"delay"}
    for i, row in enumerate(deployed(tmp_path / "model.net", tokens, names)):
        assert torch.equal(logits[i] / network.logit_scale, torch.from_numpy(row["logits"]).float())
        for name in names:
            unit = network[name].output.scale
            if unit:  # rounding only undoes float32's representation of units that are not 2**-n
                found = np.rint(exact[name][i].double().numpy() / unit)
                assert np.array_equal(found, row[name]), name
    for name in names:
        if name.endswith(".receptance"):  # accumulators have a unit a row: the gate tells it
            gate = exact[name.replace("receptance", "gate")]
            assert (torch.sigmoid(exact[name].clamp(-8, 8)) - gate).abs().max() < 1e-3
    firing = [bool(exact[name].any()) for name in network.spiking_layers]
    assert sum(firing) >= len(firing) - 1
    # and the evaluation judged that network
    inputs = TEXT[:192].view(8, CONTEXT)
    rows = deployed(tmp_path / "model.net", inputs)
    bits_found = [
        torch.nn.functional.cross_entropy(
            torch.from_numpy(row["logits"]).double() * network.logit_scale,
            TEXT[i * CONTEXT + 1 : (i + 1) * CONTEXT + 1],
        ).item()
        for i, row in enumerate(rows)
    ]
    assert last.evaluation is not None
    assert last.evaluation.bits_per_character == pytest.approx(
        np.mean(bits_found) / np.log(2), rel=1e-6
    )


@pytest.mark.parametrize("choices", LAYOUTS)
def test_gradients_are_the_float_models_at_the_values_taken(choices: dict[str, Any]) -> None:
    model = make(choices).double().eval()
    tokens = TEXT[:48].view(2, CONTEXT)
    seen: dict[str, Tensor] = {}
    model(tokens, observe=lambda name, value: seen.__setitem__(name, value.detach()))
    gradients = []
    for exact in (None, seen):
        model.zero_grad()
        logits, _ = model(tokens, exact=exact)
        logits.square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, expected in gradients[0].items():
        assert expected.any(), name
        torch.testing.assert_close(gradients[1][name], expected, msg=name)


def test_trains_what_coarse_integers_break(tmp_path: Path) -> None:
    """2-bit operands: float training leaves the export far behind, the phase repairs it."""
    text = token_tensor(np.arange(3000) * 3 % VOCABULARY, VOCABULARY, CONTEXT, "text")
    found = {}
    for integer_steps in (0, 60):
        torch.manual_seed(1)
        model = SpikeGPT(SpikeGPTConfiguration("upstream", 2, 16, VOCABULARY))
        initialise(model)
        chosen = settings(
            steps=160, batch=4, dropout=0.0, integer_steps=integer_steps, activation_bits=2,
            save_every=500,
        )  # fmt: skip
        path = tmp_path / f"{integer_steps}.pt"
        Trainer(model, chosen, text, None, path, "{}").run()
        calibration = None if integer_steps else text[:500].tolist()
        export_checkpoint(
            path, tmp_path / "model.net", calibration=calibration,
            options=ExportOptions(activation_bits=2),
        )  # fmt: skip
        logits = deployed(tmp_path / "model.net", text[None, :100])[0]["logits"] / 65536
        loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), text[1:101])
        found[integer_steps] = loss.item() / np.log(2)
    assert found[60] < 0.5 * found[0]


@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
def test_integers_from_the_first_step(layout: str, tmp_path: Path) -> None:
    """Many weights then begin as rows of zeros, whose scale means nothing."""
    torch.manual_seed(1)
    model = SpikeGPT(SpikeGPTConfiguration(layout, 2, 16, VOCABULARY))  # type: ignore[arg-type]
    initialise(model)
    assert not model.blocks[0].att.key.weight.any()
    trainer(tmp_path, model, settings(integer_steps=6)).run()
    assert model.blocks[0].att.key.weight.any()


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("at", [1, 4])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, at: int) -> None:
    whole, again = make(LAYOUTS[1]), make(LAYOUTS[1])
    trainer(tmp_path / "whole", whole, settings()).run()

    def interrupt(progress: Progress) -> None:
        if progress.step == at:
            raise Interrupted

    with pytest.raises(Interrupted):
        trainer(tmp_path / "broken", make(LAYOUTS[1]), settings()).run(interrupt)
    resumed = trainer(tmp_path / "broken", again, settings())
    resumed.resume()
    resumed.run()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    a, b = (checkpoint.load(tmp_path / part / "model.pt") for part in ("whole", "broken"))
    assert a["quantisation"] == b["quantisation"]


def test_export_keeps_to_the_trained_integers(tmp_path: Path) -> None:
    trainer(tmp_path, make(LAYOUTS[0]), settings(activation_bits=6)).run()
    path, network = tmp_path / "model.pt", tmp_path / "model.net"
    with pytest.raises(InputError, match="activation bits 7 asked for, trained with 6"):
        export_checkpoint(path, network, options=ExportOptions(activation_bits=7))
    assert not network.exists()
    report = export_checkpoint(path, network, calibration=TEXT.tolist())
    assert any("not used" in note for note in report.notes)
    content = checkpoint.load(path)
    content["quantisation"]["ranges"]["blocks.0.srwkv.norm"] = -1.0
    content["quantisation"]["activation_bits"] = 99
    checkpoint.save(path, content)
    with pytest.raises(InputError) as caught:
        export_checkpoint(path, network)
    assert len(caught.value.problems) == 2
    del content["quantisation"]["ranges"]["blocks.0.srwkv.norm"]
    content["quantisation"]["activation_bits"] = 6
    checkpoint.save(path, content)
    with pytest.raises(InputError, match=r"range of blocks\.0\.srwkv\.norm is not known"):
        export_checkpoint(path, network)


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        settings(integer_steps=7, activation_bits=1, accumulator_bits=40)
    assert len(caught.value.problems) == 3


def test_evaluation_without_integers_is_the_float_models(tmp_path: Path) -> None:
    model = make(LAYOUTS[0])
    run = trainer(tmp_path, model, settings())
    run.run()
    assert run.integers is not None
    as_float = evaluate(model, TEXT[:200], CONTEXT)
    as_integers = evaluate(model, TEXT[:200], CONTEXT, run.integers)
    assert as_float.bits_per_character != as_integers.bits_per_character
