"""The emulator: the whole network as one program, in this process. The fast exact backend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import (
    Availability,
    ClosedAtExit,
    check_token_network,
    check_tokens,
    check_traces,
)
from spikegpt_neuro.backends.counters import Counters
from spikegpt_neuro.backends.counting import named_counters
from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.backends.raster import RasterSession
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.random_networks import RandomShape, random_network

Int32Array = npt.NDArray[np.int32]

BLOCK = 64
"""Tokens scored per pass through the weights (benchmarks/): more gains nothing in cache."""


class EmulatorSession(ClosedAtExit):
    """One state of a network; weights stay memory mapped and are shared between sessions."""

    def __init__(
        self,
        network: Network,
        *,
        trace: Iterable[str] = (),
        event_driven: bool = True,
        threads: int = 1,
    ) -> None:
        """``event_driven`` False walks all weights; ``threads`` share the work: same integers."""
        check_token_network(network)
        self._network = network
        self._traced = check_traces(trace, network)
        self._program = Program(
            network.layers, keep=self._traced, event_driven=event_driven, threads=threads
        )
        self._traces: dict[str, list[Int32Array]] = {}
        self._logits = network.layers[-1].name

    @property
    def program(self) -> Program:
        """What is executed: its layers, and how each one's weights are walked."""
        return self._program

    def _run(self, tokens: npt.NDArray[np.int64]) -> Int32Array:
        self._program.run(tokens)
        for name in self._traced:
            self._traces[name].append(self._program.value(name).copy())
        return self._program.value(self._logits)

    def step(self, token: int) -> Int32Array:
        """See ``Session.step``."""
        tokens = check_tokens([token], self._network.info.vocabulary_size)
        self._traces = {name: [] for name in self._traced}
        return self._run(tokens)[0].copy()

    def score(self, tokens: Sequence[int]) -> Int32Array:
        """See ``Session.score``; runs blocks of tokens through each weight matrix."""
        checked = check_tokens(tokens, self._network.info.vocabulary_size)
        self._traces = {name: [] for name in self._traced}
        logits = np.empty((checked.size, self._network.info.vocabulary_size), np.int32)
        for begin in range(0, checked.size, BLOCK):
            logits[begin : begin + BLOCK] = self._run(checked[begin : begin + BLOCK])
        return logits

    def trace(self, name: str) -> Int32Array:
        """See ``Session.trace``."""
        if not self._traces.get(name):
            raise InputError(f"layer {name!r} was not traced in this session, or nothing ran yet.")
        return np.concatenate(self._traces[name])

    def reset(self) -> None:
        """See ``Session.reset``."""
        self._program.reset()

    @property
    def counters(self) -> Counters:
        """See ``Session.counters``."""
        return named_counters(self._network, self._program.raw_counts(), self._program.tokens_seen)

    @property
    def state(self) -> Int32Array:
        """A copy of the whole recurrent state: every delay, membrane potential and WKV sum."""
        return self._program.state.copy()

    @state.setter
    def state(self, state: Int32Array) -> None:
        problems = list(self._program.state_problems(state))
        if problems:
            raise InputError(
                "this is not a state of this network:", problems, "Was it saved from another one?"
            )
        self._program.state[:] = state

    def close(self) -> None:
        """See ``Session.close``: nothing outlives the session but the network value."""
        self._program.close()


def warm_up() -> None:
    """Compile every kernel into numba's cache, so that first use of a model starts at once."""
    shape = RandomShape(n_layer=1, n_embd=8, vocabulary_size=4)
    with EmulatorSession(random_network(shape)) as session:
        session.step(0)
        session.score([1, 2])


class Emulator:
    """The backend of that name."""

    name = "emulator"

    def __init__(self, threads: int = 1) -> None:
        """``threads``: more than one pays only where that many cores are idle."""
        if threads < 1:
            raise InputError(f"{threads} threads; at least 1 is needed.")
        self._threads = threads

    def available(self) -> Availability:
        """Always there: numba and numpy are dependencies of the package."""
        return Availability(ok=True, probed=("numba",))

    def open(
        self, network: Network, *, trace: Iterable[str] = ()
    ) -> EmulatorSession | RasterSession:
        """See ``Backend.open``; a chain's layers are too small to share between threads."""
        if network.takes_raster:
            return RasterSession(network, trace=trace)
        return EmulatorSession(network, trace=trace, threads=self._threads)
