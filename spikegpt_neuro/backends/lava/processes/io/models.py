"""Process models of injector and extractor."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from spikegpt_neuro.backends.lava.processes.io.process import Extractor, Injector


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
