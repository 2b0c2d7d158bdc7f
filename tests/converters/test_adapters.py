"""LoRA adapters: merged as the layers compute, or refused with what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from spikegpt_neuro.cli.main import main
from spikegpt_neuro.converters.checkpoint import read_checkpoint
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT

RANK, ALPHA = 4, 12
LAYERS = ("blocks.0.att.key", "blocks.1.ffn.value", "blocks.1.ffn.receptance", "head")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return SpikeGPT(SpikeGPTConfiguration("upstream", 2, 32, 20)).state_dict()


@pytest.fixture(scope="module")
def parts(state: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    shapes = {layer: state[f"{layer}.weight"].shape for layer in LAYERS}
    return {n: (torch.randn(RANK, m), torch.randn(k, RANK)) for n, (k, m) in shapes.items()}


class Adapted(nn.Module):
    """A layer as PEFT runs it."""

    def __init__(self, weight: Tensor, a: Tensor, b: Tensor, scale: float) -> None:
        super().__init__()
        self.weight, self.a, self.b, self.scale = weight, a, b, scale

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.scale * (x @ self.a.T) @ self.b.T


def assert_merged(
    found: Any, state: dict[str, Tensor], parts: dict[str, tuple[Tensor, Tensor]], scale: float
) -> None:
    assert any("LoRA adapters of 4 layers merged" in note for note in found.notes)
    assert set(found.tensors) == set(state)
    for layer, (a, b) in parts.items():
        weight = state[f"{layer}.weight"]
        x = torch.randn(5, weight.shape[1])
        expected = Adapted(weight, a, b, scale)(x)
        torch.testing.assert_close(
            x @ found.tensors[f"{layer}.weight"].T, expected, atol=1e-3, rtol=1e-4
        )
    for name in set(state) - {f"{layer}.weight" for layer in parts}:
        assert torch.equal(found.tensors[name].reshape(state[name].shape), state[name])


def write_adapter(
    folder: Path, parts: dict[str, tuple[Tensor, Tensor]], **configuration: Any
) -> Path:
    """As ``PeftModel.save_pretrained`` writes it."""
    folder.mkdir()
    tensors = {}
    for layer, (a, b) in parts.items():
        tensors[f"base_model.model.{layer}.lora_A.weight"] = a
        tensors[f"base_model.model.{layer}.lora_B.weight"] = b
    save_file(tensors, folder / "adapter_model.safetensors")
    values = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "fan_in_fan_out": False}
    (folder / "adapter_config.json").write_text(json.dumps({**values, **configuration}))
    return folder


def test_an_adapter_beside_its_base(state: Any, parts: Any, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "base.pth")
    folder = write_adapter(tmp_path / "adapter", parts)
    found = read_checkpoint(tmp_path / "base.pth", adapter=folder)
    assert_merged(found, state, parts, ALPHA / RANK)
    assert found.sha256 != read_checkpoint(tmp_path / "base.pth").sha256
    with pytest.raises(InputError, match=r"without the weights they adapt.*\n.*--adapter"):
        read_checkpoint(folder)


def test_a_base_that_the_adapter_names(state: Any, parts: Any, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "base.pth")
    folder = write_adapter(
        tmp_path / "adapter", parts, base_model_name_or_path="../base.pth", use_rslora=True
    )
    assert_merged(read_checkpoint(folder), state, parts, ALPHA / RANK**0.5)


def test_alphas_of_single_layers(state: Any, parts: Any, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "base.pth")
    folder = write_adapter(tmp_path / "adapter", parts, alpha_pattern={"att.key": 100})
    found = read_checkpoint(tmp_path / "base.pth", adapter=folder)
    a, b = parts["blocks.0.att.key"]
    name = "blocks.0.att.key.weight"
    torch.testing.assert_close(found.tensors[name], state[name] + 25 * b @ a)
    a, b = parts["head"]
    torch.testing.assert_close(found.tensors["head.weight"], state["head.weight"] + 3 * b @ a)


def test_peft_s_wrapped_model(state: Any, parts: Any, tmp_path: Path) -> None:
    """``model.state_dict()`` of a model that PEFT wrapped, a trained layer beside it."""
    wrapped = {}
    for name, value in state.items():
        layer = name.removesuffix(".weight")
        kept = f"{layer}.base_layer.weight" if layer in parts else name
        wrapped[f"base_model.model.{kept}"] = value
    for layer, (a, b) in parts.items():
        wrapped[f"base_model.model.{layer}.lora_A.default.weight"] = a
        wrapped[f"base_model.model.{layer}.lora_B.default.weight"] = b
    trained = state["ln_out.weight"] + 1
    wrapped["base_model.model.ln_out.original_module.weight"] = wrapped.pop(
        "base_model.model.ln_out.weight"
    )
    wrapped["base_model.model.ln_out.modules_to_save.default.weight"] = trained
    torch.save(wrapped, tmp_path / "m.pth")
    found = read_checkpoint(tmp_path / "m.pth", lora_alpha=ALPHA)
    assert_merged(found, {**state, "ln_out.weight": trained}, parts, ALPHA / RANK)


def test_loralib_s_names(state: Any, parts: Any, tmp_path: Path) -> None:
    beside = {
        f"{layer}.lora_{s}": part
        for layer in parts
        for s, part in zip("AB", parts[layer], strict=True)
    }
    torch.save({**state, **beside}, tmp_path / "m.pth")
    assert_merged(read_checkpoint(tmp_path / "m.pth", lora_alpha=8), state, parts, 8 / RANK)
    with pytest.raises(
        InputError, match=r"alpha, by which 4 products.*\n.*--lora-alpha.*SpikeLoRA"
    ):
        read_checkpoint(tmp_path / "m.pth")
    untrained = {n: torch.zeros_like(v) if n.endswith("B") else v for n, v in beside.items()}
    torch.save({**state, **untrained}, tmp_path / "m.pth")
    found = read_checkpoint(tmp_path / "m.pth")
    assert torch.equal(found.tensors["head.weight"], state["head.weight"])


def test_an_adapted_embedding(state: Any, tmp_path: Path) -> None:
    a, b = torch.randn(RANK, 20), torch.randn(32, RANK)
    beside = {"emb.lora_embedding_A": a, "emb.lora_embedding_B": b}
    torch.save({**state, **beside}, tmp_path / "m.pth")
    found = read_checkpoint(tmp_path / "m.pth", lora_alpha=RANK)
    torch.testing.assert_close(found.tensors["emb.weight"], state["emb.weight"] + (b @ a).T)


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"head.lora_A": torch.zeros(4, 32)}, r"head\.lora_B: missing"),
        ({"tail.lora_A": torch.zeros(4, 32), "tail.lora_B": torch.zeros(20, 4)}, r"tail\.weight"),
        ({"head.lora_A": torch.zeros(4, 31), "head.lora_B": torch.zeros(20, 4)}, "do not fit"),
        ({"head.lora_A": torch.zeros(4), "head.lora_B": torch.zeros(20, 4)}, "do not fit"),
        ({"head.lora_magnitude_vector": torch.zeros(20)}, "no part of a plain LoRA"),
        (
            {f"head.lora_{s}.{n}.weight": torch.zeros(*shape) for n in ("one", "two")
             for s, shape in (("A", (4, 32)), ("B", (20, 4)))},
            "2 adapters: one, two",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    extra: dict[str, Tensor], named: str, state: Any, tmp_path: Path
) -> None:
    torch.save({**state, **extra}, tmp_path / "m.pth")
    with pytest.raises(InputError, match=named):
        read_checkpoint(tmp_path / "m.pth", lora_alpha=1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("peft_type", "IA3"), ("use_dora", True), ("lora_alpha", "big"), ("alpha_pattern", [1]),
        ("init_lora_weights", "pissa_niter_4"), ("init_lora_weights", ["olora"]),
        ("use_qalora", True), ("layer_replication", [[0, 1]]),
        ("alora_invocation_tokens", [1, 2]),
    ],
)  # fmt: skip
def test_other_adapters_are_named(
    key: str, value: Any, state: Any, parts: Any, tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "base.pth")
    folder = write_adapter(tmp_path / "adapter", parts, **{key: value})
    with pytest.raises(InputError, match=f"{key} is"):
        read_checkpoint(tmp_path / "base.pth", adapter=folder)


def test_an_adapter_is_exported(
    state: Any, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    torch.save(state, tmp_path / "base.pth")
    write_adapter(tmp_path / "adapter", parts)
    monkeypatch.chdir(tmp_path)
    arguments = ["export", "base.pth", "out.net", "--adapter", "adapter"]
    monkeypatch.setattr("sys.argv", ["spikegpt-neuro", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "LoRA adapters of 4 layers merged" in capsys.readouterr().out
