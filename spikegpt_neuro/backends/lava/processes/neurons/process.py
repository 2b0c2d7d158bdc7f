"""Own neurons, for what no stock process computes exactly (``neuron_programs.PROGRAMS``).

All ports carry int32. A population with a state, or that would send something where nothing
arrives, has a gate: ``g_in`` brings pairs of flags (a token
is here, states return to their start), one pair for each time step of the stage in which a gate is
needed; ``gate`` says which pair is its own. Without its flag a population sends zeros and keeps its
state, so idle time steps change nothing. Populations without a gate send nothing where nothing
arrives: in a step without a token nothing but gates is sent.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var

from spikegpt_neuro.arithmetic.formats import EMPTY_EXPONENT
from spikegpt_neuro.backends.lava.fine.neuron_updates import Int32Array
from spikegpt_neuro.decomposition.elements import FLAGS, MOMENTS, STATISTICS
from spikegpt_neuro.network.layers import (
    LayerNorm,
    Lif,
    Product,
    Sigmoid,
    SquaredRelu,
    VariedLif,
    Wkv,
)


class Rescale(AbstractProcess):
    """``s_out = clip(round_shift(a_in * first + b_in * second, shift), low, high)``; no state."""

    def __init__(
        self, first: Int32Array, second: Int32Array, shift: Int32Array, low: int, high: int
    ) -> None:
        super().__init__(first=first, second=second, shift=shift, low=low, high=high)
        self.a_in = InPort(shape=first.shape)
        self.b_in = InPort(shape=first.shape)
        self.s_out = OutPort(shape=first.shape)


class ScaledProduct(AbstractProcess):
    """``s_out = clip(round_shift(a_in * b_in * multiplier, shift), low, high)``; no state."""

    def __init__(self, layer: Product) -> None:
        super().__init__(layer=layer)
        self.a_in = InPort(shape=(layer.output.size,))
        self.b_in = InPort(shape=(layer.output.size,))
        self.s_out = OutPort(shape=(layer.output.size,))


class SquaredReluNeurons(AbstractProcess):
    """``s_out`` is the square of ``a_in`` after its scale, where that is positive; no state."""

    def __init__(self, layer: SquaredRelu) -> None:
        super().__init__(layer=layer)
        self.a_in = InPort(shape=(layer.output.size,))
        self.s_out = OutPort(shape=(layer.output.size,))


class _Gated(AbstractProcess):
    """A population that works, and whose state moves on, only with its gate."""

    def __init__(self, size: int, gate: int, gates: int, **parameters: object) -> None:
        super().__init__(size=size, gate=gate, **parameters)
        self.g_in = InPort(shape=(FLAGS * gates,))
        self.a_in = InPort(shape=(size,))
        self.s_out = OutPort(shape=(size,))


class SigmoidGate(_Gated):
    """``s_out = sigmoid(round_shift(a_in * multiplier, shift))`` by table."""

    def __init__(self, layer: Sigmoid, gate: int, gates: int) -> None:
        super().__init__(layer.output.size, gate, gates, layer=layer)


class MemorylessLif(_Gated):
    """Memoryless LIF neurons: ``s_out`` is the number of thresholds reached."""

    def __init__(self, layer: Lif, gate: int, gates: int) -> None:
        super().__init__(layer.output.size, gate, gates, layer=layer)


class Hold(_Gated):
    """Sends the previous token's vector and keeps this one: ``held``, one word a neuron."""

    def __init__(self, size: int, gate: int, gates: int) -> None:
        super().__init__(size, gate, gates)
        self.held = Var(shape=(size,), init=0)


class LeakyLif(_Gated):
    """The integer LIF, once a token; ``v``, 24 bits: the membrane potential."""

    def __init__(self, layer: Lif | VariedLif, gate: int, gates: int) -> None:
        super().__init__(layer.output.size, gate, gates, layer=layer)
        self.v = Var(shape=(layer.output.size,), init=0)


class WkvNeurons(_Gated):
    """The SRWKV recurrence, once a token; ``a_in`` keys, ``b_in`` values (accumulators)."""

    def __init__(self, layer: Wkv, gate: int, gates: int) -> None:
        size = layer.output.size
        super().__init__(size, gate, gates, layer=layer)
        self.b_in = InPort(shape=(size,))
        self.numerator = Var(shape=(size,), init=0)
        self.denominator = Var(shape=(size,), init=0)
        self.exponent = Var(shape=(size,), init=np.full(size, EMPTY_EXPONENT))


class Normalise(AbstractProcess):
    """The channels of a layer norm, after the manner of stock ``NormVecDelay``.

    A channel sends the limbs of its value and of its square (``m_out``) to be added up, keeps the
    value for two time steps (``x1``, ``x2``), and applies to it the mean, root and shift that come
    back (``r_in``). The gate is that of the step in which it does.
    """

    def __init__(self, layer: LayerNorm, gate: int, gates: int) -> None:
        size = layer.output.size
        super().__init__(layer=layer, size=size, gate=gate)
        self.g_in = InPort(shape=(FLAGS * gates,))
        self.a_in = InPort(shape=(size,))
        self.r_in = InPort(shape=(STATISTICS * size,))
        self.m_out = OutPort(shape=(MOMENTS * size,))
        self.s_out = OutPort(shape=(size,))
        self.x1 = Var(shape=(size,), init=0)
        self.x2 = Var(shape=(size,), init=0)


class ReciprocalRoot(AbstractProcess):
    """The one neuron of a layer norm that computes its root, in place of stock ``InvSqrt``."""

    def __init__(self, layer: LayerNorm) -> None:
        super().__init__(layer=layer)
        self.a_in = InPort(shape=(MOMENTS,))
        self.s_out = OutPort(shape=(STATISTICS,))


class Feedback(AbstractProcess):
    """The way back of a graph that chooses its tokens itself: a neuron for every token.

    ``s_out`` is the winner's spike ``a_in``, in the same time step, while ``is_open``; the host's
    two flags ``f_in`` open and close all neurons.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size=size)
        self.a_in = InPort(shape=(size,))
        self.f_in = InPort(shape=(FLAGS,))
        self.s_out = OutPort(shape=(size,))
        self.is_open = Var(shape=(size,), init=0)


PROCESSES: Mapping[str, type[AbstractProcess]] = {
    "rescale": Rescale,
    "sigmoid": SigmoidGate,
    "scaled_product": ScaledProduct,
    "squared_relu": SquaredReluNeurons,
    "hold": Hold,
    "memoryless_lif": MemorylessLif,
    "leaky_lif": LeakyLif,
    "wkv": WkvNeurons,
    "normalise": Normalise,
    "reciprocal_root": ReciprocalRoot,
    "feedback": Feedback,
}
"""The process of each own neuron (``neuron_programs.OWN_NEURONS``)."""
