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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import Backend
from spikegpt_neuro.energy.decisions import Decisions
from spikegpt_neuro.energy.study import TextRun, run_texts
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.vocabulary import Vocabulary


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


@dataclass(frozen=True, eq=False, repr=False)
class Classification:
    """Texts, what each was taken for, and the events counted on the way.

    ``truth``: the labels given, or none; accuracies are None without them.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    decisions: tuple[Decision, ...]
    truth: tuple[str, ...]
    run: TextRun

    def __repr__(self) -> str:
        found = f"<Classification of {len(self.texts):,} texts on {self.run.backend}"
        if self.accuracy is not None:
            return f"{found}: {self.accuracy:.2%} right>"
        shown = [f"{d.label} {d.confidence:.3f}" for d in self.decisions[:5]]
        more = ", ..." if len(self.decisions) > len(shown) else ""
        return f"{found}: {', '.join(shown)}{more}>"

    @cached_property
    def accuracy(self) -> float | None:
        """Share of the texts that are taken for what they are."""
        return self._share([decision.tokens for decision in self.decisions])

    @property
    def confusion(self) -> npt.NDArray[np.int64] | None:
        """How often each class (rows) was taken for each (columns), in the order of ``labels``."""
        if not self.truth:
            return None
        return confusion(self.labels, self.truth, [decision.label for decision in self.decisions])

    def decided(self, confidence: float | None = None) -> Decisions:
        """Means of the run, and of deciding where a class first has probability ``confidence``."""
        tokens = float(np.mean([decision.tokens for decision in self.decisions]))
        if confidence is None:
            return Decisions(len(self.texts), tokens, self.accuracy)
        after = [decision.early(confidence) for decision in self.decisions]
        return Decisions(
            len(self.texts), tokens, self.accuracy, confidence, float(np.mean(after)),
            self._share(after),
        )  # fmt: skip

    def _share(self, after: Sequence[int]) -> float | None:
        """Share of the texts that are right after so many tokens each."""
        if not self.truth:
            return None
        right = [
            self.labels[int(decision.classes[tokens - 1])] == label
            for decision, tokens, label in zip(self.decisions, after, self.truth, strict=True)
        ]
        return sum(right) / len(right)


def classify_texts(
    backend: Backend, network: LanguageModel, vocabulary: Vocabulary, texts: Sequence[str], *,
    truth: Sequence[str] = (), spikes: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Classification:  # fmt: skip
    """Read texts, each from rest, and decide on each. ``spikes`` keeps some for a report.

    Raises InputError for labels that are not the network's or not one to each text, and for texts
    without tokens.
    """
    if truth and len(truth) != len(texts):
        raise InputError(f"{len(texts)} texts have {len(truth)} labels; give one to each.")
    unknown = sorted(set(truth) - set(network.info.labels))
    if unknown:
        raise InputError(
            "some texts have classes that this network does not know.",
            [f"label {label!r}" for label in unknown[:20]],
            f"Its classes: {', '.join(network.info.labels)}.",
        )
    tokens = [vocabulary.encode(text).tolist() for text in texts]
    run, readouts = run_texts(backend, network, tokens, spikes=spikes, progress=progress)
    decisions = tuple(decide(logits, network) for logits in readouts)
    return Classification(network.info.labels, tuple(texts), decisions, tuple(truth), run)


def confusion(
    labels: Sequence[str], truth: Sequence[str], found: Sequence[str]
) -> npt.NDArray[np.int64]:
    """How often each class (rows, in the order of ``labels``) was taken for each (columns)."""
    place = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(matrix, ([place[t] for t in truth], [place[f] for f in found]), 1)
    return matrix
