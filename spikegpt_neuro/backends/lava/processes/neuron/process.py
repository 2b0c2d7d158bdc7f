"""The neuron process of the fine graph."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var

from spikegpt_neuro.backends.execution import Count
from spikegpt_neuro.backends.lava.schedule import NeuronPlan

HEADER = 2
ADVANCE, RESET, IDLE = 0, 1, 2
"""Commands of a time step: a token enters; states return to their start; nothing enters."""


class Neurons(AbstractProcess):
    """A layer's neurons. Every time step brings a command; each layer obeys it ``level`` later.

    Ports: ``c_in`` command and token; ``a_in``, ``b_in`` the layer's inputs; ``s_out`` its values,
    zero in steps without a token; ``pipe``, once a token and to the caller, the values of the
    layers named in ``reports``: its own, or dense layers' whose accumulators it collects.
    ``counts``: the layer's own row of counts, then one row for each dense layer it feeds, then one
    for each whose accumulators it collects.
    """

    def __init__(
        self, plan: NeuronPlan, sizes: tuple[int, ...], reports: tuple[str, ...], buffer_size: int
    ) -> None:
        super().__init__(plan=plan, sizes=sizes, reports=reports)
        size = plan.layer.output.size
        reported = sum(plan.size_of(name) for name in reports)
        self.c_in = InPort(shape=(HEADER,))
        self.a_in = InPort(shape=(sizes[0] if sizes else 1,))
        self.b_in = InPort(shape=(sizes[1] if len(sizes) > 1 else 1,))
        self.s_out = OutPort(shape=(size,))
        self.pipe = OutPort(shape=(max(1, reported),))
        if reports:
            self.pipe.flag_external_pipe(buffer_size=buffer_size)
        rows = 1 + len(plan.feeds) + len(plan.collects)
        self.counts = Var(shape=(rows, int(Count.WIDTH)), init=0)
