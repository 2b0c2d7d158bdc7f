"""The emulator: the whole network as one program, in this process. The fast exact backend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import (
    Availability,
    BackendDefaults,
    check_tokens,
)
from spikegpt_neuro.backends.execution import packed_walk
from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.backends.program_session import ProgramSession
from spikegpt_neuro.backends.raster import EmulatorChainSession
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Chain, LanguageModel
from spikegpt_neuro.network.random_networks import RandomShape, random_network

Int32Array = npt.NDArray[np.int32]

BLOCK = 64
"""Tokens scored per pass through the weights (benchmarks/): more gains nothing in cache."""


class EmulatorSession(ProgramSession):
    """A session of a network that reads tokens."""

    def __init__(
        self,
        network: LanguageModel,
        *,
        trace: Iterable[str] = (),
        event_driven: bool = True,
        threads: int = 1,
    ) -> None:
        """``event_driven`` False walks all weights; ``threads`` share the work: same integers."""
        super().__init__(network, trace, event_driven=event_driven, threads=threads)
        self._vocabulary_size = network.info.vocabulary_size

    @property
    def program(self) -> Program:
        """What is executed: its layers, and how each one's weights are walked."""
        return self._program

    def step(self, token: int) -> Int32Array:
        """See ``Session.step``."""
        tokens = check_tokens([token], self._vocabulary_size)
        self._traces = {name: [] for name in self._traced}
        return self._run(tokens)[0].copy()

    def score(self, tokens: Sequence[int]) -> Int32Array:
        """See ``Session.score``; runs blocks of tokens through each weight matrix."""
        checked = check_tokens(tokens, self._vocabulary_size)
        self._traces = {name: [] for name in self._traced}
        logits = np.empty((checked.size, self._network.output_size), np.int32)
        for begin in range(0, checked.size, BLOCK):
            logits[begin : begin + BLOCK] = self._run(checked[begin : begin + BLOCK])
        return logits

    @property
    def state(self) -> Int32Array:
        """A copy of the whole recurrent state: every delay, membrane potential and WKV sum."""
        return self._program.state.copy()

    @state.setter
    def state(self, state: Int32Array) -> None:
        self._program.check_state(state)
        self._program.state[:] = state


def warm_up() -> None:
    """Compile every kernel into numba's cache, so that first use of a model starts at once."""
    shape = RandomShape(n_layer=1, n_embd=8, vocabulary_size=4)
    with EmulatorSession(random_network(shape)) as session:
        session.step(0)
        session.score([1, 2])
    packed_walk()


class Emulator(BackendDefaults):
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

    def traceable_states(self, network: Chain) -> tuple[str, ...]:
        """See ``Backend.traceable_states``: all of neurons."""
        return tuple(
            f"{layer.name}.{state.name}"
            for layer in network.layers
            for state in layer.states
            if layer.role == "neuron"
        )

    def open_chain(self, network: Chain, *, trace: Iterable[str] = ()) -> EmulatorChainSession:
        """See ``Backend.open_chain``; its layers are too small to share between threads."""
        network.check_contents()
        return EmulatorChainSession(network, trace=trace)

    def open_model(self, network: LanguageModel, *, trace: Iterable[str] = ()) -> EmulatorSession:
        """See ``Backend.open_model``."""
        network.check_contents()
        return EmulatorSession(network, trace=trace, threads=self._threads)
