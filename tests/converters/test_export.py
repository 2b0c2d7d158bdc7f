"""Exported networks against their float models, over architectures, layouts and file kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.comparison.float_comparison import with_rounded_weights
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.converters.export_report import ExportOptions
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.blocks import ChannelNorm
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.network.file import read_network

TOKENS = 192


def lively_model(configuration: SpikeGPTConfiguration) -> SpikeGPT:
    """A random model in which every LIF fires and every norm, mix and decay matters."""
    torch.manual_seed(7)
    model = SpikeGPT(configuration)
    initialise(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and name != "emb.weight":
                into_neurons = name.endswith(("output.weight", "value.weight"))
                parameter.normal_(std=(3.0 if into_neurons else 1.2) * parameter.shape[1] ** -0.5)
            elif name.endswith(".bias"):
                parameter.normal_(std=0.1)
            elif ".ln" in name or name.startswith("ln_out"):
                parameter.mul_(1 + 0.2 * torch.rand_like(parameter))
        model.head.weight.mul_(2)
        model.emb.weight.normal_()
        for module in model.modules():
            if isinstance(module, ChannelNorm):
                module.running_var.uniform_(0.5, 1.5)
                module.running_mean.normal_(std=0.1)
    return model.eval()


def save(model: SpikeGPT, path: Path) -> Path:
    """As upstream saves the released layout; with a configuration otherwise."""
    if model.configuration.layout == "upstream":
        torch.save(model.state_dict(), path)
    else:
        torch.save(
            {
                "format": "spikegpt-neuro",
                "configuration": model.configuration.to_dict(),
                "state_dict": model.state_dict(),
            },
            path,
        )
    return path


CONFIGURATIONS = {
    "two layers": {"n_layer": 2, "n_embd": 48, "vocab_size": 31},
    "six layers, ffnPre": {"n_layer": 6, "n_embd": 64, "vocab_size": 100, "ffn_pre": True},
    "one layer, odd width": {"n_layer": 1, "n_embd": 77, "vocab_size": 257},
    "hidden size not four times": {"n_layer": 2, "n_embd": 40, "vocab_size": 20, "hidden_size": 96},
    "real embedding": {"n_layer": 2, "n_embd": 64, "vocab_size": 50, "embedding": "real"},
    "rescaled": {"n_layer": 4, "n_embd": 48, "vocab_size": 31, "rescale_every": 2},
}
RWKV = {
    "two layers": {"n_layer": 2, "n_embd": 48, "vocab_size": 31, "embedding": "real"},
    "ffnPre, rescaled": {
        "n_layer": 4,
        "n_embd": 32,
        "vocab_size": 31,
        "ffn_pre": True,
        "rescale_every": 2,
        "embedding": "real",
    },
}
SPIKE_DRIVEN = {
    "graded, memoryless": {},
    "binary, leaky, hard reset": {
        "levels_input": 1, "levels_product": 1, "levels_hidden": 1, "decay_4096": 3686,
        "soft_reset": False,
    },
    "graded, leaky, soft reset": {"decay_4096": 2048, "levels_hidden": 1},
    "batch norm, spiking head": {"norm": "batch", "levels_head": 3},
    "parallel, many levels": {
        "branches": "parallel", "levels_input": 15, "levels_product": 15, "levels_hidden": 15,
    },
}  # fmt: skip


def cases() -> list[object]:
    upstream = [
        pytest.param(SpikeGPTConfiguration(layout="upstream", **values), id=name)  # type: ignore[arg-type]
        for name, values in CONFIGURATIONS.items()
    ]
    rwkv = [
        pytest.param(SpikeGPTConfiguration("rwkv", **values), id=f"rwkv, {name}")  # type: ignore[arg-type]
        for name, values in RWKV.items()
    ]
    spike_driven = [
        pytest.param(
            SpikeGPTConfiguration("spike-driven", 2, 64, 40, **values),  # type: ignore[arg-type]
            id=f"spike-driven, {name}",
        )
        for name, values in SPIKE_DRIVEN.items()
    ]
    return [*upstream, *rwkv, *spike_driven]


@pytest.mark.parametrize("configuration", cases())
def test_exported_network_follows_the_float_model(
    configuration: SpikeGPTConfiguration, tmp_path: Path
) -> None:
    model = lively_model(configuration)
    tokens = np.random.default_rng(1).integers(0, configuration.vocab_size, TOKENS)
    options = ExportOptions(
        embedding=configuration.embedding, rescale_every=configuration.rescale_every,
        layout=configuration.layout,
    )  # fmt: skip
    report = export_checkpoint(
        save(model, tmp_path / "model.pth"), tmp_path / "model.net",
        calibration=tokens.tolist(), options=options,
    )  # fmt: skip
    network = read_network(tmp_path / "model.net")
    assert report.layers == len(network.layers)
    assert network.info.n_layer == configuration.n_layer
    expected = observed(model, tokens)
    rounded = observed(with_rounded_weights(model), tokens)
    traced = network.spiking_layers
    with Emulator().open(network, trace=traced) as session:
        logits = session.score(tokens) * network.logit_scale
        spikes = {name: session.trace(name) for name in traced}
        assert session.counters.total("overflows") == 0
    # A random deep network is chaotic: one flipped spike spreads. The yardstick is therefore the
    # float model with its weights rounded to the same int8 rows. Integer activations may cost as
    # much again (factor 2) plus 2 % (few channels, few tokens); a wrong equation anywhere flips
    # about as many spikes as there are (10-50 %) from that layer on.
    for name in traced:
        assert (expected[name] != 0).mean() > 0.01, name
        flipped = (spikes[name] != expected[name]).mean()
        assert flipped <= 2 * (rounded[name] != expected[name]).mean() + 0.02, name
    spread = expected["head.projection"].std()
    error = root_mean_square(logits - expected["head.projection"])
    yardstick = root_mean_square(rounded["head.projection"] - expected["head.projection"])
    assert error <= 2 * yardstick + 0.1 * spread


def observed(model: SpikeGPT, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Everything the float model computes for ``tokens``, [T, size] by layer name."""
    seen: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        model(
            torch.from_numpy(tokens)[None], None,
            lambda name, values: seen.__setitem__(name, values[0].numpy().copy()),
        )  # fmt: skip
    return seen


