"""What every backend offers: availability, and sessions that step, score, reset and count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.counters import Counters
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network

Int32Array = npt.NDArray[np.int32]
Steps = Any
"""What a network reads, one entry a time step: tokens, or for a chain a raster [T, inputs]. A
session narrows it to what its network takes."""


@dataclass(frozen=True)
class Availability:
    """What a backend found on this machine. ``advice`` says what to do about ``missing``."""

    ok: bool
    probed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    advice: str = ""
    details: dict[str, str] = field(default_factory=dict)


class Session(Protocol):
    """A network in execution with its own state. A context manager; ``close`` frees everything."""

    def step(self, token: Any) -> Int32Array:
        """Advance by one token (fall-through); logits int32 [vocabulary]."""

    def score(self, tokens: Steps) -> Int32Array:
        """Advance by known tokens (pipelined where the backend can); int32 [T, vocabulary].

        A chain takes a raster instead, [T, inputs], and gives its last layer, int32 [T, outputs];
        ``step`` then takes one row. Counters' ``tokens`` are its time steps.
        """

    def reset(self) -> None:
        """Start again as if no token had been seen. Counters go on."""

    @property
    def counters(self) -> Counters:
        """Events since the session was opened."""

    def trace(self, name: str) -> Int32Array:
        """Values of a traced layer in the last ``step`` or ``score``: int32 [T, size]."""

    def close(self) -> None:
        """End the session; a second call does nothing."""

    def __enter__(self) -> Session: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


_Closing = TypeVar("_Closing", bound="ClosedAtExit")


class ClosedAtExit:
    """A session as a context manager: closed at the end of the ``with`` block, however it ends."""

    def close(self) -> None:
        """End the session; a second call does nothing."""

    def __enter__(self: _Closing) -> _Closing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class TracedSession(ClosedAtExit):
    """A session that keeps, in parts, what traced layers said in its last step or score."""

    def __init__(self) -> None:
        self._traces: dict[str, list[npt.NDArray[np.int32]]] = {}

    def trace(self, name: str) -> npt.NDArray[np.int32]:
        """See ``Session.trace``: int32 [tokens or time steps, size]."""
        if not self._traces.get(name):
            raise InputError(f"layer {name!r} was not traced in this session, or nothing ran yet.")
        return np.concatenate(self._traces[name])


class Backend(Protocol):
    """A way to execute networks, found by the entry-point group ``spikegpt_neuro.backends``."""

    name: str

    def available(self) -> Availability:
        """Probe this machine without raising."""

    def open(self, network: Network, *, trace: Iterable[str] = ()) -> Session:
        """Start a session; ``trace`` names layers whose values are kept.

        Raises ``Unavailable`` where the machine lacks something.
        """


def traceable_layers(backend: Backend, network: Network) -> tuple[str, ...]:
    """Layers whose values the backend can show: all, unless it has a method ``traceable``.

    A graph of stock processes computes some layers together; such a backend says what is seen.
    """
    method = getattr(backend, "traceable", None)
    return tuple(network.by_name) if method is None else tuple(method(network))


def event_counts(session: Session) -> Counters | None:
    """A session's counters; None where it says by ``counts_events = False`` that it has none.

    Stock processes and other people's code do not count.
    """
    return session.counters if getattr(session, "counts_events", True) else None


def check_tokens(tokens: Iterable[int], vocabulary_size: int) -> npt.NDArray[np.int64]:
    """Tokens as int64 [T]; ``InputError`` names the first token outside the vocabulary."""
    array = np.atleast_1d(np.asarray(list(tokens), dtype=np.int64))
    wrong = np.flatnonzero((array < 0) | (array >= vocabulary_size))
    if wrong.size:
        raise InputError(
            f"token {array[wrong[0]]} at position {wrong[0]} is outside the vocabulary "
            f"(0..{vocabulary_size - 1}); {wrong.size} tokens are.",
        )
    return array


def check_token_network(network: Network) -> None:
    """``InputError`` for a chain: this session takes tokens."""
    if network.takes_raster:
        raise InputError("this network is a chain that takes a raster, not tokens.")


def check_traces(trace: Iterable[str], network: Network) -> tuple[str, ...]:
    """Trace names in network order; ``InputError`` lists unknown ones."""
    wanted = set(trace)
    unknown = sorted(wanted - set(network.by_name))
    if unknown:
        raise InputError(
            "cannot trace layers the network does not have:", unknown,
            "`spikegpt-neuro inspect` lists the layers.",
        )  # fmt: skip
    return tuple(layer.name for layer in network.layers if layer.name in wanted)
