"""Judging a float model: bits per character by window, spikes and additions per token."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.training.data import windows
from spikegpt_neuro.training.integer_true import IntegerForward
from spikegpt_neuro.training.spike_counts import SpikeCounts

WINDOWS_AT_ONCE = 16


@dataclass(frozen=True)
class Evaluation:
    """``window_bits`` [N]: total bits (-log2 p) of each window's ``context`` predictions.

    ``characters_per_token``: of the text, 1 where tokens are characters.
    """

    window_bits: npt.NDArray[np.float64]
    context: int
    events_per_token: float
    additions_per_token: float
    multiplications_per_token: float
    firing_rates: dict[str, float]
    characters_per_token: float = 1.0

    @property
    def bits_per_token(self) -> float:
        """Mean over all predictions."""
        return float(self.window_bits.mean() / self.context)

    @property
    def bits_per_character(self) -> float:
        """Bits a token, shared between its characters."""
        return self.bits_per_token / self.characters_per_token

    @property
    def perplexity(self) -> float:
        """2 to the bits a token."""
        return float(2.0**self.bits_per_token)

    @property
    def mean_rate(self) -> float:
        """Mean firing rate of all LIFs, 0 where there is none."""
        return mean_rate(self.firing_rates)


def mean_rate(firing_rates: Mapping[str, float]) -> float:
    """Mean over LIFs, 0 where there is none."""
    return float(np.mean(list(firing_rates.values()))) if firing_rates else 0.0


@torch.no_grad()
def evaluate(
    model: SpikeGPT,
    tokens: Tensor,
    context: int,
    integers: IntegerForward | None = None,
    characters_per_token: float = 1.0,
) -> Evaluation:
    """Whole windows of ``tokens`` in order, state reset at each; the model's mode is restored.

    With ``integers`` the integer network is judged: its logits, its spikes.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    counts = SpikeCounts(model.configuration)
    inputs, targets = windows(tokens, context)
    bits = []
    for begin in range(0, len(inputs), WINDOWS_AT_ONCE):
        x, y = (part[begin : begin + WINDOWS_AT_ONCE] for part in (inputs, targets))
        x = x.to(device)
        exact = None if integers is None else integers(model, x)
        logits, _ = model(x, observe=counts, exact=exact)
        loss = functional.cross_entropy(
            logits.double().transpose(1, 2), y.to(device), reduction="none"
        )
        bits.append(loss.sum(dim=1).cpu() / math.log(2.0))
    model.train(training)
    events, additions, multiplications = counts.per_token()
    return Evaluation(
        torch.cat(bits).numpy(), context, events, additions, multiplications, counts.firing_rates(),
        characters_per_token,
    )  # fmt: skip


def paired_difference(a: Evaluation, b: Evaluation) -> tuple[float, float]:
    """Mean of a - b in bits per character over the same windows, and its standard error."""
    difference = (a.window_bits - b.window_bits) / a.context
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(difference.size))
