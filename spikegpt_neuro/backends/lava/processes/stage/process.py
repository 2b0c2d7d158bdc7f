"""The fused stage process."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var

from spikegpt_neuro.backends.execution import Count
from spikegpt_neuro.backends.lava.runtime.commands import HEADER
from spikegpt_neuro.network.schema import Layer


class Stage(AbstractProcess):
    """Layers computed in one time step, without delay.

    A message is a vector of int32: command, token, then the values of the layers named, one after
    the other. ``receives`` and ``sends`` map layer names to sizes, in that order. Values that only
    pass through (traces, skipped streams) are copied. ``wide``: see ``Program``.
    """

    def __init__(
        self, layers: Sequence[Layer], receives: Mapping[str, int], sends: Mapping[str, int],
        wide: Collection[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(
            layers=tuple(layers), receives=dict(receives), sends=dict(sends), wide=tuple(wide)
        )
        self.a_in = InPort(shape=(HEADER + sum(receives.values()),))
        self.s_out = OutPort(shape=(HEADER + sum(sends.values()),))
        self.counts = Var(shape=(len(layers), int(Count.WIDTH)), init=0)
