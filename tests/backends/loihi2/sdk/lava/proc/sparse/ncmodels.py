"""Neuro-core models of stock processes."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.sparse import models, process


@implements(proc=process.Sparse, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelSparse(AbstractNcProcessModel):
    executes_as = models.PySparseModelBitAcc


@implements(proc=process.DelaySparse, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelDelaySparse(AbstractNcProcessModel):
    executes_as = models.PyDelaySparseModelBitAcc
