"""The classes of a classifier, and over which tokens it decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, get_args

Pooling = Literal["last", "mean"]
POOLINGS: Final[tuple[Pooling, ...]] = get_args(Pooling)
"""The decision is that of the logits after the last token, or of their mean over all tokens."""


def label_problems(labels: Sequence[str], pooling: str) -> Iterator[str]:
    """What is wrong with a classifier's classes; no labels stand for a language model."""
    if not all(isinstance(label, str) and label for label in labels):
        yield f"labels: {list(labels)!r:.80} must be texts that are not empty"
        return
    if len(labels) == 1:
        yield f"labels: only {labels[0]!r}; a classifier has at least 2"
    if len(set(labels)) < len(labels):
        yield f"labels: {list(labels)} are not all different"
    if pooling not in POOLINGS:
        yield f"pooling is {pooling!r}; allowed: {', '.join(map(repr, POOLINGS))}"
