"""Injector and extractor of int32 vectors (stock ones carry float64), and the sources of tokens."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess

from spikegpt_neuro.backends.lava.runtime.commands import HEADER
from spikegpt_neuro.network.schema import Layer


class Injector(AbstractProcess):
    """Sends one vector a time step, taken from a pipe the caller fills.

    The caller's end is ``pipe.external_pipe_csp_send_port``, once the runtime exists.
    """

    def __init__(self, size: int, buffer_size: int) -> None:
        super().__init__(size=size)
        self.pipe = InPort(shape=(size,))
        self.pipe.flag_external_pipe(buffer_size=buffer_size)
        self.s_out = OutPort(shape=(size,))


class TokenInjector(AbstractProcess):
    """The way in of the fine graph: one command a time step, from a pipe the caller fills.

    ``s_out``: a spike at the entering token's index, of ``vocabulary_size``. ``g_out``: the gate's
    two flags: a token is here; states return to their start. ``f_out``: two flags for the way back
    of a graph that has one: it opens, it closes. ``c_out``: the command itself, for probes.
    """

    def __init__(self, vocabulary_size: int, buffer_size: int) -> None:
        super().__init__(vocabulary_size=vocabulary_size)
        self.pipe = InPort(shape=(HEADER,))
        self.pipe.flag_external_pipe(buffer_size=buffer_size)
        self.s_out = OutPort(shape=(vocabulary_size,))
        self.g_out = OutPort(shape=(2,))
        self.f_out = OutPort(shape=(2,))
        self.c_out = OutPort(shape=(HEADER,))


class LoopCommands(AbstractProcess):
    """Tells probes of the tokens that are fed back; not part of the graph a chip gets.

    ``c_out`` is the command ``c_in``, or where there is a spike in ``a_in`` that its token enters.
    """

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__(vocabulary_size=vocabulary_size)
        self.c_in = InPort(shape=(HEADER,))
        self.a_in = InPort(shape=(vocabulary_size,))
        self.c_out = OutPort(shape=(HEADER,))


class EmbeddingInjector(AbstractProcess):
    """The way in of a graph whose embedding is looked up here, before the chip.

    ``s_out``: the entering token's row, a time step later, as from synapses driven by its spike;
    zeros after any other command. ``g_out``: as of ``TokenInjector``. ``layer``: the embedding.
    """

    def __init__(self, layer: Layer, buffer_size: int) -> None:
        super().__init__(layer=layer)
        self.pipe = InPort(shape=(HEADER,))
        self.pipe.flag_external_pipe(buffer_size=buffer_size)
        self.s_out = OutPort(shape=(layer.output.size,))
        self.g_out = OutPort(shape=(2,))


class Extractor(AbstractProcess):
    """Receives one vector a time step and puts it into a pipe the caller empties.

    The caller's end is ``pipe.external_pipe_csp_recv_port``, once the runtime exists.
    """

    def __init__(self, size: int, buffer_size: int) -> None:
        super().__init__(size=size)
        self.a_in = InPort(shape=(size,))
        self.pipe = OutPort(shape=(size,))
        self.pipe.flag_external_pipe(buffer_size=buffer_size)
