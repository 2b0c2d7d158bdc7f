"""What every backend offers: availability, and sessions that step, score, reset and count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload, runtime_checkable

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.network import Chain, LanguageModel, Network

if TYPE_CHECKING:
    from spikegpt_neuro.events.measurement import Measurement

Int32Array = npt.NDArray[np.int32]
Steps = Sequence[int] | npt.NDArray[np.integer[Any]]
"""What a network reads, one entry a time step: tokens, or for a chain a raster [T, inputs]."""


@dataclass(frozen=True)
class Availability:
    """What a backend found on this machine. ``advice`` says what to do about ``missing``."""

    ok: bool
    probed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    advice: str = ""
    details: dict[str, str] = field(default_factory=dict)


_Entered = TypeVar("_Entered")


class Session(Protocol):
    """A network in execution with its own state. A context manager; ``close`` frees everything.

    Base of ``TokenSession`` and ``RasterSession``. Other people's backends get every default from
    ``SessionDefaults``.
    """

    counts_events: bool
    """False where it has no counters of its own: stock processes and other people's code."""
    takes_one_run: bool
    """Whether everything must be given to one call of ``score``."""

    @property
    def measurement(self) -> Measurement | None:
        """What a board's profilers measured, known once the session is closed; else None."""

    def score(self, steps: Any) -> Int32Array:
        """Advance by known steps (pipelined where the backend can); int32 [T, outputs]."""

    def reset(self) -> None:
        """Start again as if nothing had been read. Counters go on."""

    @property
    def counters(self) -> Counters:
        """Events since the session was opened."""

    def trace(self, name: str) -> Int32Array:
        """Values of a traced layer in the last ``step`` or ``score``: int32 [T, size]."""

    def close(self) -> None:
        """End the session; a second call does nothing."""

    def __enter__(self: _Entered) -> _Entered: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class TokenSession(Session, Protocol):
    """A language model in execution."""

    def step(self, token: int) -> Int32Array:
        """Advance by one token (fall-through); logits int32 [vocabulary]."""

    def score(self, tokens: Sequence[int]) -> Int32Array:
        """Advance by known tokens; logits int32 [T, vocabulary]."""


@runtime_checkable
class ClosedLoop(Protocol):
    """A session of a network that chooses its tokens itself (``network.selection``), on a graph
    that can be left to itself."""

    def run_loop(self, prompt: Sequence[int], count: int) -> Int32Array:
        """Read ``prompt``, then generate: int32 [count], each token chosen and fed back without the
        caller. The state is then that after all of them."""


class RasterSession(Session, Protocol):
    """A chain in execution. Its counters' ``tokens`` are its time steps."""

    def step(self, row: npt.NDArray[np.generic]) -> Int32Array:
        """Advance by one time step, one row of a raster; the last layer's int32 [outputs]."""

    def score(self, raster: npt.NDArray[np.generic]) -> Int32Array:
        """Advance by a raster [T, inputs]; the last layer's int32 [T, outputs]."""


class SessionDefaults:
    """What most sessions are: they count events, take many runs, measure nothing, and are context
    managers, closed at the end of the ``with`` block however it ends."""

    counts_events = True
    takes_one_run = False

    @property
    def measurement(self) -> Measurement | None:
        """See ``Session.measurement``."""
        return None

    @property
    def counters(self) -> Counters:
        """See ``Session.counters``; an error here, where nothing is counted."""
        raise InputError(
            "this backend counts no events.",
            advice="The emulator executes the same integers and counts them.",
        )

    def close(self) -> None:
        """End the session; a second call does nothing."""

    def __enter__(self: _Entered) -> _Entered:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class TracedSession(SessionDefaults):
    """A session that keeps, in parts, what traced layers said in its last step or score."""

    def __init__(self) -> None:
        self._traces: dict[str, list[npt.NDArray[np.int32]]] = {}

    def trace(self, name: str) -> npt.NDArray[np.int32]:
        """See ``Session.trace``: int32 [tokens or time steps, size]."""
        if not self._traces.get(name):
            raise InputError(f"layer {name!r} was not traced in this session, or nothing ran yet.")
        return np.concatenate(self._traces[name])


