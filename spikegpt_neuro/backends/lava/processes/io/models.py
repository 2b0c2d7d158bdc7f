"""Process models of injector and extractor."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from spikegpt_neuro.backends.lava.processes.io.process import (
    EmbeddingInjector,
    Extractor,
    Injector,
    LoopCommands,
    TokenInjector,
)
from spikegpt_neuro.backends.lava.runtime.commands import ADVANCE, CLOSE, OPEN, RESET
from spikegpt_neuro.backends.program import Program


@implements(proc=Injector, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyInjector(PyLoihiProcessModel):
    """Passes the pipe's next vector on."""

    pipe: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        """One time step."""
        self.s_out.send(self.pipe.recv())


@implements(proc=TokenInjector, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyTokenInjector(PyLoihiProcessModel):
    """See ``TokenInjector``."""

    pipe: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    g_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    f_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    c_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._spikes = np.zeros(proc_params["vocabulary_size"], np.int32)

    def run_spk(self) -> None:
        """One time step."""
        message = self.pipe.recv()
        command, token = (int(word) for word in message)
        self._spikes[:] = 0
        enters = command in (ADVANCE, OPEN)
        if enters:
            self._spikes[token] = 1
        self.s_out.send(self._spikes)
        self.g_out.send(np.array([enters, command == RESET], np.int32))
        self.f_out.send(np.array([command == OPEN, command == CLOSE], np.int32))
        self.c_out.send(message)


@implements(proc=LoopCommands, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyLoopCommands(PyLoihiProcessModel):
    """See ``LoopCommands``."""

    c_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    c_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        """One time step."""
        command, token = (int(word) for word in self.c_in.recv())
        fed_back = np.flatnonzero(self.a_in.recv())
        if fed_back.size > 1 or (fed_back.size and command in (ADVANCE, OPEN)):
            raise ValueError(f"tokens {fed_back.tolist()} are fed back beside command {command}")
        if command == OPEN:
            command = ADVANCE
        if fed_back.size:
            command, token = ADVANCE, int(fed_back[0])
        self.c_out.send(np.array([command, token], np.int32))


@implements(proc=EmbeddingInjector, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyEmbeddingInjector(PyLoihiProcessModel):
    """See ``EmbeddingInjector``."""

    pipe: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    g_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        layer = proc_params["layer"]
        self._name = layer.name
        self._program = Program([layer])
        self._program.reserve(1)
        self._silence = np.zeros(layer.output.size, np.int32)
        self._row = self._silence

    def run_spk(self) -> None:
        """One time step."""
        command, token = (int(word) for word in self.pipe.recv())
        self.s_out.send(self._row)
        self.g_out.send(np.array([command == ADVANCE, command == RESET], np.int32))
        self._row = self._silence
        if command == ADVANCE:
            self._program.run(np.array([token], np.int64))
            self._row = self._program.value(self._name)[0].copy()


@implements(proc=Extractor, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyExtractor(PyLoihiProcessModel):
    """Passes the received vector into the pipe."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    pipe: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        """One time step."""
        self.pipe.send(self.a_in.recv())
