"""Deciding with a classifier: the same integers on every backend, hence the same decisions.

A classifier's readout gives one integer a class after every token. What is decided upon after token
t are the integers of ``pooling``:

    last    z_t                      the readout after token t
    mean    z_1 + ... + z_t          its running sum; times scale / t it is the mean

The head is linear, so the mean of its logits is the head of the mean of the normalised stream: a
sum of one integer a class, which whoever receives the readout adds up, and no layer with a state
of the stream's width. int64 holds 2**31 tokens of int32 logits. The decision is the largest
integer, the first of equals; confidence is its softmax, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import Session
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import LanguageModel


@dataclass(frozen=True, eq=False)
class Decision:
    """What a text was taken for.

    ``classes`` int64 [T] and ``confidences`` float64 [T]: class and its probability after each
    token. ``scores`` int64 [T, classes]: the integers decided upon.
    """

    labels: tuple[str, ...]
    scores: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    confidences: npt.NDArray[np.float64]

    @property
    def label(self) -> str:
        """The class after the last token."""
        return self.labels[int(self.classes[-1])]

    @property
    def confidence(self) -> float:
        """Its probability, as the network sees it."""
        return float(self.confidences[-1])

    @property
    def tokens(self) -> int:
        """Tokens of the text."""
        return int(self.classes.size)

    @property
    def settled(self) -> int:
        """Tokens after which the decision no longer changed."""
        other = np.flatnonzero(self.classes != self.classes[-1])
        return 1 if not other.size else int(other[-1]) + 2

    def early(self, confidence: float) -> int:
        """Tokens read until one class has that probability; all where none ever has."""
        reached = np.flatnonzero(self.confidences >= confidence)
        return int(reached[0]) + 1 if reached.size else self.tokens

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "label": self.label, "confidence": self.confidence, "tokens": self.tokens,
            "settled_after_tokens": self.settled, "scores": self.scores[-1].tolist(),
            "after_each_token": [
                {"label": self.labels[i], "confidence": float(p)}
                for i, p in zip(self.classes.tolist(), self.confidences, strict=True)
            ],
        }  # fmt: skip


def decide(logits: npt.NDArray[np.int32], network: LanguageModel) -> Decision:
    """The decision on a text from its readouts, int32 [T, classes]."""
    info = network.info
    scores = logits.astype(np.int64)
    scale = np.full((len(scores), 1), network.logit_scale)
    if info.pooling == "mean":
        scores = np.cumsum(scores, axis=0)
        scale /= np.arange(1, len(scores) + 1)[:, None]
    real = (scores - scores.max(axis=1, keepdims=True)) * scale
    odds = np.exp(real)
    classes = scores.argmax(axis=1)
    confidences = 1.0 / odds.sum(axis=1)  # the largest score's odds are 1
    return Decision(info.labels, scores, classes, confidences)


def classify_tokens(
    session: Session, network: LanguageModel, tokens: Sequence[int] | npt.NDArray[np.int64]
) -> Decision:
    """Read one text from rest and decide. Raises InputError for a text without tokens."""
    if not len(tokens):
        raise InputError("a text without tokens cannot be classified.")
    session.reset()
    return decide(session.score([int(token) for token in tokens]), network)


def confusion(
    labels: Sequence[str], truth: Sequence[str], found: Sequence[str]
) -> npt.NDArray[np.int64]:
    """How often each class (rows, in the order of ``labels``) was taken for each (columns)."""
    place = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(matrix, ([place[t] for t in truth], [place[f] for f in found]), 1)
    return matrix
