"""What choosing the next token costs a chip: counts of the layers that do, from a run's logits.

A run of a network gives its logits; the layers that ``with_selection`` puts behind them are
executed on these by the same integer program as on any backend. So one run counts for a network
and for the same network choosing by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import Session
from spikegpt_neuro.backends.counting import layer_counts
from spikegpt_neuro.backends.execution import Count
from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.decomposition.decomposition import fine_problems
from spikegpt_neuro.energy.timing import CLOSED_LOOP
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.network import LanguageModel, Network
from spikegpt_neuro.network.selection import STAGE, selection_problem, with_selection

_BLOCK = 64
"""Tokens whose logits are compared at a time."""


def closed_loop_problem(network: Network, profile: Profile) -> str:
    """Why ``profile`` has no closed loop of ``network``; empty where it has one."""
    if profile.method != "event-driven" or not profile.can("closed_loop"):
        return "its profile says nothing of loops on the chip"
    if not isinstance(network, LanguageModel):
        return "a chain generates no tokens"
    problem = selection_problem(network)
    if not problem and fine_problems(network):
        problem = "it has no fine graph, whose winners could be fed back"
    return problem


def wants_choices(modes: Sequence[str], profiles: Iterable[Profile]) -> bool:
    """Whether a report in ``modes`` needs the counts of choosing tokens."""
    return CLOSED_LOOP in modes and any(profile.can("closed_loop") for profile in profiles)


def choice_counter(network: Network) -> ChoiceCounter | None:
    """A counter for ``network``, where layers can choose its tokens."""
    if isinstance(network, LanguageModel) and not selection_problem(network):
        return ChoiceCounter(network)
    return None


class ChoiceCounter:
    """Runs the layers that choose on logits of ``network``, and counts.

    Raises ``InputError`` where ``with_selection`` does.
    """

    def __init__(self, network: LanguageModel) -> None:
        self._network = with_selection(network)
        self._readout = self._network.logits
        self._layers = [layer for layer in self._network.layers if layer.stage == STAGE]
        name, size = self._readout.name, self._readout.output.size
        self._program = Program(self._layers, sizes={name: size}, wide=[name])
        self._events = self._units = self._clipped = self._tokens = 0

    def add(self, logits: npt.NDArray[np.int32]) -> None:
        """Count the choice after each row of ``logits``, int32 [tokens, vocabulary]."""
        port = self._readout.output
        for begin in range(0, len(logits), _BLOCK):
            block = logits[begin : begin + _BLOCK]
            narrow = block.clip(port.low, port.high)
            self._clipped += int((narrow != block).sum())
            self._events += int((narrow != 0).sum())
            self._units += int((np.abs(narrow) == 1).sum())
            self._program.reserve(len(block))
            self._program.value(self._readout.name)[:] = narrow
            self._program.run(np.zeros(len(block), np.int64))
        self._tokens += len(logits)

    def watching(self, session: Session) -> Session:
        """``session``, whose scores are counted as they pass."""
        return _Watched(session, self)

    def counters(self, counters: Counters) -> Counters:
        """``counters`` of the run that gave the logits, with those of the layers behind them.

        Raises ``ValueError`` where the run had more or fewer tokens.
        """
        if counters.tokens != self._tokens:
            raise ValueError(f"logits of {self._tokens} tokens, counts of {counters.tokens}")
        name = self._readout.name
        raw: dict[str, Any] = self._program.raw_counts()
        raw[name] = {Count.EVENTS: self._events, Count.UNIT_EVENTS: self._units}
        counted = {layer.name: layer_counts(layer, raw, self._tokens) for layer in self._layers}
        readout = dict(counters.layers[name])
        readout["saturations"] = readout.get("saturations", 0) + self._clipped
        return Counters(counters.tokens, {**counters.layers, name: readout, **counted})


class _Watched:
    """A session that shows its scores to a counter."""

    def __init__(self, session: Session, counter: ChoiceCounter) -> None:
        self._session, self._counter = session, counter

    def score(self, tokens: Any) -> npt.NDArray[np.int32]:
        """See ``Session.score``."""
        logits = self._session.score(tokens)
        self._counter.add(logits)
        return logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)
