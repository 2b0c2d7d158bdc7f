"""Where the loss between float model and integers comes from: the steps, each by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.comparison.float_comparison import (
    STAGES,
    compare_with_float,
    with_rounded_weights,
    without_saturation,
)
from spikegpt_neuro.comparison.float_model import load_float_model
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.predictions import prediction_bits
from spikegpt_neuro.vocabulary import read_vocabulary

EXAMPLES = Path(__file__).parents[2] / "examples"
TOKENS = 300
Pair = tuple[SpikeGPT, Network, np.ndarray]


@pytest.fixture(scope="module", params=["upstream", "spike-driven"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = EXAMPLES / "kjv-4x192"
    vocabulary = read_vocabulary(folder / "kjv-4x192.vocab.json")
    text = vocabulary.encode((folder / "kjv-valid.txt").read_text()[:4000])
    upstream = request.param == "upstream"
    checkpoint = folder / "kjv-4x192.pth"
    if not upstream:
        checkpoint = EXAMPLES / "spike-driven-graded/graded.pt"
    path = tmp_path_factory.mktemp("exported") / "model.net"
    export_checkpoint(
        checkpoint, path, vocabulary=vocabulary.text, calibration=list(text[:2000])
    )  # fmt: skip
    network = read_network(path)
    return load_float_model(checkpoint, network), network, text[2000 : 2001 + TOKENS]


def test_losses_add_up_and_each_step_is_what_it_says(pair: Pair) -> None:
    model, network, text = pair
    found = compare_with_float(model, network, text.tolist())
    assert list(found.bits_per_token) == list(STAGES) and found.tokens == TOKENS
    assert sum(found.losses.values()) == pytest.approx(found.difference_bits_per_token, abs=1e-12)
    targets = torch.from_numpy(text[1:])
    for stage, float_model in (("float", model), ("weights", with_rounded_weights(model))):
        with torch.inference_mode():
            logits, _ = float_model(torch.from_numpy(text[:-1])[None])
            loss = torch.nn.functional.cross_entropy(logits[0].double(), targets)
        assert float(loss) / np.log(2) == pytest.approx(found.bits_per_token[stage], abs=1e-5)
    for stage, integers in (("saturation", network), ("activations", without_saturation(network))):
        with Emulator().open(integers) as session:
            logits = session.score(text[:-1].tolist())
        bits = prediction_bits(logits, text[1:], network.logit_scale).mean()
        assert bits == pytest.approx(found.bits_per_token[stage], abs=1e-9)
    # with the integers' spikes the float model is nearly the integer network: what is left is
    # rounding, far below what flipped spikes do
    assert abs(found.losses["activations"]) < 2e-3
    assert abs(found.losses["spikes"]) > abs(found.losses["activations"])


def test_the_first_spike_that_differs_is_named(pair: Pair) -> None:
    model, network, text = pair
    found = compare_with_float(model, network, text.tolist(), backend=get_backend("lava"))
    assert found.backend == "lava" and found.difference is not None
    first = found.difference
    seen: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        model(torch.from_numpy(text[:-1])[None], None, seen.__setitem__)
    with Emulator().open(network, trace=network.spiking_layers) as session:
        session.score(text[:-1].tolist())
        for name in network.spiking_layers:
            floats, integers = seen[name][0].numpy(), session.trace(name)
            assert np.array_equal(floats[: first.step], integers[: first.step])
            if name == first.layer:
                assert floats[first.step, first.index] == first.left
                assert integers[first.step, first.index] == first.right
                break
            assert np.array_equal(floats[first.step], integers[first.step])


def test_only_clipped_integers_change_without_saturation(pair: Pair) -> None:
    _, network, text = pair
    wide = without_saturation(network)
    narrow = replace_widths(network, 6)
    changed = [
        layer.name for layer in network.layers if wide[layer.name].output.bits != layer.output.bits
    ]
    assert len(changed) >= 8
    with Emulator().open(network) as one, Emulator().open(wide) as other:
        one.score(text.tolist())
        other.score(text.tolist())
        assert other.counters.total("saturations") <= one.counters.total("saturations")
    with Emulator().open(narrow) as session:
        cut = session.score(text.tolist())
        clipped = session.counters.total("saturations")
    with Emulator().open(without_saturation(narrow)) as session:
        roomy = session.score(text.tolist())
        left = session.counters.total("saturations")
    if network.info.layout == "upstream":  # at 6 bits many operands are clipped
        assert clipped > 100 * max(1, left)
        assert not np.array_equal(cut, roomy)
    else:  # spikes are operands there: nothing is clipped, and nothing changes
        assert clipped == left
        assert np.array_equal(cut, roomy)


def replace_widths(network: Network, bits: int) -> Network:
    """The network with operands cut to ``bits``, scales as they were: it clips a lot."""
    layers = []
    for layer in network.layers:
        port = layer.output
        if layer.kind in ("token_shift", "squared_relu") and port.bits > bits:
            port = replace(port, bits=bits)
        layers.append(replace(layer, output=port))
    return replace(network, layers=tuple(layers))
