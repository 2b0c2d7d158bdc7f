"""Neuro-core models of stock processes."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif import models, process


@implements(proc=process.LIF, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelLIF(AbstractNcProcessModel):
    executes_as = models.PyLifModelBitAcc


@implements(proc=process.LIFReset, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelLIFReset(AbstractNcProcessModel):
    executes_as = models.PyLifResetModelBitAcc
