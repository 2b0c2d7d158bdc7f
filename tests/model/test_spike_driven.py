"""Spike-driven layout: only spikes enter projections; streaming; causality; folding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise

CHOICES: list[dict[str, Any]] = [
    {},
    {"levels_input": 1, "levels_product": 1, "levels_hidden": 1, "embedding": "real"},
    {"norm": "batch", "levels_head": 3},
    {"decay_4096": 2048, "levels_hidden": 1},
    {"decay_4096": 3000, "soft_reset": False, "levels_head": 1, "norm": "batch"},
    {"branches": "parallel", "levels_input": 15, "levels_product": 7},
    {"branches": "parallel", "norm": "batch", "levels_head": 3, "decay_4096": 2048},
]


def make(choices: dict[str, Any]) -> SpikeGPT:
    torch.manual_seed(5)
    model = SpikeGPT(
        SpikeGPTConfiguration(layout="spike-driven", n_layer=2, n_embd=24, vocab_size=11, **choices)
    )
    initialise(model)
    with torch.no_grad():  # move everything off its initial value, running statistics too
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.train()
    model(torch.randint(0, 11, (4, 32)))
    return model.eval()


def run(model: SpikeGPT, tokens: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    seen: dict[str, Tensor] = {}
    with torch.no_grad():
        logits, _ = model(tokens, observe=seen.__setitem__)
    return logits, seen


TOKENS = torch.randint(0, 11, (2, 40), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("choices", CHOICES)
def test_only_spikes_enter_projections(choices: dict[str, Any]) -> None:
    model = make(choices)
    operands: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(
                lambda _, inputs, name=name: operands.__setitem__(name, inputs[0])
            )
    run(model, TOKENS)
    assert len(operands) == 2 * 7 + 1
    configuration = model.configuration
    for name, operand in operands.items():
        levels = configuration.levels_input
        if name == "head":
            levels = configuration.levels_head
        elif name.endswith("att.output"):
            levels = configuration.levels_product
        elif name.endswith("ffn.value"):
            levels = configuration.levels_hidden
        if levels:
            assert set(operand.unique().tolist()) <= set(range(levels + 1)), name
            assert operand.any(), name


@pytest.mark.parametrize("choices", CHOICES)
@pytest.mark.parametrize("piece", [1, 9])
def test_streaming_equals_the_sequence(choices: dict[str, Any], piece: int) -> None:
    model = make(choices).double()  # float64: no float32 rounding of sums can flip a spike
    whole, _ = run(model, TOKENS)
    state = None
    parts = []
    with torch.no_grad():
        for part in torch.split(TOKENS, piece, 1):
            logits, state = model(part, state)
            parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("choices", CHOICES)
def test_it_is_causal(choices: dict[str, Any]) -> None:
    model = make(choices)
    changed = TOKENS.clone()
    changed[:, 25] = (changed[:, 25] + 1) % 11
    before, _ = run(model, TOKENS)
    after, _ = run(model, changed)
    assert torch.equal(before[:, :25], after[:, :25])
    assert not torch.equal(before[:, 25:], after[:, 25:])


def test_channel_norms_fold_into_gain_and_offset_of_the_lif() -> None:
    model = make({"norm": "batch"}).double()
    _, seen = run(model, TOKENS)
    state = model.state_dict()
    for part, norm in (("srwkv.product", "att.product_norm"), ("srffn.key", "ffn.hidden_norm")):
        lif = "product_lif" if "product" in part else "hidden_lif"
        key = f"blocks.1.{norm}"
        gain = state[f"{key}.weight"] / torch.sqrt(state[f"{key}.running_var"] + 1e-5)
        offset = state[f"{key}.bias"] - gain * state[f"{key}.running_mean"]
        potential = seen[f"blocks.1.{part}"] * gain + offset
        name = f"blocks.1.{part.split('.')[0]}.{lif}"
        assert torch.equal(potential.floor().clamp(0, 3), seen[name])


def test_hard_shift_chooses_one_of_two_spikes() -> None:
    model = make({})
    _, seen = run(model, TOKENS)
    mix = model.state_dict()["blocks.0.ffn.time_mix_k"].view(-1)
    now, before = seen["blocks.0.srffn.lif"], seen["blocks.0.srffn.previous"]
    assert torch.equal(before[:, 1:], now[:, :-1])
    assert not before[:, 0].any()
    assert torch.equal(seen["blocks.0.srffn.shift_key"], torch.where(mix > 0.5, now, before))


def test_gradients_reach_every_parameter() -> None:
    model = make({"levels_head": 2, "norm": "batch"}).train()
    logits, _ = model(TOKENS)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_configuration_reports_every_problem() -> None:
    with pytest.raises(InputError) as caught:
        SpikeGPTConfiguration(
            layout="spike-driven", n_layer=0, n_embd=8, vocab_size=3, decay_4096=5000,
            levels_input=0, ffn_pre=True,
        )  # fmt: skip
    assert len(caught.value.problems) == 4
    good = SpikeGPTConfiguration(layout="upstream", n_layer=1, n_embd=8, vocab_size=3)
    assert SpikeGPTConfiguration.from_dict(good.to_dict()) == good
    with pytest.raises(InputError, match="unknown key 'depth'"):
        SpikeGPTConfiguration.from_dict({**good.to_dict(), "depth": 3})
