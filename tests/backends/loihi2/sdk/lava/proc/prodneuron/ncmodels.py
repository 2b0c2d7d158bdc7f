"""Neuro-core models of stock processes."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.prodneuron import models, process


@implements(proc=process.ProdNeuron, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelProdNeuron(AbstractNcProcessModel):
    executes_as = models.PyProdNeuronModelFixed
