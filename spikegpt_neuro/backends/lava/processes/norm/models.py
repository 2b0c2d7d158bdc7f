"""The sub-process model of a layer norm, built like stock NormVecDelay and InvSqrt are joined."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from scipy.sparse import csr_matrix, kron

from spikegpt_neuro.backends.lava.processes.neurons.process import Normalise, ReciprocalRoot
from spikegpt_neuro.backends.lava.processes.norm.process import LayerNormCircuit
from spikegpt_neuro.backends.lava.runtime.stock import synapses
from spikegpt_neuro.decomposition.elements import MOMENTS, STATISTICS


@implements(proc=LayerNormCircuit, protocol=LoihiProtocol)
@tag("fixed_pt")
class LayerNormOfProcesses(AbstractSubProcessModel):
    """Channels, synapses of weight 1 that add up their limbs, the root, synapses back to each."""

    def __init__(self, proc: AbstractProcess) -> None:
        layer = proc.proc_params["layer"]
        row = csr_matrix(np.ones((1, layer.output.size), np.int64))
        self.channels = Normalise(layer, proc.proc_params["gate"], proc.proc_params["gates"])
        self.sums = self._ones(kron(np.eye(MOMENTS, dtype=np.int64), row, "csr"))
        self.root = ReciprocalRoot(layer)
        self.spread = self._ones(kron(np.eye(STATISTICS, dtype=np.int64), row.T, "csr"))
        proc.in_ports.g_in.connect(self.channels.g_in)
        proc.in_ports.a_in.connect(self.channels.a_in)
        self.channels.m_out.connect(self.sums.s_in)
        self.sums.a_out.connect(self.root.a_in)
        self.root.s_out.connect(self.spread.s_in)
        self.spread.a_out.connect(self.channels.r_in)
        self.channels.s_out.connect(proc.out_ports.s_out)

    @staticmethod
    def _ones(weight: csr_matrix) -> AbstractProcess:
        return synapses("sparse", weight, mixed=False, binary=False, exponent=0)
