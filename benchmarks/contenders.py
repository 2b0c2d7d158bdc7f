"""What is compared: each one generates token by token and scores known tokens."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.classes import ModelClass
from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network.file import read_network


class Contender(Protocol):
    """A loaded model with its own state."""

    name: str

    def step(self, token: int) -> object:
        """Advance by one token; logits of the next."""

    def score(self, tokens: Sequence[int]) -> object:
        """Advance by known tokens; logits after each."""


class Ours:
    """The emulator on a network read from its file."""

    name = "spikegpt-neuro int8"

    def __init__(self, path: Path) -> None:
        self.session = Emulator().open(read_network(path))
        self.step = self.session.step
        self.score = self.session.score


class TorchModel:
    """The float model of this package: what upstream computes, in fp32 (tests/model)."""

    name = "PyTorch fp32"

    def __init__(self, checkpoint: Path, model_class: ModelClass) -> None:
        configuration = SpikeGPTConfiguration(
            layout="upstream", n_layer=model_class.n_layer, n_embd=model_class.n_embd,
            vocab_size=model_class.vocabulary_size,
        )  # fmt: skip
        self._model = SpikeGPT(configuration).eval()
        tensors = torch.load(checkpoint, weights_only=True, mmap=True)
        self._model.load_state_dict(tensors)
        self._state: Any = None

    @torch.inference_mode()
    def step(self, token: int) -> object:
        logits, self._state = self._model(torch.tensor([[token]]), self._state)
        return logits

    @torch.inference_mode()
    def score(self, tokens: Sequence[int]) -> object:
        logits, self._state = self._model(torch.tensor([list(tokens)]), self._state)
        return logits


class RwkvPackage:
    """RWKV-4 of the same shape in the PyPI package ``rwkv``, fp32 (no spikes)."""

    name = "PyPI rwkv fp32"

    def __init__(self, checkpoint: Path) -> None:
        os.environ.update(RWKV_JIT_ON="1", RWKV_CUDA_ON="0", RWKV_V7_ON="0")
        from rwkv.model import RWKV  # a dependency of the benchmarks only

        with contextlib.redirect_stdout(io.StringIO()):
            self._model = RWKV(model=str(checkpoint), strategy="cpu fp32", verbose=False)
        self._state: Any = None

    def step(self, token: int) -> object:
        logits, self._state = self._model.forward([token], self._state)
        return logits

    def score(self, tokens: Sequence[int]) -> object:
        logits, self._state = self._model.forward(list(tokens), self._state, full_output=True)
        return logits


def random_tokens(model_class: ModelClass, count: int, seed: int = 0) -> list[int]:
    """Tokens to feed."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, model_class.vocabulary_size, count).tolist()
