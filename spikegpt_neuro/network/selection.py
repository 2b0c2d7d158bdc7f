"""The greedy choice of the next token as layers, so that a chip can make it by itself.

Behind the logits ``l`` of ``n`` tokens stand four layers of existing kinds, a stage of its own:

    differences  synapses           d_ij = l_j - l_i                for every pair i < j
    beats        memoryless LIF     s_ij = 1 if d_ij > 0 else 0
    count        synapses           c_k  = sum_i<k s_ik - sum_j>k s_kj
    winner       memoryless LIF     w_k  = 1 if c_k >= k else 0

``c_k`` is at most ``k``, the number of earlier tokens, and equals it for a token that is larger
than all earlier ones and that no later one is larger than: the first of the largest. So exactly
one winner fires, and it is the token that ``Sampler`` chooses at temperature 0.

Of the weights two a difference are not 0, so that chips store lists of them. Their number grows
with the square of the vocabulary, which is why there is a largest one; beyond it tokens would have
to be compared in rounds, winners of groups with each other, which takes more time steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.formats import MEMORYLESS
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.layers import Dense, Lif
from spikegpt_neuro.network.network import LanguageModel, Network
from spikegpt_neuro.network.schema import Layer, Port

STAGE: Final = "selection"
"""Stage of the layers that choose."""
WINNER: Final = f"{STAGE}.winner"
"""The layer whose one spike is the chosen token."""
LARGEST_VOCABULARY: Final = 256
"""Most tokens that are compared in pairs: 32,640 of them, as for a vocabulary of bytes."""
LOGIT_BITS: Final = 23
"""Widest logit that is compared: a difference then fits the 24 bits of a chip's accumulators."""

_ACCUMULATOR_BITS: Final = 24
_NEURON: Final = {
    "voltage_decay": MEMORYLESS, "threshold": 1, "bias": 0, "levels": 1, "soft_reset": 0,
}  # fmt: skip
"""Memoryless neurons that fire where input + offset > 1."""


@dataclass(frozen=True, eq=False, repr=False)
class SelectingModel(LanguageModel):
    """A language model that ends in the choice of the next token: one spike in ``WINNER``.

    Its last layer's values have one 1, at the token of the largest logit, of equal ones the first:
    the greedy choice of the model it was made of by ``with_selection``. It is made in memory and
    not written to files: every model makes it.
    """

    def _summary(self) -> str:
        return f"{super()._summary()}, choosing by itself"

    def _ends_problems(self, first: Layer, last: Layer) -> Iterator[str]:
        read = [layer for layer in self.layers if layer.stage != STAGE]
        yield from super()._ends_problems(first, read[-1] if read else last)
        if last.name != WINNER or not isinstance(last, Lif):
            yield f"{last.name}: the last layer must be {WINNER}"
        elif last.output.size != self.info.vocabulary_size:
            yield f"{last.name}: size {last.output.size}, must be {self.info.vocabulary_size}"

    @property
    def logits(self) -> Layer:
        """The readout that is chosen from."""
        return next(self[s] for layer in self.layers if layer.stage == STAGE for s in layer.inputs)


def as_selecting(network: Network) -> SelectingModel:
    """``network`` if it chooses its tokens itself; ``InputError`` otherwise."""
    if not isinstance(network, SelectingModel):
        raise InputError("this network does not choose its tokens itself: see `with_selection`.")
    return network


def selection_problem(network: LanguageModel) -> str:
    """Why tokens of ``network`` cannot be chosen by layers; empty where they can."""
    if network.info.labels:
        return "it is a classifier: no token follows from a class"
    size = network.info.vocabulary_size
    if size > LARGEST_VOCABULARY:
        return (
            f"its vocabulary has {size} tokens, at most {LARGEST_VOCABULARY} are compared in pairs "
            f"(here {size * (size - 1) // 2:,}); more would need a tournament in rounds"
        )
    return ""


_made: WeakKeyDictionary[LanguageModel, dict[int, SelectingModel]] = WeakKeyDictionary()


def with_selection(network: LanguageModel, choices: int | None = None) -> SelectingModel:
    """``network`` with the four layers behind its logits (see above).

    ``choices``: the tokens that may be chosen are the first so many, by default all. Logits wider
    than ``LOGIT_BITS`` are clipped to these, which counters show (``saturations`` of the readout):
    only then can the choice be another one. Raises ``InputError`` where ``selection_problem`` says
    why.
    """
    problem = selection_problem(network)
    if problem:
        raise InputError(f"a chip cannot choose this network's tokens by itself: {problem}.")
    size = network.info.vocabulary_size
    n = size if choices is None else choices
    if not 1 <= n <= size:
        raise InputError(f"{n} tokens to choose from, allowed 1..{size}.")
    known = _made.setdefault(network, {})
    if n not in known:
        known[n] = _selecting(network, n)
    return known[n]


def _selecting(network: LanguageModel, n: int) -> SelectingModel:
    *others, last = network.layers
    size = network.info.vocabulary_size
    port = replace(last.output, bits=min(last.output.bits, LOGIT_BITS))
    earlier, later = np.triu_indices(n, 1)
    pairs = np.arange(earlier.size)
    weight = np.zeros((max(1, earlier.size), size), np.int8)
    weight[pairs, later], weight[pairs, earlier] = 1, -1
    counting = np.zeros((size, weight.shape[0]), np.int8)
    counting[later, pairs], counting[earlier, pairs] = 1, -1
    # tokens that may not be chosen count 0 and would fire at 1
    needed = np.where(np.arange(size) < n, np.arange(size), 1)
    names = [f"{STAGE}.{part}" for part in ("differences", "beats", "count")]
    return SelectingModel(
        network.info,
        (
            *others,
            replace(last, output=port),
            _synapses(names[0], last.name, weight),
            _neurons(names[1], names[0], np.full(len(weight), 1)),
            _synapses(names[2], names[1], counting),
            _neurons(WINNER, names[2], needed),
        ),
        network.vocabulary,
        network.contents,
    )


def _synapses(name: str, source: str, weight: npt.NDArray[np.int8]) -> Dense:
    port = Port(weight.shape[0], "accumulator", 32, True, 0.0)
    return Dense(name, (source,), port, weight=weight, accumulator_bits=_ACCUMULATOR_BITS)


def _neurons(name: str, source: str, least: npt.NDArray[np.int64]) -> Lif:
    """Neurons that fire where their input is at least ``least``."""
    size = least.size
    return Lif(
        name, (source,), Port(size, "binary", 1, False, 1.0),
        multiplier=np.ones(size, np.int32), shift=np.zeros(size, np.int32),
        offset=(_NEURON["threshold"] + 1 - least).astype(np.int32), **_NEURON,
    )  # fmt: skip
