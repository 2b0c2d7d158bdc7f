"""The integer network beside its float model: where the loss comes from, and which spikes differ.

The way from one to the other in steps, each run on the same text with its state carried on::

    float            the checkpoint
    weights          float, projections hold the integer rows of the export
    spikes           the same, and every LIF fires exactly as in the integer network
    activations      the integer network, with room enough that no operand is clipped
    saturation       the integer network

The loss of a step is its bits per token minus those of the step before: they add up to the
difference between the integer network and the float model.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from spikegpt_neuro.arithmetic.packed import MOST_BITS
from spikegpt_neuro.backends import Backend, get_backend
from spikegpt_neuro.converters.quantisers import quantise_rows
from spikegpt_neuro.converters.trained_weights import tensor_of
from spikegpt_neuro.model.passage import State
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.layers import ACCUMULATOR_LIMIT, OPERAND_LIMIT, Dense
from spikegpt_neuro.network.schema import Layer
from spikegpt_neuro.predictions import prediction_bits
from spikegpt_neuro.scoring import PIECE, prediction_windows
from spikegpt_neuro.verification import Difference, earliest, first_difference

STAGES = ("float", "weights", "spikes", "activations", "saturation")
"""The steps above, in order."""
_CLIPPING = ("token_shift", "requantise", "squared_relu", "product")
"""Kinds whose results are clipped to a width chosen at export."""


@dataclass(frozen=True)
class SpikeAgreement:
    """Spikes of one LIF layer in both models: shares of all neurons and tokens."""

    name: str
    float_rate: float
    integer_rate: float
    disagreement: float


@dataclass(frozen=True)
class FloatComparison:
    """The integer network beside its float model on one text.

    ``bits_per_token``: of each of ``STAGES``. ``difference``: the first spike that differs, by
    step, then layer (float on the left), or None.
    """

    backend: str
    tokens: int
    bits_per_token: Mapping[str, float]
    saturations: int
    overflows: int
    difference: Difference | None
    layers: tuple[SpikeAgreement, ...]

    @property
    def losses(self) -> dict[str, float]:
        """Bits per token that each step after the first adds; they sum to the difference."""
        found = [self.bits_per_token[stage] for stage in STAGES]
        return {stage: found[i + 1] - found[i] for i, stage in enumerate(STAGES[1:])}

    @property
    def difference_bits_per_token(self) -> float:
        """Integer minus float."""
        return self.bits_per_token[STAGES[-1]] - self.bits_per_token[STAGES[0]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **asdict(self),
            "float_bits_per_token": self.bits_per_token[STAGES[0]],
            "integer_bits_per_token": self.bits_per_token[STAGES[-1]],
            "difference_bits_per_token": self.difference_bits_per_token,
            "losses_bits_per_token": self.losses,
        }


def with_rounded_weights(model: SpikeGPT, network: Network | None = None) -> SpikeGPT:
    """A copy whose projections hold the int8 rows of the export, in float.

    Weights of fewer bits are those of ``network``, each row in the unit in which it is nearest to
    the model's: the file holds no scales of weights, only what they become in their readers.
    """
    copied = copy.deepcopy(model)
    few = {
        tensor_of(layer.name): np.asarray(layer.weight)
        for layer in (() if network is None else network.layers)
        if isinstance(layer, Dense) and layer.weight_bits < MOST_BITS
    }
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            if parameter.ndim == 2 and name != "emb.weight":
                weight = parameter.detach().numpy()
                if name in few:
                    integers = few[name]
                    q = integers.astype(np.float64)
                    scale = (q * weight).sum(axis=1) / np.maximum((q * q).sum(axis=1), 1.0)
                else:
                    integers, scale = quantise_rows(weight)
                parameter.copy_(torch.from_numpy(integers * scale[:, None]))
    return copied


def without_saturation(network: Network) -> Network:
    """The network with wider operands, up to 16 bits, so that hardly anything is clipped.

    Only layers read by dense layers alone are widened, and no further than int32 accumulators are
    proven for; scales stay, so integers that were not clipped are the same.
    """
    readers: dict[str, list[Layer]] = {}
    for layer in network.layers:
        for source in layer.inputs:
            readers.setdefault(source, []).append(layer)
    changed: dict[str, Layer] = {}
    for layer in network.layers:
        ends = [reader for reader in readers.get(layer.name, []) if isinstance(reader, Dense)]
        if layer.kind not in _CLIPPING or not ends or len(ends) != len(readers[layer.name]):
            continue
        port = layer.output
        largest = max(end.largest_row_sum for end in ends)
        while (
            2 * port.high + 1 <= OPERAND_LIMIT
            and largest * (2 * port.high + 1) <= ACCUMULATOR_LIMIT
        ):
            port = replace(port, bits=port.bits + 1)
        changed[layer.name] = replace(layer, output=port)
        for end in ends:
            changed[end.name] = replace(end, accumulator_bits=32)
    layers = tuple(changed.get(layer.name, layer) for layer in network.layers)
    return replace(network, layers=layers)


class _FloatRun:
    """A float model on a text, piece by piece: its state and the bits of its predictions."""

    def __init__(self, model: SpikeGPT) -> None:
        self._model = model
        self._state: State | None = None
        self.bits = 0.0
        self.seen: dict[str, torch.Tensor] = {}

    def advance(
        self,
        tokens: torch.Tensor,
        targets: torch.Tensor,
        forced: Mapping[str, npt.NDArray[np.int32]] | None = None,
    ) -> None:
        """Read a piece; ``forced``: spikes [T, size] that LIF layers send instead of their own."""
        self.seen = {}

        def observe(name: str, value: torch.Tensor) -> None:
            if forced is not None and name in forced:
                # the very tensor the next layer reads
                value.copy_(torch.from_numpy(forced[name]).to(value)[None])
            self.seen[name] = value

        with torch.inference_mode():
            logits, self._state = self._model(tokens[None], self._state, observe)
            loss = torch.nn.functional.cross_entropy(logits[0].double(), targets, reduction="sum")
        self.bits += float(loss) / math.log(2.0)


def compare_with_float(
    model: SpikeGPT,
    network: Network,
    tokens: Sequence[int],
    *,
    backend: Backend | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FloatComparison:
    """Run all steps on ``tokens``; the integer network on ``backend`` (default: the emulator)."""
    emulator = get_backend("emulator")
    executing = backend or emulator
    array = np.asarray(tokens, np.int64)
    total = prediction_windows(array.size, None, None)[0].stop
    text = torch.from_numpy(array)
    names = network.spiking_layers
    counts = {name: np.zeros(3, np.int64) for name in names}
    bits = dict.fromkeys(STAGES, 0.0)
    rounded_model = with_rounded_weights(model, network)
    exact, rounded, firing = _FloatRun(model), _FloatRun(rounded_model), _FloatRun(rounded_model)
    difference = None
    with (
        executing.open(network, trace=names) as session,
        emulator.open(without_saturation(network), trace=names) as roomy,
    ):
        for begin in range(0, total, PIECE):
            end = min(begin + PIECE, total)
            targets = array[begin + 1 : end + 1]
            for stage, integers in (("saturation", session), ("activations", roomy)):
                logits = integers.score(array[begin:end].tolist())
                bits[stage] += float(prediction_bits(logits, targets, network.logit_scale).sum())
            piece = text[begin:end], text[begin + 1 : end + 1]
            exact.advance(*piece)
            rounded.advance(*piece)
            firing.advance(*piece, {name: roomy.trace(name) for name in names})
            found = []
            for name in names:
                ours = session.trace(name)
                theirs = exact.seen[name][0].numpy().astype(np.int64)
                differing = np.count_nonzero(ours - theirs)
                counts[name] += [np.count_nonzero(theirs), np.count_nonzero(ours), differing]
                found.append(first_difference(name, begin, theirs, ours))
            difference = difference or earliest(network, found)
            progress(end, total)
        counters = session.counters
    for stage, run in (("float", exact), ("weights", rounded), ("spikes", firing)):
        bits[stage] = run.bits
    layers = tuple(
        SpikeAgreement(name, *(counts[name] / (total * network[name].output.size)).tolist())
        for name in names
    )
    return FloatComparison(
        executing.name, total, {stage: bits[stage] / total for stage in STAGES},
        counters.total("saturations"), counters.total("overflows"), difference, layers,
    )  # fmt: skip
