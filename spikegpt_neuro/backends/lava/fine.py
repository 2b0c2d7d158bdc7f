"""The fine granularity: stock synapses and one process a layer of neurons, as a chip has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import (
    ClosedAtExit,
    check_token_network,
    check_tokens,
    check_traces,
)
from spikegpt_neuro.backends.counters import Counters
from spikegpt_neuro.backends.counting import named_counters
from spikegpt_neuro.backends.emulator import warm_up
from spikegpt_neuro.backends.execution import Count
from spikegpt_neuro.backends.lava.processes.io.process import Injector
from spikegpt_neuro.backends.lava.processes.neuron.process import (
    ADVANCE,
    HEADER,
    IDLE,
    RESET,
    Neurons,
)
from spikegpt_neuro.backends.lava.processes.part.process import Part
from spikegpt_neuro.backends.lava.schedule import available_at, plan_neurons
from spikegpt_neuro.backends.lava.supervision import SupervisedGraph
from spikegpt_neuro.backends.program import name_counts
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.layers import Dense

Int32Array = npt.NDArray[np.int32]

BUFFERED = 32
"""Messages a pipe holds."""
STOCK_LIMIT = 1 << 30
"""Stock Dense computes twice the accumulator in 32 bits."""


class FineSession(ClosedAtExit):
    """A session on the graph a chip gets.

    ``score`` is pipelined: a token enters every time step, and its logits leave ``depth`` steps
    later. ``step`` is fall-through: one token passes the whole graph before the next enters.
    """

    def __init__(self, network: Network, *, trace: Iterable[str] = ()) -> None:
        check_token_network(network)
        self._network = network
        self._traced = check_traces(trace, network)
        self._check(network)
        self._logits = network.layers[-1].name
        self._traces: dict[str, Int32Array] = {}
        self._tokens_seen = 0
        self.depth = max(available_at(network).values())
        warm_up()  # compiled here, before the fork, and not once in every process
        self._neurons: dict[str, Neurons] = {}
        self._injector = Injector(HEADER, BUFFERED)
        plans = plan_neurons(network)
        wanted = frozenset({*self._traced, self._logits})
        source = None
        self._parts = []
        for layers in network.stages.values():
            names = {layer.name for layer in layers}
            outside = {s for layer in layers for s in layer.inputs if s not in names} - {TOKEN}
            stream = [(name, network[name].output.size) for name in outside]
            part = Part(
                layers, plans, stream[0] if stream else None, wanted, BUFFERED, self._remember
            )  # fmt: skip
            self._injector.s_out.connect(part.c_in)
            if source is not None:
                source.connect(part.a_in)
            source = part.s_out
            self._parts.append(part)
        self._graph = SupervisedGraph(self._injector)

    @staticmethod
    def _check(network: Network) -> None:
        problems = []
        last = ""
        for name, layers in network.stages.items():
            names = {layer.name for layer in layers}
            outside = {s for layer in layers for s in layer.inputs if s not in names} - {TOKEN}
            if outside - {last}:
                problems.append(f"{name} reads {', '.join(sorted(outside))}, not only {last}")
            last = layers[-1].name
        problems += [
            f"{layer.name}: accumulators up to {layer.bound}, must stay below {STOCK_LIMIT}"
            for layer in network.layers
            if isinstance(layer, Dense) and layer.bound >= STOCK_LIMIT
        ]
        if problems:
            raise InputError("this network has no fine Lava graph:", problems)

    def _remember(self, neurons: Neurons) -> None:
        self._neurons[neurons.proc_params["plan"].layer.name] = neurons

    def _exchange(self, commands: Sequence[tuple[int, int]]) -> dict[str, Int32Array]:
        """Send one command a time step; collect what traced layers say of each token."""
        tokens = sum(command == ADVANCE for command, _ in commands)
        pipes = [n for n in self._neurons.values() if n.proc_params["reports"]]
        replies = [np.empty((tokens, neurons.pipe.shape[0]), np.int32) for neurons in pipes]
        received = [0] * len(pipes)
        sent = 0
        sender = self._injector.pipe.external_pipe_csp_send_port

        def turn() -> bool:
            nonlocal sent
            moved = False
            while sent < len(commands) and sender.probe():
                sender.send(np.array(commands[sent], np.int32))
                sent += 1
                moved = True
            for i, neurons in enumerate(pipes):
                receiver = neurons.pipe.external_pipe_csp_recv_port
                while received[i] < tokens and receiver.probe():
                    replies[i][received[i]] = receiver.recv()
                    received[i] += 1
                    moved = True
            return moved

        self._graph.run(len(commands), turn)
        while any(count < tokens for count in received):
            if not turn():
                self._graph.check()
        values = {}
        for neurons, reply in zip(pipes, replies, strict=True):
            offset = 0
            for name in neurons.proc_params["reports"]:
                size = self._network[name].output.size
                values[name] = reply[:, offset : offset + size]
                offset += size
        return values

    def _advance(self, commands: Sequence[tuple[int, int]]) -> Int32Array:
        replies = self._exchange(commands)
        self._tokens_seen += sum(command == ADVANCE for command, _ in commands)
        self._traces = replies
        return replies[self._logits]

    def step(self, token: int) -> Int32Array:
        """See ``Session.step``: the token, then as many idle steps as the graph is deep."""
        checked = check_tokens([token], self._network.info.vocabulary_size)
        return self._advance([(ADVANCE, int(checked[0])), *[(IDLE, 0)] * self.depth])[0]

    def score(self, tokens: Sequence[int]) -> Int32Array:
        """See ``Session.score``: a token every time step."""
        checked = check_tokens(tokens, self._network.info.vocabulary_size)
        if not checked.size:
            return np.empty((0, self._network.info.vocabulary_size), np.int32)
        entering = [(ADVANCE, int(token)) for token in checked]
        return self._advance([*entering, *[(IDLE, 0)] * self.depth])

    def trace(self, name: str) -> Int32Array:
        """See ``Session.trace``; accumulators are reported by the neurons that collect them."""
        if name not in self._traces:
            raise InputError(f"layer {name!r} was not traced in this session, or nothing ran yet.")
        return self._traces[name]

    def reset(self) -> None:
        """See ``Session.reset``: the command reaches each layer in its turn."""
        self._exchange([(RESET, 0), *[(IDLE, 0)] * self.depth])

    @property
    def counters(self) -> Counters:
        """See ``Session.counters``; synapses are counted by the neurons at their two ends."""
        rows = {layer.name: np.zeros(int(Count.WIDTH), np.int64) for layer in self._network.layers}
        if self._tokens_seen:
            self._graph.check()
            for name, neurons in self._neurons.items():
                plan = neurons.proc_params["plan"]
                counted = [name, *(d.name for d in plan.feeds), *(d.name for _, d in plan.collects)]
                found = np.asarray(neurons.counts.get()).astype(np.int64)
                for row, layer_name in zip(found, counted, strict=True):
                    rows[layer_name] += row
        raw = name_counts(self._network.layers, np.stack(list(rows.values())))
        return named_counters(self._network, raw, self._tokens_seen)

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the graph's actors."""
        return self._graph.process_ids

    def close(self) -> None:
        """See ``Session.close``."""
        self._graph.close()
