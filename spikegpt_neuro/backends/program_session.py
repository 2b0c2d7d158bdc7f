"""What the sessions of one program in this process share, whether it takes tokens or rasters."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import TracedSession, check_traces
from spikegpt_neuro.backends.counting import named_counters
from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.network import Network


class ProgramSession(TracedSession):
    """One state of a network; weights stay memory mapped and are shared between sessions."""

    def __init__(
        self, network: Network, trace: Iterable[str], *, event_driven: bool = True, threads: int = 1
    ) -> None:
        super().__init__()
        self._network = network
        self._traced = check_traces(trace, network)
        self._program = Program(
            network.layers, keep=self._traced, event_driven=event_driven, threads=threads
        )

    def _run(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """The last layer's values, which the next run overwrites; keeps those of traced layers."""
        self._program.run(tokens)
        for name in self._traced:
            self._traces[name].append(self._program.value(name).copy())
        return self._program.value(self._network.layers[-1].name)

    def reset(self) -> None:
        """See ``Session.reset``. Counters go on."""
        self._program.reset()

    @property
    def counters(self) -> Counters:
        """See ``Session.counters``; of a chain, a token is a time step."""
        return named_counters(self._network, self._program.raw_counts(), self._program.tokens_seen)

    def close(self) -> None:
        """See ``Session.close``: nothing outlives the session but the network value."""
        self._program.close()
