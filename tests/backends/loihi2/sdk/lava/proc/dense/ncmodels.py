"""Neuro-core models of stock processes."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense import models, process


@implements(proc=process.Dense, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelDense(AbstractNcProcessModel):
    executes_as = models.PyDenseModelBitAcc


@implements(proc=process.DelayDense, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelDelayDense(AbstractNcProcessModel):
    executes_as = models.PyDelayDenseModelBitAcc
