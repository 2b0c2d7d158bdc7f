"""Choosing the next token from integer logits; the greedy choice is exact on every machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.sampling_settings import SamplingSettings

_FEW = 256
"""Tokens sorted at first."""


def _heap(
    values: npt.NDArray[np.int64], count: int, unit: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The ``count`` largest, largest first, of equals the first, and their shares added up."""
    candidates = np.arange(values.size)
    if count < values.size:
        least = np.partition(values, values.size - count)[values.size - count]
        candidates = np.flatnonzero(values >= least)
    order = candidates[np.argsort(-values[candidates], kind="stable")][:count]
    return order, np.cumsum(np.exp((values[order] - values[order[0]]) * unit))


class Sampler:
    """Chooses tokens one after another; remembers what it chose, for the penalties.

    ``logit_scale``: real value of one unit of a logit. ``size``: tokens that may be chosen, fewer
    than the logits where a model is padded beyond its vocabulary.
    """

    def __init__(self, settings: SamplingSettings, logit_scale: float, size: int) -> None:
        self._settings = settings
        self._scale = logit_scale
        self._size = size
        self._random = np.random.Generator(np.random.PCG64(settings.seed))
        self._chosen: Counter[int] = Counter()
        # whole units of a logit, so that the greedy choice stays one between integers
        self._presence = round(settings.presence_penalty / logit_scale)
        self._frequency = round(settings.frequency_penalty / logit_scale)

    def choose(self, logits: npt.NDArray[np.int32]) -> int:
        """The next token for ``logits`` int32 [vocabulary]."""
        values = logits[: self._size].astype(np.int64)
        if self._presence or self._frequency:
            for token, count in self._chosen.items():
                values[token] -= self._presence + self._frequency * count
        greedy = self._settings.temperature == 0.0
        token = int(np.argmax(values)) if greedy else self._draw(values)
        self._chosen[token] += 1
        return token

    def _draw(self, values: npt.NDArray[np.int64]) -> int:
        """The largest ``top_k``, of these the fewest that hold ``top_p``, of these one.

        Sorting a large vocabulary takes as long as a token of a small model, and ``top_p`` rarely
        needs more than a few hundred of it: only the largest are sorted, more where these hold too
        little.
        """
        unit = self._scale / self._settings.temperature
        count = min(self._settings.top_k or values.size, values.size)
        everything = self._settings.top_p == 1.0 or self._settings.top_k
        sorted_ = count if everything else min(count, _FEW)
        order, heap = _heap(values, sorted_, unit)
        whole = heap[-1] if everything else np.exp((values - values.max()) * unit).sum()
        while heap[-1] < self._settings.top_p * whole and sorted_ < count:
            sorted_ = min(count, 8 * sorted_)
            order, heap = _heap(values, sorted_, unit)
        if self._settings.top_p < 1.0:
            kept = int(np.searchsorted(heap, self._settings.top_p * whole)) + 1
            heap = heap[:kept]
        drawn = self._random.random() * heap[-1]
        return int(order[min(int(np.searchsorted(heap, drawn, side="right")), heap.size - 1)])

    @property
    def state(self) -> dict[str, Any]:
        """What it remembers, as plain JSON values."""
        chosen = {str(token): count for token, count in self._chosen.items()}
        return {"random": self._random.bit_generator.state, "chosen": chosen}

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        try:
            self._random.bit_generator.state = dict(state["random"])
            self._chosen = Counter({int(k): int(n) for k, n in state["chosen"].items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"this is not the state of a sampler: {error!r}") from error
