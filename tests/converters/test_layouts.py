"""What both definitions of a layout, the export's and that of random networks, must share."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from spikegpt_neuro.converters.builder import QuantisationSettings
from spikegpt_neuro.converters.calibration import RangeRecorder
from spikegpt_neuro.converters.model_layers import Quantisation, model_layers
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.schema import Layer

SHAPES: list[dict[str, Any]] = [
    {"layout": "upstream"},
    {"layout": "upstream", "ffn_pre": True, "binary_embedding": False},
    {"layout": "rwkv", "binary_embedding": False},
    {"layout": "spike-driven"},
    {"layout": "spike-driven", "levels": 3, "voltage_decay": 4096, "binary_embedding": False},
]


def exported(shape: RandomShape) -> list[Layer]:
    """The layers an export of a fresh model of that shape has."""
    spiking: dict[str, Any] = {}
    if shape.layout == "spike-driven":
        names = ("levels_input", "levels_product", "levels_hidden")
        spiking = dict.fromkeys(names, shape.levels)
        spiking |= {"levels_head": 0, "decay_4096": shape.voltage_decay}
        spiking |= {"soft_reset": shape.levels > 1}
    configuration = SpikeGPTConfiguration(
        layout=shape.layout,  # type: ignore[arg-type]
        n_layer=shape.n_layer,
        n_embd=shape.n_embd,
        vocab_size=shape.vocabulary_size,
        hidden_size=shape.n_embd * shape.hidden_factor,
        ffn_pre=shape.ffn_pre,
        embedding="binary" if shape.binary_embedding else "real",
        **spiking,
    )
    model, recorder = SpikeGPT(configuration), RangeRecorder()
    with torch.no_grad():
        model(torch.arange(8).reshape(1, 8), observe=recorder)
    tensors = model.state_dict()
    quantisation = Quantisation(recorder.ranges, QuantisationSettings())
    parts = model_layers(lambda name: tensors[name].float().numpy(), quantisation, configuration)
    return [layer for part in parts for layer in part.layers]


def form(layer: Layer) -> tuple[Any, ...]:
    """What a layer is, apart from what was learned or calibrated."""
    port = layer.output
    return layer.name, layer.kind, layer.inputs, port.size, port.payload, port.signed


@pytest.mark.parametrize("changes", SHAPES)
def test_random_networks_have_the_layers_of_exported_ones(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    shape = RandomShape(n_embd=16, vocabulary_size=11, **changes)
    random = [form(layer) for layer in random_network(shape).layers]
    assert random == [form(layer) for layer in exported(shape)]


def test_shapes_under_test_cover_every_choice_of_a_random_network() -> None:
    named = {name for changes in SHAPES for name in changes}
    plain = {"n_layer", "n_embd", "vocabulary_size", "hidden_factor", "weight_bits"}
    plain |= {"square_density", "firing"}
    assert named | plain | {"seed"} == {f.name for f in dataclasses.fields(RandomShape)}
