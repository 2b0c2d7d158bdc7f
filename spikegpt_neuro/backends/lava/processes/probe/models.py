"""The process model of a probe."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from spikegpt_neuro.arithmetic.dense import count_events, count_non_zero, count_overflows
from spikegpt_neuro.backends.execution import Count
from spikegpt_neuro.backends.lava.processes.probe.process import MOST_TAPS, Probe
from spikegpt_neuro.backends.lava.runtime.commands import ADVANCE, IDLE, RESET
from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.network import TOKEN
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.schema import Layer

Int32Array = npt.NDArray[np.int32]


_OF_PROGRAM = [Count.ACTIVE, Count.SATURATIONS, Count.SUM_EVENTS, Count.STATISTIC_EVENTS]
"""Counts that the values a layer sends do not tell."""


class LayerCounter:
    """What one layer counts, from the values it reads and sends.

    Neurons: the shared integer program runs beside them on the values they received, for its counts
    of active neurons and saturations; what they sent is not taken from it. Synapses are counted
    from operands and accumulators alone.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.sources = [source for source in layer.inputs if source != TOKEN]
        self._program: Program | None = None
        if layer.role != "synapse":
            self._sizes = {source: layer.operand_size for source in self.sources}
            self._program = Program([layer], sizes=self._sizes)

    def reset(self) -> None:
        """A state that the counts depend on returns to its start."""
        if self._program is not None:
            self._program.reset()

    def computed(self, token: int, values: dict[str, Int32Array]) -> Int32Array:
        """The program's result for one token; counts are kept in the program."""
        assert self._program is not None
        self._program.reserve(1)
        for source in self.sources:
            self._program.value(source)[0] = values[source]
        self._program.run(np.array([token], np.int64))
        return self._program.value(self.layer.name)[0].copy()

    def count(self, values: dict[str, Int32Array], row: npt.NDArray[np.int64]) -> None:
        """Add one token's counts to ``row``; ``computed`` was called for neurons."""
        sent = values[self.layer.name]
        if isinstance(self.layer, Dense):
            largest = (1 << (self.layer.accumulator_bits - 1)) - 1
            operands = values[self.sources[0]]
            count_events(operands, self.layer.fan_out, row[Count.OPERATIONS : Count.OVERFLOWS])
            row[Count.OVERFLOWS] += count_overflows(sent, largest)
        elif self._program is not None:
            found = self._program.counts[0]
            row[_OF_PROGRAM] = found[_OF_PROGRAM]
        count_non_zero(sent, row[Count.EVENTS :])


@implements(proc=Probe, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyProbe(PyLoihiProcessModel):
    """See ``Probe``."""

    c_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32)
    pipe: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=32)
    counts: npt.NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._taps: tuple[tuple[str, int, int], ...] = proc_params["taps"]
        self._reports: tuple[str, ...] = proc_params["reports"]
        self._layers = [LayerCounter(layer) for layer in proc_params["plan"].layers]
        last = max(step for _, _, step in self._taps)
        self._commands = deque([np.array([IDLE, 0], np.int32)] * last)
        # values wait here until the stage's last one for the same token is there
        self._waiting = [
            deque([np.zeros(size, np.int32)] * (last - step)) for _, size, step in self._taps
        ]

    def run_spk(self) -> None:
        """One time step."""
        self._commands.append(self.c_in.recv())
        values = {}
        for i, ((name, _, _), line) in enumerate(zip(self._taps, self._waiting, strict=True)):
            line.append(np.ascontiguousarray(getattr(self, f"tap_{i}").recv(), np.int32))
            values[name] = line.popleft()
        command, token = (int(word) for word in self._commands.popleft())
        if command == RESET:
            for layer in self._layers:
                layer.reset()
        elif command == ADVANCE:
            self._look(token, values)

    def _look(self, token: int, values: dict[str, Int32Array]) -> None:
        for layer, row in zip(self._layers, self.counts, strict=True):
            if layer.layer.role != "synapse":
                computed = layer.computed(token, values)
                # a layer that is wiring only has no value of its own to look at
                values.setdefault(layer.layer.name, computed)
            layer.count(values, row)
        if self._reports:
            self.pipe.send(np.concatenate([values[name] for name in self._reports]))


for _i in range(MOST_TAPS):
    setattr(PyProbe, f"tap_{_i}", LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32))
