"""Neurons whose parameters were trained: what their tensors say, carried into the released layout.

The released layout's neuron is ``h = v / 2 + x / 2``, a spike where ``h >= 1``, and ``v = 0`` then.
Any ``h = (1 - d) v + g x`` with threshold ``T`` is that neuron with the decay ``d`` and a current
``2 g / T`` times as large: the factor goes into the weights that make the current, row by row, and
the decay into the neurons, one for all or one a channel. Known parameters, of
``blocks.<i>.lif1`` and ``lif2``:

=====================  =====================================================================
``w``                  SpikingJelly's ``ParametricLIFNode``: d = g = sigmoid(w)
``tau``                SpikingJelly's ``LIFNode``: d = g = 1 / tau
``log_tau``            SpikeRuGPT's ``LearnableLIFNode``: d = 1 - 1 / (1 + softplus(log_tau)),
                       g = 1, and a spike subtracts the threshold
``log_threshold``      softplus of it is the threshold
``v_threshold``        the threshold, also ``threshold``; one for all channels or one for each
``v``                  a membrane potential that was left over: dropped
``v_reset``            what a spike leaves: 0
=====================  =====================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikegpt_neuro.converters.checkpoint_files import FLOAT_TYPES, StoredTensor, TensorFile
from spikegpt_neuro.model.configuration import BranchDecay
from spikegpt_neuro.model.lif import DECAY_ONE, UPSTREAM_NEURON

FloatArray = npt.NDArray[np.float64]
_NAME = re.compile(
    r"blocks\.(?P<block>\d{1,6})\."
    r"(?P<where>lif1|lif2|(?:att|ffnPre)\.lif1?|ffn\.lif2?)\."
    r"(?P<key>w|tau|log_tau|v_threshold|threshold|log_threshold|v|v_reset)"
)
UPSTREAM = "upstream"
LARGEST = 1 << 20
"""Most values of a population's parameter."""


@dataclass(frozen=True)
class NeuronDefaults:
    """Neurons without tensors: the part of the membrane lost a token, the current's factor, and the
    threshold."""

    decay: float = 1 - UPSTREAM_NEURON.keep
    gain: float = UPSTREAM_NEURON.gain
    threshold: float = 1.0


@dataclass
class _Population:
    """A population's tensors by key, and what they say; ``defaults`` where they say nothing."""

    defaults: NeuronDefaults
    values: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def subtracts(self) -> bool:
        """Whether a spike subtracts the threshold instead of zeroing the membrane."""
        return "log_tau" in self.values

    @property
    def decay_and_gain(self) -> tuple[FloatArray, FloatArray]:
        """The part of the membrane potential lost a token, and the current's factor."""
        values = self.values
        if "log_tau" in values:
            return 1 - 1 / (1 + np.logaddexp(0, values["log_tau"])), np.ones(1)
        if "w" in values:
            decay = 1 / (1 + np.exp(-values["w"]))
            return decay, decay
        if "tau" in values:
            return 1 / values["tau"], 1 / values["tau"]
        return np.full(1, self.defaults.decay), np.full(1, self.defaults.gain)

    @property
    def threshold(self) -> FloatArray:
        """What a spike needs, in the current's unit."""
        if "log_threshold" in self.values:
            return np.logaddexp(0, self.values["log_threshold"])
        level = np.full(1, self.defaults.threshold)
        return self.values.get("v_threshold", self.values.get("threshold", level))

    def problems(self, channels: int) -> Iterator[str]:
        """What no population of so many neurons can have."""
        values = self.values
        for key, found in values.items():
            if found.size not in (1, channels):
                yield f"{key}: {found.size} values, must be one, or one a channel"
        yield from (f"{k}: not finite" for k, v in values.items() if not np.isfinite(v).all())
        if "tau" in values and (values["tau"] < 1).any():
            yield f"tau: {values['tau'].min():g}, must be at least 1"
        if (self.threshold <= 0).any():
            yield f"threshold: {self.threshold.min():g}, must be above 0"
        if values.get("v_reset", np.zeros(1)).any():
            yield "v_reset: must be 0, which a spike leaves in the integer neurons"
        if sum(key in values for key in ("w", "tau", "log_tau")) > 1:
            yield "several time constants"


