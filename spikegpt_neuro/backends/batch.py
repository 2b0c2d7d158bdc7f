"""Several texts through one pass of the weights, each with a state of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import SessionDefaults, check_tokens
from spikegpt_neuro.backends.counting import named_counters
from spikegpt_neuro.backends.program import Program, name_counts
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.network import LanguageModel

Int32Array = npt.NDArray[np.int32]

BLOCK = 64
"""Tokens of a pass: the emulator's own block, whichever streams they belong to."""


@dataclass(frozen=True, eq=False)
class StreamCounts:
    """What one stream of a network counted: raw, int64 [layers, Count.WIDTH]."""

    network: LanguageModel
    raw: npt.NDArray[np.int64]
    tokens: int

    def __sub__(self, earlier: StreamCounts) -> StreamCounts:
        """What happened since ``earlier``, of the same stream."""
        return StreamCounts(self.network, self.raw - earlier.raw, self.tokens - earlier.tokens)

    def named(self) -> Counters:
        """As every backend reports them."""
        return named_counters(self.network, name_counts(self.network.layers, self.raw), self.tokens)


class BatchSession(SessionDefaults):
    """``streams`` independent sessions of one network on the emulator.

    Every stream's integers are what they are in a session alone: kernels see one token after the
    other, and no sum has terms of two streams. Generation is bound by reading weights; here they
    are read once for all streams. Events are counted for each stream.
    """

    def __init__(self, network: LanguageModel, streams: int, *, threads: int = 1) -> None:
        if streams < 1:
            raise InputError(f"{streams} streams; at least 1 is needed.")
        self._network = network
        self._program = Program(network.layers, threads=threads, streams=streams)
        self.streams = streams

    def step(self, tokens: Sequence[int], streams: Sequence[int] | None = None) -> Int32Array:
        """Advance streams by one token each; logits int32 [len(tokens), vocabulary].

        ``streams``: those that advance, none twice; by default all of them in order.
        """
        which = range(self.streams) if streams is None else streams
        if len(set(which)) != len(tokens) or len(which) != len(tokens):
            raise InputError(f"{len(tokens)} tokens for {len(which)} streams, each once.")
        return self._run(tokens, which)

    def read(self, texts: Sequence[Sequence[int]]) -> Int32Array:
        """Advance every stream by known tokens; the logits after each one's last.

        ``texts``: one for each stream, of any lengths but 0; int32 [streams, vocabulary].
        """
        if len(texts) != self.streams or not all(texts):
            raise InputError(
                f"{len(texts)} texts for {self.streams} streams; each needs at least one token."
            )
        tokens = [token for text in texts for token in text]
        streams = [stream for stream, text in enumerate(texts) for _ in text]
        ends = np.cumsum([len(text) for text in texts]) - 1
        logits = np.empty((self.streams, self._network.info.vocabulary_size), np.int32)
        for begin in range(0, len(tokens), BLOCK):
            end = min(begin + BLOCK, len(tokens))
            found = self._run(tokens[begin:end], streams[begin:end])
            inside = (ends >= begin) & (ends < end)
            logits[inside] = found[ends[inside] - begin]
        return logits

    def advance(self, pieces: Mapping[int, Sequence[int]]) -> dict[int, Int32Array]:
        """Advance some streams, each by its own piece of text, in one pass of the weights.

        ``pieces``: tokens by stream. The logits after each token: int32 [len(piece), vocabulary].
        """
        tokens = [token for piece in pieces.values() for token in piece]
        streams = [stream for stream, piece in pieces.items() for _ in piece]
        found = self._run(tokens, streams)
        ends = np.cumsum([len(piece) for piece in pieces.values()])
        parts = np.split(found, ends[:-1]) if pieces else []
        return dict(zip(pieces, parts, strict=True))

    def _run(self, tokens: Sequence[int], streams: Sequence[int]) -> Int32Array:
        which = np.asarray(list(streams), np.int64)
        if which.size and not 0 <= which.min() <= which.max() < self.streams:
            raise InputError(f"streams are 0 to {self.streams - 1}, one is {which.max()}.")
        self._program.run(check_tokens(tokens, self._network.info.vocabulary_size), which)
        return self._program.value(self._network.layers[-1].name).copy()

    def state(self, stream: int) -> Int32Array:
        """A copy of one stream's state, as ``EmulatorSession.state`` has it."""
        return self._program.states[stream].copy()

    def set_state(self, stream: int, state: Int32Array) -> None:
        """Go on with one stream from a state saved before."""
        self._program.check_state(state)
        self._program.states[stream] = state

    def reset(self, stream: int | None = None) -> None:
        """Start all streams, or one, again. Counters go on."""
        self._program.reset(stream)

    @property
    def counters(self) -> Counters:
        """Events of all streams since the session was opened."""
        return named_counters(self._network, self._program.raw_counts(), self._program.tokens_seen)

    def stream_counts(self, stream: int) -> StreamCounts:
        """Events of one stream's tokens alone since the session was opened."""
        tokens = int(self._program.stream_tokens[stream])
        return StreamCounts(self._network, self._program.counts_of(stream), tokens)

    def close(self) -> None:
        """Let helping threads go."""
        self._program.close()
