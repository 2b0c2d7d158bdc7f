"""The float model of a checkpoint, to hold the integer network against."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.converters.checkpoint import read_checkpoint
from spikegpt_neuro.converters.export import float_configuration
from spikegpt_neuro.converters.scales import quantise_rows
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.passage import State
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network import Network
from spikegpt_neuro.scoring import PIECE, Scoring, prediction_bits, prediction_windows


def load_float_model(path: str | Path, network: Network) -> SpikeGPT:
    """The checkpoint's model, with the embedding and rescaling that ``network`` was exported with.

    Raises InputError if the checkpoint's sizes are not those of the network.
    """
    checkpoint = read_checkpoint(path)
    checkpoint.check_values()
    found = checkpoint.architecture
    info = network.info
    problems = [
        f"{name} is {ours}, the network's is {theirs}"
        for name, ours, theirs in (
            ("layout", found.layout, info.layout), ("n_layer", found.n_layer, info.n_layer),
            ("n_embd", found.n_embd, info.n_embd),
            ("vocabulary", found.vocabulary_size, info.vocabulary_size),
        )
        if ours != theirs
    ]  # fmt: skip
    if problems:
        raise InputError(f"{path} is not the checkpoint of this network:", problems)
    configuration = float_configuration(checkpoint)
    exported = info.source.get("configuration")
    if isinstance(exported, dict):
        used = SpikeGPTConfiguration.from_dict(exported)
        configuration = replace(
            configuration, embedding=used.embedding, rescale_every=used.rescale_every
        )
    model = SpikeGPT(configuration)
    model.load_state_dict(dict(checkpoint.tensors))
    return model.eval()


def float_scoring(
    model: SpikeGPT,
    tokens: npt.NDArray[np.int64],
    *,
    context: int | None = None,
    limit: int | None = None,
    characters: Callable[[npt.NDArray[np.int64]], int] = len,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scoring:
    """As ``scoring.score_tokens``, of the float model."""
    windows = prediction_windows(tokens.size, context, limit)
    total = windows[-1].stop
    text = torch.from_numpy(np.ascontiguousarray(tokens))
    bits = []
    for window in windows:
        state = None
        found = 0.0
        for begin in range(window.start, window.stop, PIECE):
            end = min(begin + PIECE, window.stop)
            with torch.inference_mode():
                logits, state = model(text[None, begin:end], state)
                loss = torch.nn.functional.cross_entropy(
                    logits[0].double(), text[begin + 1 : end + 1], reduction="sum"
                )
            found += float(loss) / math.log(2.0)
            progress(end, total)
        bits.append(found)
    return Scoring(tuple(bits), total, characters(tokens[1 : total + 1]), context)


@dataclass(frozen=True)
class SpikeAgreement:
    """Spikes of one LIF layer in both models: shares of all neurons and tokens."""

    name: str
    float_rate: float
    integer_rate: float
    disagreement: float


@dataclass(frozen=True)
class FloatComparison:
    """The integer network beside its float model on one text."""

    tokens: int
    float_bits_per_token: float
    rounded_bits_per_token: float
    integer_bits_per_token: float
    saturations: int
    overflows: int
    layers: tuple[SpikeAgreement, ...]

    @property
    def difference_bits_per_token(self) -> float:
        """Integer minus float."""
        return self.integer_bits_per_token - self.float_bits_per_token

    @property
    def weights_bits_per_token(self) -> float:
        """What rounding the weights to int8 rows costs, everything else in float."""
        return self.rounded_bits_per_token - self.float_bits_per_token

    @property
    def activations_bits_per_token(self) -> float:
        """What integer activations, saturation and the spikes they flip cost on top."""
        return self.integer_bits_per_token - self.rounded_bits_per_token

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **asdict(self),
            "difference_bits_per_token": self.difference_bits_per_token,
            "weights_bits_per_token": self.weights_bits_per_token,
            "activations_bits_per_token": self.activations_bits_per_token,
        }


def with_rounded_weights(model: SpikeGPT) -> SpikeGPT:
    """A copy whose projections hold the int8 rows of the export, in float."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            if parameter.ndim == 2 and name != "emb.weight":
                integers, scale = quantise_rows(parameter.detach().numpy())
                parameter.copy_(torch.from_numpy(integers * scale[:, None]))
    return copied


class _FloatRun:
    """A float model on a text, piece by piece: its state and the bits of its predictions."""

    def __init__(self, model: SpikeGPT) -> None:
        self._model = model
        self._state: State | None = None
        self.bits = 0.0
        self.seen: dict[str, torch.Tensor] = {}

    def advance(self, tokens: torch.Tensor, targets: torch.Tensor) -> None:
        self.seen = {}
        with torch.inference_mode():
            logits, self._state = self._model(tokens[None], self._state, self.seen.__setitem__)
            loss = torch.nn.functional.cross_entropy(logits[0].double(), targets, reduction="sum")
        self.bits += float(loss) / math.log(2.0)


def compare_with_float(
    model: SpikeGPT,
    network: Network,
    tokens: Sequence[int],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FloatComparison:
    """Run both on ``tokens``, state carried on; bits per token and the spikes of every LIF."""
    array = np.asarray(tokens, np.int64)
    total = prediction_windows(array.size, None, None)[0].stop
    text = torch.from_numpy(array)
    names = network.spiking_layers
    counts = {name: np.zeros(3, np.int64) for name in names}
    integer_bits = 0.0
    exact, rounded = _FloatRun(model), _FloatRun(with_rounded_weights(model))
    with get_backend("emulator").open(network, trace=names) as session:
        for begin in range(0, total, PIECE):
            end = min(begin + PIECE, total)
            for run in (exact, rounded):
                run.advance(text[begin:end], text[begin + 1 : end + 1])
            integers = session.score(array[begin:end].tolist())
            targets = array[begin + 1 : end + 1]
            integer_bits += float(prediction_bits(integers, targets, network.logit_scale).sum())
            for name in names:
                ours = session.trace(name)
                theirs = exact.seen[name][0].numpy().astype(np.int64)
                differing = np.count_nonzero(ours - theirs)
                counts[name] += [np.count_nonzero(theirs), np.count_nonzero(ours), differing]
            progress(end, total)
        counters = session.counters
    layers = tuple(
        SpikeAgreement(name, *(counts[name] / (total * network[name].output.size)).tolist())
        for name in names
    )
    return FloatComparison(
        total, exact.bits / total, rounded.bits / total, integer_bits / total,
        counters.total("saturations"), counters.total("overflows"), layers,
    )  # fmt: skip