class Backend(Protocol):
    """A way to execute networks, found by the entry-point group ``spikegpt_neuro.backends``.

    Other people's backends get what they do not do themselves from ``BackendDefaults``.
    """

    name: str

    def available(self) -> Availability:
        """Probe this machine without raising."""

    def open_model(self, network: LanguageModel, *, trace: Iterable[str] = ()) -> TokenSession:
        """Start a session of a language model; ``trace`` names layers whose values are kept.

        Raises ``Unavailable`` where the machine lacks something.
        """

    def open_chain(self, network: Chain, *, trace: Iterable[str] = ()) -> RasterSession:
        """Start a session of a chain; see ``open_model``."""

    def open(self, network: Network, *, trace: Iterable[str] = ()) -> Session:
        """``open_model`` or ``open_chain``, as the network is."""

    def traceable(self, network: Network) -> tuple[str, ...]:
        """Layers whose values can be seen. A graph of stock processes computes some together."""

    def traceable_states(self, network: Chain) -> tuple[str, ...]:
        """Names of states of neurons that a chain's session can trace, ``<layer>.<state>``: what a
        voltage is after each time step."""

    def measuring(self) -> Backend | None:
        """The backend with profilers, where a board has them: a session takes one run and then has
        its ``measurement``."""

    def resetting(self, interval: int | None) -> Backend | None:
        """The backend that resets neurons itself every so many time steps of a raster, where it
        can."""


class BackendDefaults:
    """What most backends are: every layer can be seen, nothing is measured, no neuron is reset
    within a run."""

    def open_model(self, network: LanguageModel, *, trace: Iterable[str] = ()) -> TokenSession:
        """See ``Backend.open_model``."""
        raise InputError(f"the backend {self._name} runs no language models.")

    def open_chain(self, network: Chain, *, trace: Iterable[str] = ()) -> RasterSession:
        """See ``Backend.open_chain``."""
        raise InputError(f"the backend {self._name} runs no chains.")

    @property
    def _name(self) -> str:
        return str(vars(type(self)).get("name", type(self).__name__))

    @overload
    def open(self, network: LanguageModel, *, trace: Iterable[str] = ()) -> TokenSession: ...

    @overload
    def open(self, network: Chain, *, trace: Iterable[str] = ()) -> RasterSession: ...

    @overload
    def open(self, network: Network, *, trace: Iterable[str] = ()) -> Session: ...

    def open(self, network: Network, *, trace: Iterable[str] = ()) -> Session:
        """See ``Backend.open``."""
        network.check_contents()
        if isinstance(network, Chain):
            return self.open_chain(network, trace=trace)
        if isinstance(network, LanguageModel):
            return self.open_model(network, trace=trace)
        raise InputError(f"a {type(network).__name__} is no network that can be executed.")

    def traceable(self, network: Network) -> tuple[str, ...]:
        """See ``Backend.traceable``."""
        return tuple(network.by_name)

    def traceable_states(self, network: Chain) -> tuple[str, ...]:
        """See ``Backend.traceable_states``."""
        return ()

    def measuring(self) -> Backend | None:
        """See ``Backend.measuring``."""
        return None

    def resetting(self, interval: int | None) -> Backend | None:
        """See ``Backend.resetting``."""
        return None


def event_counts(session: Session) -> Counters | None:
    """A session's counters; None where it does not count."""
    return session.counters if session.counts_events else None


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


def check_traces(trace: Iterable[str], network: Network) -> tuple[str, ...]:
    """Trace names in network order; ``InputError`` lists unknown ones."""
    wanted = set(trace)
    unknown = sorted(wanted - set(network.by_name))
    if unknown:
        raise InputError(
            "cannot trace layers the network does not have:",
            unknown,
            "`spikegpt-neuro inspect` lists the layers.",
        )
    return tuple(layer.name for layer in network.layers if layer.name in wanted)
