"""The fine granularity: stock Lava processes and a few own neurons, as a chip gets them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import (
    check_tokens,
    check_traces,
)
from spikegpt_neuro.backends.counting import named_counters
from spikegpt_neuro.backends.emulator import warm_up
from spikegpt_neuro.backends.execution import Count
from spikegpt_neuro.backends.lava.fine.neuron_updates import warm_up_neurons
from spikegpt_neuro.backends.lava.processes.fine_stage.process import Probing, fine_stage_of
from spikegpt_neuro.backends.lava.processes.io.process import LoopCommands, TokenInjector
from spikegpt_neuro.backends.lava.processes.neurons.process import Feedback
from spikegpt_neuro.backends.lava.processes.probe.process import Probe
from spikegpt_neuro.backends.lava.runtime import stock
from spikegpt_neuro.backends.lava.runtime.commands import (
    ADVANCE,
    BUFFERED_MESSAGES,
    CLOSE,
    IDLE,
    OPEN,
    RESET,
)
from spikegpt_neuro.backends.lava.runtime.supervision import GraphSession, SupervisedGraph
from spikegpt_neuro.backends.program import name_counts
from spikegpt_neuro.decomposition.decomposition import check_fine
from spikegpt_neuro.decomposition.elements import FLAGS
from spikegpt_neuro.decomposition.schedule import LONGEST_DELAY, Schedule, schedule
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.network import LanguageModel

Int32Array = npt.NDArray[np.int32]


class FineSession(GraphSession):
    """A session on the graph a chip gets.

    ``score`` is pipelined: a token enters every time step, and its logits leave ``depth`` steps
    later. ``step`` is fall-through: one token passes the whole graph before the next enters.
    """

    def __init__(self, network: LanguageModel, *, trace: Iterable[str] = ()) -> None:
        self._network = network
        self._traced = check_traces(trace, network)
        check_fine(network)
        self._logits = network.layers[-1].name
        super().__init__()
        self._tokens_seen = 0
        warm_up()  # compiled here, before the fork, and not once in every process
        warm_up_neurons()
        self._probes: list[Probe] = []
        planned = schedule(network)
        self.depth = planned.depth
        wanted = frozenset({*self._traced, self._logits})
        probing = Probing(wanted, BUFFERED_MESSAGES, self._probes.append)
        size = self._vocabulary_size = network.info.vocabulary_size
        self._injector = TokenInjector(size, BUFFERED_MESSAGES)
        source, gate, gates = self._injector.s_out, self._injector.g_out, 1
        loop = _Loop(self._injector, size, planned) if planned.chooses else None
        commands = self._injector.c_out if loop is None else loop.commands.c_out
        for plan in planned.stages:
            entering = loop if plan is planned.stages[0] else None
            fed_back = 0 if entering is None else size
            stage = fine_stage_of(plan.name)(plan, size, gates, probing, fed_back)
            source.connect(stage.a_in)
            gate.connect(stage.g_in)
            if entering is not None:
                entering.neurons.s_out.connect(stage.a_in)
                entering.neurons.s_out.connect(stage.f_in)
            commands.connect(stage.c_in)
            source, gate, gates = stage.s_out, stage.g_out, len(plan.gates)
            size = plan.layers[-1].output.size
        if loop is not None:
            source.connect(loop.neurons.a_in)
        self._graph = SupervisedGraph(self._injector)

    def _exchange(self, commands: Sequence[tuple[int, int]], tokens: int) -> dict[str, Int32Array]:
        """Send one command a time step; collect what traced layers say of each of ``tokens``."""
        pipes = [probe for probe in self._probes if probe.proc_params["reports"]]
        replies = [np.empty((tokens, probe.pipe.shape[0]), np.int32) for probe in pipes]
        self._graph.exchange(
            self._injector.pipe.external_pipe_csp_send_port,
            np.array(commands, np.int32),
            [
                (probe.pipe.external_pipe_csp_recv_port, reply)
                for probe, reply in zip(pipes, replies, strict=True)
            ],
        )
        values = {}
        for probe, reply in zip(pipes, replies, strict=True):
            offset = 0
            for name in probe.proc_params["reports"]:
                size = self._network[name].output.size
                values[name] = reply[:, offset : offset + size]
                offset += size
        return values

    def _advance(self, commands: Sequence[tuple[int, int]], fed_back: int = 0) -> Int32Array:
        """The last layer's values after each token that enters or, of a loop, is fed back."""
        tokens = sum(command in (ADVANCE, OPEN) for command, _ in commands) + fed_back
        replies = self._exchange(commands, tokens)
        self._tokens_seen += tokens
        self._traces = {name: [values] for name, values in replies.items()}
        return replies[self._logits]

    def step(self, token: int) -> Int32Array:
        """See ``Session.step``: the token, then as many idle steps as the graph is deep."""
        checked = check_tokens([token], self._vocabulary_size)
        return self._advance([(ADVANCE, int(checked[0])), *[(IDLE, 0)] * self.depth])[0]

    def score(self, tokens: Sequence[int]) -> Int32Array:
        """See ``Session.score``: a token every time step."""
        checked = check_tokens(tokens, self._vocabulary_size)
        if not checked.size:
            return np.empty((0, self._network.output_size), np.int32)
        entering = [(ADVANCE, int(token)) for token in checked]
        return self._advance([*entering, *[(IDLE, 0)] * self.depth])

    def reset(self) -> None:
        """See ``Session.reset``: the command reaches each layer in its turn."""
        self._exchange([(RESET, 0), *[(IDLE, 0)] * self.depth], 0)

    @property
    def counters(self) -> Counters:
        """See ``Session.counters``; counted by the probes from the values they see."""
        rows = [np.zeros((len(self._network.layers), int(Count.WIDTH)), np.int64)]
        if self._tokens_seen:
            self._graph.check()
            # Lava builds the stages in an order of its own
            found = {probe.proc_params["plan"].name: probe.counts.get() for probe in self._probes}
            rows = [np.asarray(found[name]).astype(np.int64) for name in self._network.stages]
        raw = name_counts(self._network.layers, np.concatenate(rows))
        return named_counters(self._network, raw, self._tokens_seen)


