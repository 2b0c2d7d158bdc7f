"""Sessions of stock NetX chains on Lava: a process a stage, or stock processes throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import check_traces
from spikegpt_neuro.backends.lava.chains.stock_chain import build_stock, connect
from spikegpt_neuro.backends.lava.fused.session import StageGraph
from spikegpt_neuro.backends.lava.processes.io.process import Extractor, Injector
from spikegpt_neuro.backends.lava.runtime.commands import ADVANCE, BUFFERED_MESSAGES, HEADER
from spikegpt_neuro.backends.lava.runtime.supervision import GraphSession, SupervisedGraph
from spikegpt_neuro.backends.raster import check_raster
from spikegpt_neuro.decomposition.stock_plan import visible_layers
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.network import Chain

Int32Array = npt.NDArray[np.int32]
Raster = npt.NDArray[np.generic]


class FusedChainSession(StageGraph):
    """Each stage of the chain (a layer with its delays) is a process; none adds a delay.

    A chain that begins with an embedding takes its token ids with the commands.
    """

    def __init__(self, network: Chain, *, trace: Iterable[str] = ()) -> None:
        first = network.layers[0]
        self._chain = network
        entering = {} if network.takes_ids else {first.name: network.input_size}
        super().__init__(network, trace, entering)

    def step(self, row: Raster) -> Int32Array:
        """See ``Session.step``."""
        return self.score(np.asarray(row)[None])[0]

    def score(self, raster: Raster) -> Int32Array:
        """See ``Session.score``; earlier stages compute the next time steps already."""
        checked = check_raster(raster, self._chain)
        if not len(checked):
            return np.empty((0, self._network.layers[-1].output.size), np.int32)
        commands = self._command(ADVANCE, len(checked))
        if self._chain.takes_ids:
            commands[:, 1] = checked[:, 0]
        else:
            commands[:, HEADER:] = checked
        return self._advance(commands)


class StockChainSession(GraphSession):
    """The chain made of stock Lava processes only, as a chip has them. They do not count events.

    ``build`` makes them: connects them to a port that sends the raster, and gives the ports of the
    layers that can be seen.
    """

    counts_events = False

    def __init__(
        self, network: Chain, *, trace: Iterable[str] = (),
        build: Callable[[Chain, Any], dict[str, Any]] = build_stock,
    ) -> None:  # fmt: skip
        self._network = self._chain = network
        self._make = build
        self._traced = check_traces(trace, network)
        unseen = sorted(set(self._traced) - {*visible_layers(network)})
        if unseen:
            raise InputError("stock processes compute these layers inside others:", unseen)
        super().__init__()
        self._build()

    def _build(self) -> None:
        self._injector = Injector(self._network.layers[0].output.size, BUFFERED_MESSAGES)
        ports = self._make(self._network, self._injector.s_out)
        self._extractors = {}
        for name in (*self._traced, self._network.layers[-1].name):
            self._extractors[name] = Extractor(self._network[name].output.size, BUFFERED_MESSAGES)
        for name, extractor in self._extractors.items():
            connect(ports[name], extractor.a_in)
        self._graph = SupervisedGraph(self._injector)

    def step(self, row: Raster) -> Int32Array:
        """See ``Session.step``."""
        return self.score(np.asarray(row)[None])[0]

    def score(self, raster: Raster) -> Int32Array:
        """See ``Session.score``: a row of the raster every time step."""
        checked = check_raster(raster, self._chain)
        steps = len(checked)
        replies = {
            name: np.empty((steps, self._network[name].output.size), np.int32)
            for name in self._extractors
        }
        if steps:
            self._graph.exchange(
                self._injector.pipe.external_pipe_csp_send_port,
                checked,
                [
                    (extractor.pipe.external_pipe_csp_recv_port, replies[name])
                    for name, extractor in self._extractors.items()
                ],
            )
        self._traces = {name: [replies[name]] for name in self._traced}
        return replies[self._network.layers[-1].name]

    def reset(self) -> None:
        """See ``Session.reset``: stock processes know no reset, so the graph is built again."""
        self._graph.close()
        self._build()

    @property
    def counters(self) -> Counters:
        """Refused: nothing in the graph counts."""
        raise InputError(
            "stock processes do not count events.",
            advice="Use --backend emulator or lava, which compute the same integers.",
        )
