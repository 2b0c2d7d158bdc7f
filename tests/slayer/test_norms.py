"""SLAYER's neuron norms: exported as the same function, or refused by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.backends.lava.runtime.compatibility import import_lava_dl
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.slayer import blocks as ours

slayer = import_lava_dl("lava.lib.dl.slayer")
norms = import_lava_dl("lava.lib.dl.slayer.neuron.norm")
CUBA = {"threshold": 1.0, "current_decay": 0.3, "voltage_decay": 0.1}
ALIF = {**CUBA, "threshold_step": 0.2, "threshold_decay": 0.1, "refractory_decay": 0.2}
NEURONS = {"cuba": CUBA, "alif": ALIF}
CHOICES = {"delay_shift": False, "weight_scale": 3}


def trained(make: Any, inputs: torch.Tensor) -> list[Any]:
    """Blocks whose norms have seen some batches, at rest and in evaluation."""
    torch.manual_seed(0)
    blocks = make()
    fresh = copy.deepcopy(blocks)
    for _ in range(5):
        values = inputs
        for block in blocks:
            values = block(values)
    for block, other in zip(blocks, fresh, strict=True):
        state = {k: v for k, v in block.state_dict().items() if "_state" not in k}
        if other.neuron.norm is not None:
            for name, value in block.neuron.norm.named_buffers():
                setattr(other.neuron.norm, name, value.clone())
        other.load_state_dict(state, strict=False)
        other.eval()
    return fresh


def assert_equal(make: Any, inputs: torch.Tensor, path: Path) -> None:
    blocks = trained(make, inputs)
    values = inputs[:1]
    with torch.no_grad():
        for block in blocks:
            values = block(values)
    assert any(block.neuron.norm.bias.any() for block in blocks)
    with pytest.warns(UserWarning, match="exported as a bias.*--slayer-timing"):
        ours.export_chain(path, blocks, stock=False)
    raster = inputs[0].reshape(-1, inputs.shape[-1]).T.numpy().astype(np.int64)
    shape = tuple(reversed(inputs.shape[1:-1])) if inputs.ndim == 5 else None
    with Emulator().open(read_netx(path, synapse_delay=False, input_shape=shape)) as session:  # type: ignore[arg-type]
        found = session.score(raster)
    expected = values[0].reshape(-1, values.shape[-1]).T.numpy()
    assert 0.02 < expected.mean() < 0.9
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("kind", "block"), [("cuba", "Dense"), ("alif", "Dense"), ("alif", "Recurrent")]
)
def test_a_subtracted_mean_is_exported(kind: str, block: str, tmp_path: Path) -> None:
    made = getattr(getattr(slayer.block, kind), block)
    parameters = {**NEURONS[kind], "norm": norms.MeanOnlyBatchNorm}
    inputs = (torch.rand(4, 12, 60, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    assert_equal(lambda: [made(parameters, 12, 20, **CHOICES)], inputs, tmp_path / "x.net")


@pytest.mark.parametrize("kind", ["cuba", "alif"])
def test_a_subtracted_mean_of_a_convolution_is_exported(kind: str, tmp_path: Path) -> None:
    made = getattr(slayer.block, kind).Conv
    parameters = {**NEURONS[kind], "norm": norms.MeanOnlyBatchNorm}
    inputs = (torch.rand(4, 1, 6, 5, 40, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    assert_equal(lambda: [made(parameters, 1, 4, 3, padding=1, **CHOICES)], inputs, tmp_path / "x")


@pytest.mark.parametrize(
    ("kind", "norm", "named"),
    [
        ("cuba", norms.WgtScaleBatchNorm, "WgtScaleBatchNorm.*power of two"),
        ("alif", norms.WgtScaleBatchNorm, "WgtScaleBatchNorm.*power of two"),
        ("cuba", lambda: torch.nn.BatchNorm1d(20), "BatchNorm1d.*not the subtraction"),
        ("cuba", lambda: torch.nn.LayerNorm(60), "LayerNorm.*no place"),
    ],
)
def test_another_norm_is_refused_by_name(kind: str, norm: Any, named: str, tmp_path: Path) -> None:
    parameters = {**NEURONS[kind], "norm": norm}
    made = getattr(slayer.block, kind).Dense
    block = made(parameters, 12, 20, **CHOICES)
    block((torch.rand(4, 12, 60) < 0.3).float())
    if hasattr(block.neuron.norm, "weight_exp_bits"):
        block.neuron.norm.running_var = torch.tensor([9.0])
    with pytest.raises(InputError, match=rf"block 0, Dense: {named}"):
        ours.export_chain(tmp_path / "x.net", [block])
    assert not (tmp_path / "x.net").exists()


def test_a_recurrent_current_without_its_mean_is_refused(tmp_path: Path) -> None:
    """Its neurons carry the normed current from step to step, as no stock neuron does."""
    parameters = {**CUBA, "norm": norms.MeanOnlyBatchNorm}
    block = slayer.block.cuba.Recurrent(parameters, 12, 20, **CHOICES)
    with pytest.raises(InputError, match="MeanOnlyBatchNorm of `neuron` changes the current"):
        ours.export_chain(tmp_path / "x.net", [block], stock=False)


@pytest.mark.parametrize("make", [ours.SRWKV, ours.SRFFN])
def test_our_blocks_hold_no_norm(make: Any, tmp_path: Path) -> None:
    block = make({**CUBA, "norm": norms.MeanOnlyBatchNorm}, 12)
    with pytest.raises(InputError, match=r"MeanOnlyBatchNorm of `.*neuron` has no place"):
        ours.export_chain(tmp_path / "x.net", [block], stock=False)


def test_a_file_with_another_norms_power_of_two_is_refused(tmp_path: Path) -> None:
    block = slayer.block.cuba.Dense({**CUBA, "norm": norms.WgtScaleBatchNorm}, 12, 20, **CHOICES)
    block((torch.rand(4, 12, 60) < 0.3).float())
    block.neuron.norm.running_var = torch.tensor([9.0])
    with h5py.File(tmp_path / "x.net", "w") as file:
        block.export_hdf5(file.create_group("layer/0"))
        exponent = file["layer/0/neuron/weight_exp"]
        assert exponent[()].any()
    with pytest.raises(InputError, match=r"weight_exp: the power of two .* WgtScaleBatchNorm"):
        read_netx(tmp_path / "x.net")
    with h5py.File(tmp_path / "x.net", "a") as file:
        file["layer/0/neuron/weight_exp"][()] = 0
    read_netx(tmp_path / "x.net")
