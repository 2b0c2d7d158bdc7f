"""How well a network predicts a text: bits per character and perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import Session
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.predictions import prediction_bits

PIECE = 256
"""Tokens scored at a time, halved for large vocabularies: a power of two is whole blocks."""
_LARGEST_LOGITS = 1 << 23


@dataclass(frozen=True)
class Scoring:
    """Total bits of each window: ``-log2 p`` summed over its predictions.

    ``tokens`` predictions were made of ``characters`` characters. ``context`` None: one window, the
    state carried on through the whole text.
    """

    window_bits: tuple[float, ...]
    tokens: int
    characters: int
    context: int | None

    @property
    def bits_per_token(self) -> float:
        """Mean bits a prediction."""
        return math.fsum(self.window_bits) / self.tokens

    @property
    def bits_per_character(self) -> float:
        """Total bits by the number of characters predicted."""
        return math.fsum(self.window_bits) / self.characters

    @property
    def perplexity(self) -> float:
        """2 to the power of the bits a token."""
        return 2.0**self.bits_per_token


def prediction_windows(tokens: int, context: int | None, limit: int | None) -> list[range]:
    """Positions of the inputs of each window; position i predicts token i + 1.

    Windows begin at multiples of ``context``; the last may be shorter. ``limit``: number of
    predictions at most. Raises InputError where nothing can be predicted.
    """
    predictions = tokens - 1
    if predictions < 1:
        raise InputError(f"a text of {tokens} tokens holds nothing to predict; give at least 2.")
    if limit is not None:
        if limit < 1:
            raise InputError(f"--tokens {limit}: score at least 1 prediction.")
        predictions = min(predictions, limit)
    if context is None:
        return [range(predictions)]
    if context < 1:
        raise InputError(f"--context {context}: a window has at least 1 token.")
    return [
        range(begin, min(begin + context, predictions)) for begin in range(0, predictions, context)
    ]


def characters_of(ends: npt.NDArray[np.int64] | None, predictions: int) -> int:
    """Characters of the text that the tokens predicted stand for: those behind the first token."""
    return predictions if ends is None else int(ends[predictions] - ends[0])


def piece_length(vocabulary_size: int) -> int:
    """Tokens read at a time, ``PIECE`` or so few that their logits stay small."""
    piece = PIECE
    while piece > 1 and piece * vocabulary_size > _LARGEST_LOGITS:
        piece //= 2
    return piece


def score_tokens(
    session: Session,
    tokens: Sequence[int] | npt.NDArray[np.int64],
    *,
    logit_scale: float,
    vocabulary_size: int,
    context: int | None = None,
    limit: int | None = None,
    ends: npt.NDArray[np.int64] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scoring:
    """Score a text on a backend's session.

    ``context`` N: the state is reset at the start of each window of N tokens; None: carried on from
    the first token to the last. ``ends``: characters of the text behind one after each
    token (``EncodedText.ends``); None: a character a token.
    """
    array = np.asarray(tokens, np.int64)
    windows = prediction_windows(array.size, context, limit)
    total = windows[-1].stop
    piece = piece_length(vocabulary_size)
    bits = []
    for window in windows:
        session.reset()
        found = []
        for begin in range(window.start, window.stop, piece):
            end = min(begin + piece, window.stop)
            logits = session.score(array[begin:end].tolist())
            found.extend(prediction_bits(logits, array[begin + 1 : end + 1], logit_scale).tolist())
            progress(end, total)
        bits.append(math.fsum(found))
    return Scoring(tuple(bits), total, characters_of(ends, total), context)