def with_released_neurons(
    file: TensorFile, defaults: NeuronDefaults
) -> tuple[TensorFile, dict[str, Any]]:
    """The file without tensors of neurons, its weights scaled; and what its configuration then is.

    The second value is empty where all neurons are the released layout's, else ``branch_decays``
    (of lif1 and lif2 of each block in turn, in 1/4096, one or one a channel),
    ``branch_soft_reset``, and the ``layout``: a file with tensors of neurons has neurons.
    """
    populations: dict[tuple[int, int], _Population] = {}
    tensors: dict[str, StoredTensor] = {}
    problems: list[str] = []
    blocks = {int(m[1]) for name in file.tensors if (m := re.match(r"blocks\.(\d{1,6})\.", name))}
    for name, stored in file.tensors.items():
        found = _NAME.fullmatch(name)
        if not found:
            tensors[name] = stored
        elif stored.dtype not in FLOAT_TYPES.values() or math.prod(stored.shape) > LARGEST:
            problems.append(f"{name}: {stored.dtype} {list(stored.shape)}, must be real numbers")
        elif found["key"] != "v":
            place = int(found["block"]), int(found["where"] in ("lif2", "ffn.lif", "ffn.lif2"))
            population = populations.setdefault(place, _Population(defaults))
            population.values[found["key"]] = stored.load().double().numpy().reshape(-1)
    decays: list[BranchDecay] = []
    for block in sorted(blocks) if populations or defaults != NeuronDefaults() else ():
        for which in (0, 1):
            population = populations.get((block, which), _Population(defaults))
            where = f"blocks.{block}.lif{which + 1}"
            weight = _weight_of(tensors, block, which)
            channels = tensors[weight].shape[0] if weight in tensors else 1
            if wrong := [f"{where}.{problem}" for problem in population.problems(channels)]:
                problems += wrong
                continue
            decay, gain = population.decay_and_gain
            units = [int(unit) for unit in np.rint(decay * DECAY_ONE)]
            decays.append(tuple(units) if len(set(units)) > 1 else units[0])
            factor = gain / (UPSTREAM_NEURON.gain * population.threshold)
            if weight in tensors and (factor != 1).any():
                tensors[weight] = _scaled(tensors[weight], factor)
    resets = {(populations.get(p) or _Population(defaults)).subtracts for p in populations}
    if len(resets) > 1 or (True in resets and len(populations) < len(decays)):
        problems.append("blocks: some spikes subtract the threshold, others leave 0")
    known: dict[str, Any] = {"layout": UPSTREAM} if populations else {}
    if any(decay != UPSTREAM_NEURON.decay_4096 for decay in decays):
        known["branch_decays"] = tuple(decays)
    if True in resets:
        known["branch_soft_reset"] = True
    notes = list(file.notes)
    if populations:
        notes.append(
            f"{len(populations)} populations of neurons have parameters of their own: thresholds "
            "and gains are in their weights, decays are held in 1/4096"
        )
    return replace(
        file, tensors=tensors, problems=(*file.problems, *problems), notes=tuple(notes)
    ), known  # fmt: skip


def _weight_of(tensors: Mapping[str, StoredTensor], block: int, which: int) -> str:
    """The weights whose rows make a population's current."""
    if which:
        return f"blocks.{block}.ffn.value.weight"
    first = f"blocks.{block}.ffnPre.value.weight"
    return first if first in tensors else f"blocks.{block}.att.output.weight"


def _scaled(stored: StoredTensor, factor: FloatArray) -> StoredTensor:
    column = torch.from_numpy(factor).to(torch.float32).reshape(-1, 1)

    def load() -> Tensor:
        return stored.load() * column

    return replace(stored, load=load)
