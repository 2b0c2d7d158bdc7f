"""What enters each projection of an integer network on a text: the moments rounding needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.converters.calibration import WINDOW
from spikegpt_neuro.converters.one_thread import in_one_thread
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense

MOST_TOKENS = 20_480
LEAST_TOKENS = 2_048
PRODUCTS = 6e11
"""Multiplications that looking at a text may cost: larger networks take fewer tokens."""
TRACED_BYTES = 400 << 20
"""Operands held at a time: the text is run again for the layers that do not fit."""


def weights_of(network: LanguageModel) -> int:
    """Weights of all projections."""
    return sum(layer.weight.size for layer in network.layers if isinstance(layer, Dense))


def sample_windows(
    network: LanguageModel, tokens: Sequence[int] | npt.NDArray[np.int64], most: int | None = None
) -> npt.NDArray[np.int64]:
    """Windows [count, length] spread over a text, as many as the network's size allows.

    Raises ``InputError`` for a text of fewer than 2 tokens.
    """
    array = np.asarray(tokens, np.int64)
    if array.size < 2:
        raise InputError(f"the calibration text has {array.size} tokens; give at least 2.")
    affordable = int(min(MOST_TOKENS, max(LEAST_TOKENS, PRODUCTS / weights_of(network))))
    wanted = min(array.size, affordable if most is None else min(most, affordable))
    length = min(WINDOW, wanted)
    starts = np.linspace(0, array.size - length, max(1, wanted // length)).astype(np.int64)
    return np.stack([array[start : start + length] for start in starts])


class Moments:
    """``mean of x x^T`` of the operands of any dense layer, float32 [inputs, inputs].

    Layers are best asked for in the network's order: operands of as many as fit in memory are
    collected in one run over the text.
    """

    def __init__(self, network: LanguageModel, windows: npt.NDArray[np.int64]) -> None:
        self._network = network
        self._windows = windows
        self._operands: dict[str, npt.NDArray[np.int16]] = {}

    @in_one_thread
    def __call__(self, name: str) -> npt.NDArray[np.float32]:
        """Of the layer of that name."""
        layer = self._network[name]
        source = layer.inputs[0]
        if source not in self._operands:
            self._collect(name)
        x = self._operands[source].astype(np.float32)
        return np.asarray(x.T @ x / np.float32(len(x)), np.float32)

    def _collect(self, first: str) -> None:
        """Run the text and keep the operands of ``first`` and of layers after it."""
        self._operands.clear()
        room, sources = TRACED_BYTES, list[str]()
        found = False
        for layer in self._network.layers:
            found |= layer.name == first
            if not found or not isinstance(layer, Dense) or layer.inputs[0] in sources:
                continue
            room -= 2 * layer.operand_size * self._windows.size
            if room < 0 and sources:
                break
            sources.append(layer.inputs[0])
        parts: dict[str, list[npt.NDArray[np.int16]]] = {source: [] for source in sources}
        with EmulatorSession(self._network, trace=sources) as session:
            for window in self._windows:
                session.reset()
                session.score(window.tolist())
                for source, kept in parts.items():
                    kept.append(session.trace(source).astype(np.int16))
        self._operands = {source: np.concatenate(kept) for source, kept in parts.items()}
