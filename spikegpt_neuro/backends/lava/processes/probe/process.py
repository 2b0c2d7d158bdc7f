"""The process that looks at a stage's values."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var

from spikegpt_neuro.backends.execution import Count
from spikegpt_neuro.backends.lava.runtime.commands import HEADER
from spikegpt_neuro.decomposition.decomposition import MOST_LAYERS
from spikegpt_neuro.decomposition.schedule import StagePlan

MOST_TAPS = MOST_LAYERS + 1
"""Values one probe can look at."""


class Probe(AbstractProcess):
    """Collects the values of a stage's layers, token by token, and counts their events.

    A measuring instrument: it changes nothing, and a chip's graph is the same without it. ``taps``:
    names and sizes of what its ports ``tap_0``, ``tap_1``, ... are connected to, with the time step
    after a token's command in which the value is there: first the value the stage reads from the
    one before, if any, then the stage's own. ``c_in``: the token commands. ``pipe``: once a token,
    the values of the layers in ``reports``. ``counts``: a row of counts for each layer.
    """

    def __init__(
        self,
        plan: StagePlan,
        taps: tuple[tuple[str, int, int], ...],
        reports: tuple[str, ...],
        buffer_size: int,
    ) -> None:
        super().__init__(plan=plan, taps=taps, reports=reports)
        sizes = {layer.name: layer.output.size for layer in plan.layers}
        self.c_in = InPort(shape=(HEADER,))
        for i in range(MOST_TAPS):
            setattr(self, f"tap_{i}", InPort(shape=(taps[i][1] if i < len(taps) else 1,)))
        self.pipe = OutPort(shape=(max(1, sum(sizes[name] for name in reports)),))
        if reports:
            self.pipe.flag_external_pipe(buffer_size=buffer_size)
        self.counts = Var(shape=(len(plan.layers), int(Count.WIDTH)), init=0)
