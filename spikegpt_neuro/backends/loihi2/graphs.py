"""Process graphs for a board; imported in the worker, where lava-loihi is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.proc.dense.process import Dense as StockDense
from lava.proc.embedded_io.spike import NxToPyAdapter, PyToNxAdapter
from lava.proc.lif.process import LIF, LIFReset

from spikegpt_neuro.backends.lava.chains.stock_chain import (
    connect,
    connect_stock,
    lif_parameters,
    message_bits,
    neurons,
)
from spikegpt_neuro.backends.lava.processes.fine_stage.process import fine_stage_of
from spikegpt_neuro.backends.lava.processes.io.process import (
    EmbeddingInjector,
    Extractor,
    Injector,
)
from spikegpt_neuro.backends.lava.runtime.commands import BUFFERED_MESSAGES
from spikegpt_neuro.backends.lava.runtime.supervision import SupervisedGraph
from spikegpt_neuro.backends.loihi2.selection import BoardConfiguration
from spikegpt_neuro.decomposition.elements import FLAGS
from spikegpt_neuro.decomposition.schedule import schedule, without_embedding
from spikegpt_neuro.decomposition.stock_plan import Shape, input_shape, plan_stock
from spikegpt_neuro.errors import RunFailed
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.schema import Layer, Port
from spikegpt_neuro.network.slayer_layers import Cuba

Int32Array = npt.NDArray[np.int32]

LONGEST_LATENCY = 24
"""Steps in which a spike must come back through the adapters."""


@dataclass(frozen=True)
class BoardGraph:
    """A connected graph with its two ends on the host, not compiled yet.

    ``depth``: time steps from a row's arrival on the chip to its result's.
    """

    injector: Injector | EmbeddingInjector
    extractor: Extractor
    depth: int

    @property
    def process(self) -> AbstractProcess:
        """Any process of the graph."""
        return self.injector


class BoardRun:
    """A graph running on the board: rows in, rows out, one of each a time step."""

    def __init__(self, graph: BoardGraph, configuration: BoardConfiguration) -> None:
        self._graph = graph
        self._supervised = SupervisedGraph(graph.process, configuration)

    def exchange(self, rows: Int32Array) -> Int32Array:
        """Run as many time steps as there are rows [T, in]; what left the chip in them, [T, out].

        Messages of fewer than 32 bits arrive without their sign, which is restored.
        """
        replies = np.empty((len(rows), self._graph.extractor.pipe.shape[0]), np.int32)
        self._supervised.exchange(
            self._graph.injector.pipe.external_pipe_csp_send_port,
            rows,
            [(self._graph.extractor.pipe.external_pipe_csp_recv_port, replies)],
        )
        unused = 32 - self._graph.extractor.proc_params["message_bits"]
        return replies if unused == 32 else (replies << unused) >> unused

    def close(self) -> None:
        """Stop the graph and let the board go."""
        self._supervised.close()


def _enter(source: OutPort, port: Port, shape: Shape = ()) -> OutPort:
    """From the host onto the chip; ``shape`` if the chip's side is not flat."""
    adapter = PyToNxAdapter(shape=shape or (port.size,), num_message_bits=message_bits(port))
    connect(source, adapter.inp)
    return adapter.out


def _leave(source: OutPort, port: Port) -> Extractor:
    """From the chip to the host."""
    bits = message_bits(port)
    adapter = NxToPyAdapter(shape=source.shape, num_message_bits=bits)
    source.connect(adapter.inp)
    extractor = Extractor(port.size, BUFFERED_MESSAGES)
    extractor.proc_params["message_bits"] = bits
    connect(adapter.out, extractor.a_in)
    return extractor


def latency_graph() -> BoardGraph:
    """A graph that shows how long the adapters take: see ``measured_latency``."""
    injector = Injector(1, BUFFERED_MESSAGES)
    binary = Port(2, "binary", 1, False, 1.0)
    entered = _enter(injector.s_out, Port(1, "binary", 1, False, 1.0))
    synapse = StockDense(weights=np.array([[128], [0]]))
    neurons = LIF(shape=(2,), du=4095, dv=4095, vth=1, bias_mant=np.array([0, 64]), bias_exp=6)
    entered.connect(synapse.s_in)
    synapse.a_out.connect(neurons.a_in)
    return BoardGraph(injector, _leave(neurons.s_out, binary), 1)


def measured_latency(run: BoardRun) -> tuple[int, int]:
    """Time steps from the host onto the chip, and from the chip to the host.

    No public document states them. A neuron with a bias above its threshold fires in every step, so
    its first spike tells the way out; the other fires on the host's spike of the first step, which
    takes both ways and one synapse.
    """
    rows = np.zeros((LONGEST_LATENCY, 1), np.int32)
    rows[0] = 1
    seen = run.exchange(rows) != 0
    if not seen.any(axis=0).all():
        raise RunFailed(
            f"no spike came back from the board in {LONGEST_LATENCY} time steps; its spike "
            "adapters do not work as in Intel's public examples."
        )
    there_and_back, back = (int(column.argmax()) for column in seen.T)
    return there_and_back - 1 - back, back


def token_graph(network: Network) -> BoardGraph:
    """The fine graph without probes, with the token's embedding on the host.

    A row is a command and a token. All of the chip is later by the way onto it, so the levels of
    the fine graph hold; until the first command is there the gates hear silence and stay closed.
    """
    embedding, last = network.layers[0], network.layers[-1]
    injector = EmbeddingInjector(embedding, BUFFERED_MESSAGES)
    source = _enter(injector.s_out, embedding.output)
    gate = _enter(injector.g_out, Port(FLAGS, "binary", 1, False, 1.0))
    size, gates = embedding.output.size, 1
    planned = schedule(network)
    for i, plan in enumerate(planned.stages):
        stage = fine_stage_of(plan.name)(plan if i else without_embedding(plan), size, gates, None)
        source.connect(stage.a_in)
        gate.connect(stage.g_in)
        source, gate, gates = stage.s_out, stage.g_out, len(plan.gates)
        size = plan.layers[-1].output.size
    return BoardGraph(injector, _leave(source, last.output), planned.depth)


def chain_graph(network: Network, resets: tuple[int, int] | None) -> BoardGraph:
    """A stock NetX chain that ``check_chain`` let through. A row is a time step of the raster.

    ``resets``: on-chip resets every so many steps, and the first's step in the first layer
    (counted from 1); or None.
    """
    first, last = network.layers[0], network.layers[-1]
    plan = plan_stock(network, in_waves=True)

    def make(layer: Layer, shape: Shape, depth: int) -> AbstractProcess:
        if resets is None or not isinstance(layer, Cuba):
            return neurons(layer, shape)
        # a layer starts again when the first spikes of the next sample reach it
        interval, offset = resets[0], (resets[1] + depth) % resets[0]
        return LIFReset(
            **lif_parameters(layer, shape), reset_interval=interval, reset_offset=offset
        )

    injector = Injector(first.output.size, BUFFERED_MESSAGES)
    entered = _enter(injector.s_out, first.output, input_shape(network))
    ports = connect_stock(network, plan, entered, make)
    return BoardGraph(injector, _leave(ports[last.name], last.output), plan.depths[last.name])
