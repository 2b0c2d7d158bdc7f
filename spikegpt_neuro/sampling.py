"""Choosing the next token from integer logits; the greedy choice is exact on every machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError


@dataclass(frozen=True)
class SamplingSettings:
    """How to choose.

    ``temperature`` 0: greedy, the largest logit, the lowest token among equals. ``top_k`` 0: off.
    ``top_p``: the smallest set of most probable tokens whose probabilities reach it.
    ``presence_penalty`` is subtracted from the real logit of every token generated before,
    ``frequency_penalty`` once for each time it was.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not 0.0 <= self.temperature <= 100.0:
            problems.append(f"temperature {self.temperature}, allowed 0 (greedy) to 100")
        if not 0.0 < self.top_p <= 1.0:
            problems.append(f"top-p {self.top_p}, allowed above 0 up to 1")
        if self.top_k < 0:
            problems.append(f"top-k {self.top_k}, allowed 0 (off) or more")
        for name in ("presence_penalty", "frequency_penalty"):
            if not -100.0 <= getattr(self, name) <= 100.0:
                problems.append(
                    f"{name.replace('_', ' ')} {getattr(self, name)}, allowed -100..100"
                )
        if not 0 <= self.seed < 1 << 64:
            problems.append(f"seed {self.seed}, allowed 0 to 2**64 - 1")
        if problems:
            raise InputError("these sampling options cannot be used:", problems)


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
        order = np.argsort(-values, kind="stable")
        if self._settings.top_k:
            order = order[: self._settings.top_k]
        real = (values[order] - values[order[0]]) * (self._scale / self._settings.temperature)
        heap = np.cumsum(np.exp(real))
        if self._settings.top_p < 1.0:
            kept = int(np.searchsorted(heap, self._settings.top_p * heap[-1])) + 1
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
