"""Models of the spike adapters: programs of the embedded processors."""

from __future__ import annotations

from collections import deque

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.c.model import CLoihiProcessModel
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import LMT
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.embedded_io.spike import NxToPyAdapter, PyToNxAdapter
from nxcore.arch.base.nxboard import scenario


class _Adapter(PyLoihiProcessModel):
    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    latency_name, latency = "", 0

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._bits = proc_params["num_message_bits"]
        steps = scenario().get(self.latency_name, self.latency)
        self._waiting = deque([np.zeros(proc_params["shape"], np.int32)] * steps)

    def run_spk(self) -> None:
        self._waiting.append(self._carried(self.inp.recv()))
        self.out.send(self._waiting.popleft())

    def _carried(self, values):
        raise NotImplementedError


class _ToChip(_Adapter):
    latency_name = "way_in"

    def _carried(self, values):
        if self._bits == 0:
            return (values != 0).astype(np.int32)
        unused = 32 - self._bits
        return (values.astype(np.int32) << unused) >> unused


class _ToHost(_Adapter):
    latency_name, latency = "way_out", 1

    def _carried(self, values):
        if self.time_step == scenario().get("wrong"):
            values = values.copy()
            values[0] = values[0] == 0
        if self._bits == 0:
            return (values != 0).astype(np.int32)
        if self._bits == 32:
            return values.astype(np.int32)
        # the bits of the message, without their sign: Intel's examples restore it by shifts
        return (values.astype(np.int64) & ((1 << self._bits) - 1)).astype(np.int32)


@implements(proc=PyToNxAdapter, protocol=LoihiProtocol)
@requires(LMT)
class PyToNxAdapterModel(CLoihiProcessModel):
    executes_as = implements(proc=PyToNxAdapter)(_ToChip)


@implements(proc=NxToPyAdapter, protocol=LoihiProtocol)
@requires(LMT)
class NxToPyAdapterModel(CLoihiProcessModel):
    executes_as = implements(proc=NxToPyAdapter)(_ToHost)
