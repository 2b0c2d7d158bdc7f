"""Neuro-core models of stock processes."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.sdn import models, process


@implements(proc=process.Sigma, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelSigma(AbstractNcProcessModel):
    executes_as = models.PySigmaModelFixed


@implements(proc=process.Delta, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelDelta(AbstractNcProcessModel):
    executes_as = models.PyDeltaModelFixed


@implements(proc=process.SigmaDelta, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelSigmaDelta(AbstractNcProcessModel):
    executes_as = models.PySigmaDeltaModelFixed
