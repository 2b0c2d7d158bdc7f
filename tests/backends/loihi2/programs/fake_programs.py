"""Neuron programs as somebody with microcode registers them; here they run on the CPU."""

from __future__ import annotations

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from spikegpt_neuro.backends.lava.processes.neuron.models import PyNeurons
from spikegpt_neuro.backends.lava.processes.neuron.process import Neurons


@implements(proc=Neurons, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcNeurons(AbstractNcProcessModel):
    executes_as = PyNeurons
