"""What logits say of the token that came: its bits."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.int32] | npt.NDArray[np.float32]
"""[T, vocabulary]: integers of a network, or the float model's real values."""


def prediction_bits(
    logits: Logits, targets: npt.NDArray[np.int64], logit_scale: float
) -> npt.NDArray[np.float64]:
    """``-log2 softmax(logits * logit_scale)[target]`` in float64.

    Targets [T]; result float64 [T]. ``logit_scale`` of real logits is 1.
    """
    real = _below_largest(logits, logit_scale)
    chosen = real[np.arange(targets.size), targets]
    np.exp(real, out=real)
    return (np.log(real.sum(axis=1)) - chosen) / math.log(2.0)


def log_probabilities(logits: npt.NDArray[np.int32], logit_scale: float) -> npt.NDArray[np.float64]:
    """``ln softmax(logits * logit_scale)`` in float64: [T, vocabulary] from int32 of that shape."""
    real = _below_largest(logits, logit_scale)
    return np.asarray(real - np.log(np.exp(real).sum(axis=1, keepdims=True)))


def _below_largest(logits: Logits, logit_scale: float) -> npt.NDArray[np.float64]:
    """Real logits less the largest of each row."""
    real = logits.astype(np.float64)
    real -= real.max(axis=1, keepdims=True)  # exact: differences of integers below 2**53
    real *= logit_scale
    return real
