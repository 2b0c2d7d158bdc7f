"""Injector and extractor of int32 vectors (stock ones carry float64)."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess


class Injector(AbstractProcess):
    """Sends one vector a time step, taken from a pipe the caller fills.

    The caller's end is ``pipe.external_pipe_csp_send_port``, once the runtime exists.
    """

    def __init__(self, size: int, buffer_size: int) -> None:
        super().__init__(size=size)
        self.pipe = InPort(shape=(size,))
        self.pipe.flag_external_pipe(buffer_size=buffer_size)
        self.s_out = OutPort(shape=(size,))


class Extractor(AbstractProcess):
    """Receives one vector a time step and puts it into a pipe the caller empties.

    The caller's end is ``pipe.external_pipe_csp_recv_port``, once the runtime exists.
    """

    def __init__(self, size: int, buffer_size: int) -> None:
        super().__init__(size=size)
        self.a_in = InPort(shape=(size,))
        self.pipe = OutPort(shape=(size,))
        self.pipe.flag_external_pipe(buffer_size=buffer_size)
