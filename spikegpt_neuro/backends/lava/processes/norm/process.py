"""The hierarchical process of a layer norm."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess

from spikegpt_neuro.decomposition.elements import FLAGS
from spikegpt_neuro.network.layers import LayerNorm


class LayerNormCircuit(AbstractProcess):
    """``s_out``: the layer norm of ``a_in``, two steps later, where ``g_in`` has a token."""

    def __init__(self, layer: LayerNorm, gate: int, gates: int) -> None:
        super().__init__(layer=layer, gate=gate, gates=gates)
        self.g_in = InPort(shape=(FLAGS * gates,))
        self.a_in = InPort(shape=(layer.output.size,))
        self.s_out = OutPort(shape=(layer.output.size,))
