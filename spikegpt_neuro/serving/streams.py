"""One generation: what is read next, what is chosen, what text is certain, when it ends."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.batch import StreamCounts
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.generation import SavedState
from spikegpt_neuro.predictions import log_probabilities
from spikegpt_neuro.sampling import Sampler
from spikegpt_neuro.vocabulary import Vocabulary

Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Order:
    """What one stream is to do: read ``tokens``, then choose ``count`` more.

    ``saved``: go on from there instead of from the start. ``stops``: texts that end it. ``top``:
    so many alternatives beside each token's probability; None: no probabilities. ``scores_prompt``:
    probabilities of the tokens read, too.
    """

    tokens: Sequence[int]
    count: int
    sampler: Sampler
    stops: tuple[str, ...] = ()
    top: int | None = None
    scores_prompt: bool = False
    saved: SavedState | None = None

    def __post_init__(self) -> None:
        if not self.tokens and self.saved is None:
            raise InputError(
                "the prompt has no tokens, and there is no session to go on from.",
                advice="Give a text of at least one character.",
            )


@dataclass(frozen=True)
class Scored:
    """A token and ``ln p`` of it at temperature 1, before penalties; None for a text's first.

    ``offset``: characters chosen before it, 0 for tokens that were read. ``top``: the most probable
    tokens with theirs, the most probable first.
    """

    token: int
    logprob: float | None
    offset: int
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """Text that became certain, ``count`` tokens chosen for it, their probabilities if wanted."""

    text: str
    count: int
    scored: tuple[Scored, ...] = ()


@dataclass(frozen=True)
class End:
    """The stream is over: ``reason`` is ``stop`` (a stop text) or ``length``.

    ``prompt`` and ``completion``: events of the tokens read and of those chosen, which were read
    too: together those of the same run alone. ``left``: what a session goes on from.
    """

    reason: str
    prompt: StreamCounts
    completion: StreamCounts
    left: SavedState


@dataclass(frozen=True)
class Failure:
    """The stream was ended: why, in a sentence, and the HTTP status that means it."""

    message: str
    status: int


Event = Piece | End | Failure


@dataclass
class Stream:
    """A stream in a place of the batch.

    ``take`` is given the logits after each of the tokens ``piece`` gave out.
    """

    order: Order
    vocabulary: Vocabulary
    logit_scale: float
    digest: str
    reason: str = ""
    chosen: int = 0
    is_reading: bool = field(init=False)
    """Whether tokens of the prompt are still to be read."""
    _ahead: deque[int] = field(init=False)
    _logits: Int32Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._ahead = deque(self.order.tokens)
        self.is_reading = bool(self._ahead)
        if self.order.saved is not None:
            self._logits = self.order.saved.logits
        self._decoder = self.vocabulary.stream()
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._sent = 0
        self._waiting: list[Scored] = []
        self._longest = max(map(len, self.order.stops), default=0)

    @property
    def ahead(self) -> int:
        """Tokens that are known and were not read yet."""
        return len(self._ahead)

    @property
    def remaining(self) -> int:
        """Tokens still to be read, if nothing stops it."""
        return len(self._ahead) + self.order.count - self.chosen

    @property
    def is_over(self) -> bool:
        """All is chosen and read."""
        return bool(self.reason) and not self._ahead

    def begin(self) -> Piece | None:
        """Where a session goes on without a new text, the first token is chosen at once."""
        if self._ahead or self._logits is None:
            return None
        return self._choose(self._logits)

    def piece(self, room: int) -> list[int]:
        """The next tokens to read, ``room`` at most."""
        return [self._ahead.popleft() for _ in range(min(room, len(self._ahead)))]

    def take(self, tokens: Sequence[int], logits: Int32Array) -> Piece | None:
        """Go on after ``tokens`` were read: int32 [len(tokens), vocabulary]."""
        scored = self._score_prompt(tokens, logits) if self.is_reading else ()
        self._logits = logits[-1].copy()
        if self._ahead:
            return Piece("", 0, scored) if scored else None
        self.is_reading = False
        if self.reason:
            return None
        found = self._choose(self._logits)
        return Piece(found.text, found.count, (*scored, *found.scored))

    def left(self, state: Int32Array) -> SavedState:
        """What a later generation goes on from; ``state`` is the place's."""
        assert self._logits is not None
        before = self.order.saved.tokens_seen if self.order.saved is not None else 0
        seen = before + len(self.order.tokens) + self.chosen
        return SavedState(self.digest, state, self._logits, self.order.sampler.state, seen)

    def _choose(self, logits: Int32Array) -> Piece:
        if self.order.count == 0:
            self.reason = "length"
            return Piece("", 0)
        token = self.order.sampler.choose(logits)
        self.chosen += 1
        self._ahead.append(token)
        if self.order.top is not None:
            self._waiting += self._scores(logits[np.newaxis], [token], len(self._text))
        self._text += self._utf8.decode(self._decoder.push(token))
        if self.chosen == self.order.count:
            self.reason = "length"
            self._text += self._utf8.decode(self._decoder.finish(), final=True)
        return self._certain()

    def _certain(self) -> Piece:
        """The text that no stop can take back any more; ends the stream where one is complete."""
        found = [self._text.find(stop, self._sent) for stop in self.order.stops]
        places = [place for place in found if place >= 0]
        if places:
            self.reason, end = "stop", min(places)
        elif self.reason:
            end = len(self._text)
        else:
            end = len(self._text) - self._held_back()
        text, self._sent = self._text[self._sent : end], end
        over = bool(self.reason) and not places
        scored = tuple(s for s in self._waiting if s.offset < self._sent or over)
        self._waiting = self._waiting[len(scored) :]
        return Piece(text, 1, scored)

    def _held_back(self) -> int:
        """Characters at the end that may be the beginning of a stop."""
        for size in range(min(self._longest - 1, len(self._text) - self._sent), 0, -1):
            if any(stop.startswith(self._text[-size:]) for stop in self.order.stops):
                return size
        return 0

    def _score_prompt(self, tokens: Sequence[int], logits: Int32Array) -> tuple[Scored, ...]:
        if not self.order.scores_prompt:
            return ()
        before = self._logits
        rows = logits[:-1] if before is None else np.vstack([before[np.newaxis], logits[:-1]])
        scored = self._scores(rows, tokens[len(tokens) - len(rows) :], 0)
        return (*([Scored(tokens[0], None, 0)] if before is None else []), *scored)

    def _scores(self, logits: Int32Array, tokens: Sequence[int], offset: int) -> list[Scored]:
        """Probabilities of ``tokens``, each by its row of logits."""
        found = log_probabilities(logits[:, : self.vocabulary.size], self.logit_scale)
        scored = []
        for row, token in zip(found, tokens, strict=True):
            best = np.argsort(-row, kind="stable")[: self.order.top or 0]
            top = tuple((int(other), float(row[other])) for other in best)
            scored.append(Scored(token, float(row[token]), offset, top))
        return scored