class _Loop:
    """The way back of a graph that chooses its tokens itself.

    The host's flags wait as long as a token takes, and so meet the winner of the token that they
    came with. ``commands`` tells probes of what is fed back.
    """

    def __init__(self, injector: TokenInjector, size: int, planned: Schedule) -> None:
        self.neurons, self.commands = Feedback(size), LoopCommands(size)
        flags, steps = injector.f_out, planned.depth
        while steps:
            now = min(steps, LONGEST_DELAY)
            line = stock.delay(FLAGS, now)
            flags.connect(line.s_in)
            flags, steps = line.a_out, steps - now
        flags.connect(self.neurons.f_in)
        injector.c_out.connect(self.commands.c_in)
        self.neurons.s_out.connect(self.commands.a_in)


class LoopSession(FineSession):
    """A session on a graph that chooses its tokens itself, and can be left to itself.

    ``step`` and ``score`` are as ever; the loop is closed in them.
    """

    def run_loop(self, prompt: Sequence[int], count: int) -> Int32Array:
        """See ``ClosedLoop.run_loop``: ``depth`` time steps a token, in which nothing enters.

        The last token that is chosen is read too, and the one chosen after it does not enter.
        """
        checked = check_tokens(prompt, self._vocabulary_size)
        if not count or not checked.size:
            self.score(prompt)
            return np.empty(0, np.int32)
        entering = [(ADVANCE, int(token)) for token in checked[:-1]]
        free = [(IDLE, 0)] * ((count + 1) * self.depth)
        free[count * self.depth - 1] = CLOSE, 0
        winners = self._advance([*entering, (OPEN, int(checked[-1])), *free], count)
        chosen = winners[checked.size - 1 : checked.size - 1 + count]
        return chosen.argmax(axis=1).astype(np.int32)
