"""The fused granularity: one Lava process a stage, no delay inside a time step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import (
    check_tokens,
    check_traces,
)
from spikegpt_neuro.backends.counting import named_counters
from spikegpt_neuro.backends.emulator import warm_up
from spikegpt_neuro.backends.lava.processes.io.process import Extractor, Injector
from spikegpt_neuro.backends.lava.processes.stage.process import Stage
from spikegpt_neuro.backends.lava.runtime.commands import ADVANCE, BUFFERED_MESSAGES, HEADER, RESET
from spikegpt_neuro.backends.lava.runtime.supervision import GraphSession, SupervisedGraph
from spikegpt_neuro.backends.program import name_counts
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.network import LanguageModel, Network
from spikegpt_neuro.network.layers import OPERAND_LIMIT

Int32Array = npt.NDArray[np.int32]


def stage_messages(network: Network, kept: Iterable[str]) -> list[dict[str, int]]:
    """Layer values (name to size) that travel from each stage to the next.

    A value travels as far as a later stage reads it; kept values (logits, traces) to the end.
    """
    stages = list(network.stages.values())
    wanted = set(kept)
    messages = []
    for i in range(len(stages)):
        later = {s for stage in stages[i + 1 :] for layer in stage for s in layer.inputs}
        done = [layer for stage in stages[: i + 1] for layer in stage]
        messages.append(
            {x.name: x.output.size for x in done if x.name in wanted or x.name in later}
        )
    return messages


class StageGraph(GraphSession):
    """Stages that are Lava processes, one behind the other; state lives in them.

    ``entering``: layer values (name to size) that come from the caller with each command.
    """

    def __init__(self, network: Network, trace: Iterable[str], entering: Mapping[str, int]) -> None:
        self._network = network
        self._traced = check_traces(trace, network)
        self._logits = network.layers[-1].name
        super().__init__()
        self._tokens_seen = 0
        warm_up()  # compiled here, before the fork, and not once in every process
        messages = stage_messages(network, [*self._traced, self._logits])
        self._injector = Injector(HEADER + sum(entering.values()), BUFFERED_MESSAGES)
        self._stages: list[Stage] = []
        receives = dict(entering)
        wide = [layer.name for layer in network.layers if layer.output.high > OPERAND_LIMIT]
        source = self._injector.s_out
        for layers, sends in zip(network.stages.values(), messages, strict=True):
            stage = Stage(layers, receives, sends, wide)
            source.connect(stage.a_in)
            source, receives = stage.s_out, sends
            self._stages.append(stage)
        self._result = messages[-1]
        self._extractor = Extractor(HEADER + sum(self._result.values()), BUFFERED_MESSAGES)
        source.connect(self._extractor.a_in)
        self._graph = SupervisedGraph(self._injector)

    def _exchange(self, commands: Int32Array) -> Int32Array:
        """Send commands [T, words], one a time step, and receive as many messages."""
        replies = np.empty((len(commands), HEADER + sum(self._result.values())), np.int32)
        self._graph.exchange(
            self._injector.pipe.external_pipe_csp_send_port,
            commands,
            [(self._extractor.pipe.external_pipe_csp_recv_port, replies)],
        )
        return replies

    def _command(self, command: int, steps: int) -> Int32Array:
        """``steps`` times the same command, with room for a token and what enters."""
        commands = np.zeros((steps, *self._injector.s_out.shape), np.int32)
        commands[:, 0] = command
        return commands

    def _advance(self, commands: Int32Array) -> Int32Array:
        replies = self._exchange(commands)
        self._tokens_seen += len(commands)
        offset = HEADER
        values = {}
        for name, size in self._result.items():
            values[name] = replies[:, offset : offset + size]
            offset += size
        self._traces = {name: [values[name]] for name in self._traced}
        return values[self._logits]

    def reset(self) -> None:
        """See ``Session.reset``: one time step in which every stage resets its state."""
        self._exchange(self._command(RESET, 1))

    def _counts(self) -> list[npt.NDArray[np.int64]]:
        if self._tokens_seen == 0:
            return [np.zeros(stage.counts.shape, np.int64) for stage in self._stages]
        self._graph.check()
        return [np.asarray(stage.counts.get()).astype(np.int64) for stage in self._stages]

    @property
    def counters(self) -> Counters:
        """See ``Session.counters``; read from the processes' variables."""
        counts = self._counts()
        raw = name_counts(self._network.layers, np.concatenate(counts))
        return named_counters(self._network, raw, self._tokens_seen)


class FusedSession(StageGraph):
    """A session of a network that reads tokens."""

    def __init__(self, network: LanguageModel, *, trace: Iterable[str] = ()) -> None:
        super().__init__(network, trace, {})
        self._vocabulary_size = network.info.vocabulary_size

    def step(self, token: int) -> Int32Array:
        """See ``Session.step``."""
        return self.score([token])[0]

    def score(self, tokens: Sequence[int]) -> Int32Array:
        """See ``Session.score``; earlier stages compute the next tokens already."""
        checked = check_tokens(tokens, self._vocabulary_size)
        if not checked.size:
            return np.empty((0, self._network.output_size), np.int32)
        commands = self._command(ADVANCE, checked.size)
        commands[:, 1] = checked
        return self._advance(commands)