def root_mean_square(values: np.ndarray) -> float:
    """Of all elements."""
    return float(np.sqrt((values.astype(np.float64) ** 2).mean()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_wrapped_checkpoints_export(dtype: torch.dtype, tmp_path: Path) -> None:
    model = lively_model(SpikeGPTConfiguration("upstream", 2, 48, 31))
    state = {f"module.{name}": value.to(dtype) for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "model.pt")
    report = export_checkpoint(tmp_path / "model.pt", tmp_path / "model.net")
    assert read_network(tmp_path / "model.net").info.vocabulary_size == 31
    assert any("random tokens" in note for note in report.notes)
    assert any("assumed binary" in note for note in report.notes)


def test_embedding_is_found_from_the_calibration_text(tmp_path: Path) -> None:
    # a model that predicts its own samples: the text tells which embedding made it
    for kind in ("binary", "real"):
        configuration = SpikeGPTConfiguration("upstream", 2, 64, 24, embedding=kind)  # type: ignore[arg-type]
        model = lively_model(configuration)
        tokens, state = [0], None
        generator = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            for _ in range(400):
                logits, state = model(torch.tensor([[tokens[-1]]]), state)
                distribution = torch.softmax(2 * logits[0, -1], 0)
                tokens.append(int(torch.multinomial(distribution, 1, generator=generator)))
        path = save(model, tmp_path / "model.pth")
        report = export_checkpoint(path, tmp_path / "model.net", calibration=tokens)
        expected = f"read as upstream with {kind} embedding,"
        assert any(note.startswith(expected) for note in report.notes)


def test_two_exports_are_byte_identical(tmp_path: Path) -> None:
    path = save(lively_model(SpikeGPTConfiguration("upstream", 2, 48, 31)), tmp_path / "model.pth")
    export_checkpoint(path, tmp_path / "first.net")
    export_checkpoint(path, tmp_path / "second.net")
    assert (tmp_path / "first.net").read_bytes() == (tmp_path / "second.net").read_bytes()


def test_a_failing_export_leaves_the_old_file(tmp_path: Path) -> None:
    model = lively_model(SpikeGPTConfiguration("upstream", 2, 48, 31))
    target = tmp_path / "model.net"
    export_checkpoint(save(model, tmp_path / "good.pth"), target)
    before = target.read_bytes()
    with torch.no_grad():
        model.blocks[1].ffn.key.weight[3, 4] = float("nan")
    with pytest.raises(InputError, match=r"blocks\.1\.ffn\.key\.weight: 1 NaN"):
        export_checkpoint(save(model, tmp_path / "bad.pth"), target)
    assert target.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.pth", "good.pth", "model.net"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation_bits": 16}, "activation bits 16, allowed 2..15"),
        ({"accumulator_bits": 7}, "accumulator bits 7, allowed 8..32"),
        ({"rescale_every": -1}, "rescale every -1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExportOptions(**options)  # type: ignore[arg-type]


def test_calibration_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    path = save(lively_model(SpikeGPTConfiguration("upstream", 1, 32, 20)), tmp_path / "m.pth")
    with pytest.raises(InputError, match="token 20; the model's vocabulary ends at 19"):
        export_checkpoint(path, tmp_path / "m.net", calibration=[1, 2, 20])
    with pytest.raises(InputError, match="has 1 tokens; give at least 2"):
        export_checkpoint(path, tmp_path / "m.net", calibration=[1])


@pytest.mark.parametrize("layout", ["upstream", "rwkv"])
@pytest.mark.parametrize("scale", [3e-7, 1e-38])
def test_a_block_that_training_drove_to_nothing_exports(
    layout: str, scale: float, tmp_path: Path
) -> None:
    model = lively_model(SpikeGPTConfiguration(layout, 2, 32, 31, embedding="real"))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("blocks.0.ln2", "blocks.0.ffn")):
                parameter.mul_(scale)
    tokens = np.random.default_rng(1).integers(0, 31, 96)
    options = ExportOptions(embedding="real", layout=layout)  # type: ignore[arg-type]
    export_checkpoint(
        save(model, tmp_path / "model.pth"), tmp_path / "model.net",
        calibration=tokens.tolist(), options=options,
    )  # fmt: skip
    names = ["blocks.0.srwkv.residual", "blocks.0.srffn.residual"]
    with Emulator().open(read_network(tmp_path / "model.net"), trace=names) as session:
        session.score(tokens)
        before, after = map(session.trace, names)
    # the dead block adds nothing, not even a rounding
    assert np.array_equal(before, after)
