"""Neuron programs as somebody with microcode registers them; here they run on the CPU."""

from __future__ import annotations

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from spikegpt_neuro.backends.lava.processes.neurons import models, process


@implements(proc=process.Rescale, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcRescale(AbstractNcProcessModel):
    executes_as = models.PyRescale


@implements(proc=process.SigmoidGate, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcSigmoid(AbstractNcProcessModel):
    executes_as = models.PySigmoidGate


@implements(proc=process.ScaledProduct, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcScaledProduct(AbstractNcProcessModel):
    executes_as = models.PyScaledProduct


@implements(proc=process.SquaredReluNeurons, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcSquaredRelu(AbstractNcProcessModel):
    executes_as = models.PySquaredReluNeurons


@implements(proc=process.Hold, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcHold(AbstractNcProcessModel):
    executes_as = models.PyHold


@implements(proc=process.MemorylessLif, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcMemorylessLif(AbstractNcProcessModel):
    executes_as = models.PyMemorylessLif


@implements(proc=process.LeakyLif, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcLeakyLif(AbstractNcProcessModel):
    executes_as = models.PyLeakyLif


@implements(proc=process.WkvNeurons, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcWkv(AbstractNcProcessModel):
    executes_as = models.PyWkvNeurons


@implements(proc=process.Normalise, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcNormalise(AbstractNcProcessModel):
    executes_as = models.PyNormalise


@implements(proc=process.ReciprocalRoot, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcReciprocalRoot(AbstractNcProcessModel):
    executes_as = models.PyReciprocalRoot
