"""Predicting text as a NeuroBench task: a dataset and a metric, without a download.

Both follow NeuroBench's interfaces and use nothing else of this package, so that they can stand in
its folders ``datasets`` and ``metrics/workload`` as they are.
"""

from __future__ import annotations

import math

import torch
from neurobench.datasets.dataset import NeuroBenchDataset
from neurobench.metrics.abstract import AccumulatedMetric
from torch import Tensor


class NextTokens(NeuroBenchDataset):
    """Windows of a text: ``context`` tokens and, for each, the token behind it.

    ``tokens`` int64 [N]. Windows do not overlap; what is left at the end is not used, so that all
    are of one size. A sample is ``(tokens [context], targets [context])``. A model starts every
    window afresh. Raises ValueError for a text shorter than a window and its target.
    """

    def __init__(self, tokens: Tensor, context: int = 256) -> None:
        super().__init__()
        if context < 1 or tokens.ndim != 1 or tokens.numel() <= context:
            raise ValueError(f"{tokens.numel()} tokens hold no window of {context} and a target")
        self.tokens = tokens
        self.context = context

    def __len__(self) -> int:
        return (self.tokens.numel() - 1) // self.context

    def __getitem__(self, idx: int) -> tuple[Tensor, Tensor]:
        if not 0 <= idx < len(self):
            raise IndexError(idx)
        begin = idx * self.context
        window = self.tokens[begin : begin + self.context + 1]
        return window[:-1], window[1:]


class BitsPerToken(AccumulatedMetric):
    """Mean of ``-log2 softmax(logits)[target]`` over all predictions, in float64.

    Predictions are logits [B, T, V], targets int64 [B, T]. Of a text of characters these are bits
    per character; its perplexity is 2 to their power.
    """

    def __init__(self) -> None:
        super().__init__(requires_hooks=False)
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self.bits = 0.0
        self.predictions = 0

    def __call__(self, model: object, preds: Tensor, data: tuple[Tensor, Tensor]) -> float:
        """Add a batch; the mean so far."""
        logarithms = torch.log_softmax(preds.double(), dim=-1)
        chosen = logarithms.gather(-1, data[1].unsqueeze(-1))
        self.bits -= float(chosen.sum()) / math.log(2.0)
        self.predictions += data[1].numel()
        return self.compute()

    def compute(self) -> float:
        """The mean over all batches; 0 before the first."""
        return self.bits / self.predictions if self.predictions else 0.0
