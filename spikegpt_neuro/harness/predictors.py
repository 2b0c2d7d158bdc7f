"""What predicts: a session of any backend, or the float model, behind three methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from spikegpt_neuro.backends.base import TokenSession
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.passage import State
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.predictions import Logits


class Predictor(Protocol):
    """A model that reads tokens one after another.

    ``logit_scale``: real value of one unit of a logit. ``vocabulary_size``: logits a token.
    """

    logit_scale: float
    vocabulary_size: int

    def reset(self) -> None:
        """Start afresh."""

    def read(self, tokens: Sequence[int]) -> Logits:
        """Go on by these tokens; logits after each, [T, vocabulary]."""

    def close(self) -> None:
        """Free what it holds."""


class IntegerPredictor:
    """A network on a backend: logits int32."""

    def __init__(self, network: LanguageModel, session: TokenSession) -> None:
        if session.takes_one_run:
            raise InputError(
                "this backend runs one text only; tasks are many.", advice="Use emulator or lava."
            )
        self._session = session
        self.logit_scale = network.logit_scale
        self.vocabulary_size = network.info.vocabulary_size

    def reset(self) -> None:
        """See ``Predictor.reset``."""
        self._session.reset()

    def read(self, tokens: Sequence[int]) -> npt.NDArray[np.int32]:
        """See ``Predictor.read``."""
        if len(tokens) == 1:
            return self._session.step(tokens[0])[None]
        return self._session.score(tokens)

    def close(self) -> None:
        """See ``Predictor.close``."""
        self._session.close()


class FloatPredictor:
    """The float model: logits float32."""

    logit_scale = 1.0

    def __init__(self, model: SpikeGPT) -> None:
        self._model = model.eval()
        self._state: State | None = None
        self.vocabulary_size = model.configuration.vocab_size

    def reset(self) -> None:
        """See ``Predictor.reset``."""
        self._state = None

    def read(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """See ``Predictor.read``."""
        with torch.inference_mode():
            logits, self._state = self._model(torch.tensor([list(tokens)]), self._state)
        found: npt.NDArray[Any] = logits[0].float().cpu().numpy()
        return found

    def close(self) -> None:
        """See ``Predictor.close``."""
