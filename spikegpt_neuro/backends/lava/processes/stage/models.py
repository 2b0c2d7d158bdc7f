"""The fixed-point process model of a fused stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from spikegpt_neuro.backends.lava.processes.stage.process import Stage
from spikegpt_neuro.backends.lava.runtime.commands import ADVANCE, HEADER, RESET
from spikegpt_neuro.backends.program import Program


@implements(proc=Stage, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyStage(PyLoihiProcessModel):
    """Runs the stage's layers as a program of the shared integer operations."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=32)
    counts: npt.NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        layers = proc_params["layers"]
        self._receives: dict[str, int] = proc_params["receives"]
        self._sends: dict[str, int] = proc_params["sends"]
        own = {layer.name for layer in layers}
        read = {source for layer in layers for source in layer.inputs}
        outside = {n: size for n, size in self._receives.items() if n in read and n not in own}
        # a raster: the input layer is here, its values come from the caller
        entering = [name for name in self._receives if name in own]
        kept = [*entering, *(name for name in self._sends if name in own)]
        self._program = Program(layers, sizes=outside, keep=kept, wide=proc_params["wide"])
        self._filled = [*outside, *entering]
        self._passed = [name for name in self._sends if name not in own]
        self._reply = np.zeros(HEADER + sum(self._sends.values()), np.int32)

    def run_spk(self) -> None:
        """One time step: receive, compute, send."""
        message = self.a_in.recv()
        command, token = int(message[0]), int(message[1])
        self._reply[:HEADER] = command, token
        if command == RESET:
            self._program.reset()
        elif command == ADVANCE:
            self._advance(message, token)
        else:
            raise ValueError(f"unknown command {command}")
        self.s_out.send(self._reply)

    def _advance(self, message: npt.NDArray[np.int32], token: int) -> None:
        received = {}
        offset = HEADER
        for name, size in self._receives.items():
            received[name] = message[offset : offset + size]
            offset += size
        self._program.reserve(1)
        for name in self._filled:
            self._program.value(name)[0] = received[name]
        self._program.run(np.array([token], np.int64))
        offset = HEADER
        for name, size in self._sends.items():
            values = received[name] if name in self._passed else self._program.value(name)[0]
            self._reply[offset : offset + size] = values
            offset += size
        self.counts[:] = self._program.counts
