"""The fixed-point process model of a layer of neurons."""

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
from spikegpt_neuro.backends.lava.processes.neuron.process import (
    ADVANCE,
    IDLE,
    RESET,
    Neurons,
)
from spikegpt_neuro.backends.lava.schedule import NeuronPlan
from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.network import TOKEN

Int32Array = npt.NDArray[np.int32]


class _Axon:
    """A delay line of a fixed number of time steps, of zeros at first."""

    def __init__(self, size: int, delay: int) -> None:
        self._waiting = deque([np.zeros(size, np.int32)] * delay)

    def pass_on(self, values: Int32Array) -> Int32Array:
        """Take this step's values, give those of ``delay`` steps ago."""
        self._waiting.append(values)
        return self._waiting.popleft()


@implements(proc=Neurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNeurons(PyLoihiProcessModel):
    """Runs one layer with the shared integer operations, in step with the tokens."""

    c_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32)
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32)
    b_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=32)
    pipe: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=32)
    counts: npt.NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._plan: NeuronPlan = proc_params["plan"]
        layer, sizes = self._plan.layer, proc_params["sizes"]
        self._sources = [source for source in layer.inputs if source != TOKEN]
        self._program = Program([layer], sizes=dict(zip(self._sources, sizes, strict=True)))
        self._axons = [_Axon(n, d) for n, d in zip(sizes, self._plan.delays, strict=True)]
        idle = np.array([IDLE, 0], np.int32)
        self._commands = deque([idle] * self._plan.level)
        places = {dense.name: place for place, dense in self._plan.collects}
        self._reported = [places.get(name) for name in proc_params["reports"]]
        self._silence = np.zeros(layer.output.size, np.int32)

    def run_spk(self) -> None:
        """One time step."""
        self._commands.append(self.c_in.recv())
        ports = (self.a_in, self.b_in)
        inputs = [axon.pass_on(port.recv()) for axon, port in zip(self._axons, ports, strict=False)]
        command, token = (int(word) for word in self._commands.popleft())
        values = self._silence
        if command == ADVANCE:
            values = self._advance(inputs, token)
            if self._reported:
                parts = [values if place is None else inputs[place] for place in self._reported]
                self.pipe.send(np.concatenate(parts))
        elif command == RESET:
            self._program.reset()
        self.s_out.send(values)

    def _advance(self, inputs: list[Int32Array], token: int) -> Int32Array:
        self._program.reserve(1)
        for name, values in zip(self._sources, inputs, strict=True):
            self._program.value(name)[0] = values
        self._program.run(np.array([token], np.int64))
        result: Int32Array = self._program.value(self._plan.layer.name)[0].copy()
        self.counts[0] = self._program.counts[0]
        row = 1
        for dense in self._plan.feeds:
            count_events(
                result, dense.fan_out, self.counts[row, Count.OPERATIONS : Count.OVERFLOWS]
            )
            row += 1
        for place, dense in self._plan.collects:
            largest = (1 << (dense.accumulator_bits - 1)) - 1
            self.counts[row, Count.OVERFLOWS] += count_overflows(inputs[place], largest)
            count_non_zero(inputs[place], self.counts[row, Count.EVENTS :])
            row += 1
        return result
