"""Neuro-core models of stock processes."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv import models, process


@implements(proc=process.Conv, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelConv(AbstractNcProcessModel):
    executes_as = models.PyConvModelFixed
