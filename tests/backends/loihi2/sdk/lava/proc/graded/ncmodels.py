"""Neuro-core models of stock processes."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.graded import models, process


@implements(proc=process.GradedVec, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelGradedVec(AbstractNcProcessModel):
    executes_as = models.PyGradedVecModelFixed
