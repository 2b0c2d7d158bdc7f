"""Ranges of a float model's values on a calibration text, block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from spikegpt_neuro.errors import InputError

WINDOW = 256
"""Tokens of one calibration window; state starts afresh in each."""
LARGEST_SAMPLE = 10_240
"""Tokens that calibrate a small model; more change the ranges no further."""
OPERATIONS_BUDGET = 2e10
"""Multiplications a calibration may cost: large models take fewer tokens."""
SMALLEST_SAMPLE = 64


@dataclass(frozen=True)
class CalibrationTokens:
    """Tokens [windows, length] to calibrate with, and where they came from."""

    tokens: npt.NDArray[np.int64]
    origin: str
    sha256: str

    @property
    def count(self) -> int:
        """Number of tokens."""
        return int(self.tokens.size)


def sample_size(parameters: int) -> int:
    """Calibration tokens for a model of that many parameters."""
    return int(min(LARGEST_SAMPLE, max(SMALLEST_SAMPLE, OPERATIONS_BUDGET / parameters)))


def calibration_tokens(
    tokens: Sequence[int] | npt.NDArray[np.int64] | None, vocabulary_size: int, parameters: int
) -> CalibrationTokens:
    """Cut windows from the user's tokens, spread over the text; random tokens without any.

    Raises ``InputError`` if there are tokens, but too few (fewer than 2) or outside the vocabulary.
    """
    size = sample_size(parameters)
    if tokens is None:
        array = np.random.default_rng(0).integers(0, vocabulary_size, size)
        origin = f"{size} random tokens (no calibration text was given)"
    else:
        array = np.asarray(tokens, dtype=np.int64)
        origin = f"text of {array.size} tokens"
        if array.size < 2:
            raise InputError(f"the calibration text has {array.size} tokens; give at least 2.")
        if array.min() < 0 or array.max() >= vocabulary_size:
            raise InputError(
                f"the calibration text has token {array.max()}; the model's vocabulary ends at "
                f"{vocabulary_size - 1}.",
                advice="Give the vocabulary the model was trained with (--vocab).",
            )
    window = min(WINDOW, array.size, size)
    count = max(1, min(array.size, size) // window)
    starts = np.linspace(0, array.size - window, count).astype(np.int64)
    windows = np.stack([array[start : start + window] for start in starts])
    digest = hashlib.sha256(windows.astype("<i8").tobytes()).hexdigest()
    return CalibrationTokens(windows, origin, digest)


OBSERVED = frozenset(
    {
        "norm", "shift_key", "shift_value", "shift_receptance", "value", "product", "output",
        "square", "product_lif.membrane", "hidden_lif.membrane",
    }
)  # fmt: skip
"""Parts of a block whose ranges decide a scale; looking at all doubled the time."""


class RangeRecorder:
    """Collects the largest magnitude of what the float model computes where a scale needs it."""

    def __init__(self) -> None:
        self.ranges: dict[str, float] = {}

    def __call__(self, name: str, values: torch.Tensor) -> None:
        """Take note of ``values``, observed at the layer path ``name``, if its range is needed."""
        part = name.split(".", 3)[-1] if name.startswith("blocks.") else name.split(".", 1)[-1]
        if part not in OBSERVED:
            return
        low, high = torch.aminmax(values)
        largest = float(max(-low, high))
        if not np.isfinite(largest):
            raise InputError(
                f"the float model gives {largest} at {name} on the calibration text.",
                advice="The checkpoint's weights are damaged or far out of range.",
            )
        self.ranges[name] = max(self.ranges.get(name, 0.0), largest)
