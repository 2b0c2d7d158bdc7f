"""Fixed-point process models of the own neurons: ports around ``neuron_updates``."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from spikegpt_neuro.arithmetic.formats import EMPTY_EXPONENT
from spikegpt_neuro.backends.lava.fine.neuron_updates import (
    Int32Array,
    LeakyLifUpdate,
    MemorylessLifUpdate,
    NormaliseUpdate,
    ReciprocalRootUpdate,
    RescaleUpdate,
    ScaledProductUpdate,
    SigmoidUpdate,
    SquaredReluUpdate,
    WkvUpdate,
    hold,
)
from spikegpt_neuro.backends.lava.processes.neurons.process import (
    Feedback,
    Hold,
    LeakyLif,
    MemorylessLif,
    Normalise,
    ReciprocalRoot,
    Rescale,
    ScaledProduct,
    SigmoidGate,
    SquaredReluNeurons,
    WkvNeurons,
)
from spikegpt_neuro.decomposition.elements import FLAGS


def _received(port: Any) -> Int32Array:
    return np.ascontiguousarray(port.recv(), np.int32)


@implements(proc=Rescale, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRescale(PyLoihiProcessModel):
    """See ``Rescale``."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32)
    b_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        names = ("first", "second", "shift", "low", "high")
        self._update = RescaleUpdate(*(proc_params[name] for name in names))

    def run_spk(self) -> None:
        """One time step."""
        self.s_out.send(self._update(_received(self.a_in), _received(self.b_in)))


@implements(proc=ScaledProduct, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyScaledProduct(PyLoihiProcessModel):
    """See ``ScaledProduct``."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=16)
    b_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._update = ScaledProductUpdate(proc_params["layer"])

    def run_spk(self) -> None:
        """One time step."""
        self.s_out.send(self._update(_received(self.a_in), _received(self.b_in)))


@implements(proc=SquaredReluNeurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySquaredReluNeurons(PyLoihiProcessModel):
    """See ``SquaredReluNeurons``."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._update = SquaredReluUpdate(proc_params["layer"])

    def run_spk(self) -> None:
        """One time step."""
        self.s_out.send(self._update(_received(self.a_in)))


class _PyGated(PyLoihiProcessModel):
    """Asks the gate first; ``_advance`` is a token's step, ``_reset`` the return to the start."""

    g_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=1)
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        first = FLAGS * proc_params["gate"]
        self._own_flags = slice(first, first + FLAGS)
        self._silence = np.zeros(proc_params["size"], np.int32)

    def run_spk(self) -> None:
        """One time step."""
        token_is_here, reset = self.g_in.recv()[self._own_flags]
        values = self._receive()
        if reset:
            self._reset()
        self.s_out.send(self._advance(*values) if token_is_here else self._silence)

    def _receive(self) -> tuple[Int32Array, ...]:
        return (_received(self.a_in),)

    def _advance(self, *values: Int32Array) -> Int32Array:
        raise NotImplementedError

    def _reset(self) -> None:
        """Return the state, where there is one, to its start."""


@implements(proc=SigmoidGate, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySigmoidGate(_PyGated):
    """See ``SigmoidGate``."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._update = SigmoidUpdate(proc_params["layer"])

    def _advance(self, *values: Int32Array) -> Int32Array:
        return self._update(values[0])


@implements(proc=MemorylessLif, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyMemorylessLif(_PyGated):
    """See ``MemorylessLif``."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._update = MemorylessLifUpdate(proc_params["layer"])

    def _advance(self, *values: Int32Array) -> Int32Array:
        return self._update(values[0])


@implements(proc=Hold, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyHold(_PyGated):
    """See ``Hold``."""

    held: Int32Array = LavaPyType(np.ndarray, np.int32, precision=24)

    def _advance(self, *values: Int32Array) -> Int32Array:
        return hold(values[0], self.held)

    def _reset(self) -> None:
        self.held[:] = 0


@implements(proc=LeakyLif, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyLeakyLif(_PyGated):
    """See ``LeakyLif``."""

    v: Int32Array = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._update = LeakyLifUpdate(proc_params["layer"])

    def _advance(self, *values: Int32Array) -> Int32Array:
        return self._update(values[0], self.v)

    def _reset(self) -> None:
        self.v[:] = 0


@implements(proc=WkvNeurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyWkvNeurons(_PyGated):
    """See ``WkvNeurons``."""

    b_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=32)
    numerator: Int32Array = LavaPyType(np.ndarray, np.int32, precision=32)
    denominator: Int32Array = LavaPyType(np.ndarray, np.int32, precision=24)
    exponent: Int32Array = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._update = WkvUpdate(proc_params["layer"])

    def _receive(self) -> tuple[Int32Array, ...]:
        return _received(self.a_in), _received(self.b_in)

    def _advance(self, *values: Int32Array) -> Int32Array:
        key, value = values
        return self._update(key, value, self.numerator, self.denominator, self.exponent)

    def _reset(self) -> None:
        self.numerator[:] = 0
        self.denominator[:] = 0
        self.exponent[:] = EMPTY_EXPONENT


@implements(proc=Normalise, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNormalise(PyLoihiProcessModel):
    """See ``Normalise``."""

    g_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=1)
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    r_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    m_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    x1: Int32Array = LavaPyType(np.ndarray, np.int32, precision=24)
    x2: Int32Array = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._update = NormaliseUpdate(proc_params["layer"])
        self._flag = FLAGS * proc_params["gate"]
        self._silence = np.zeros(proc_params["size"], np.int32)

    def run_spk(self) -> None:
        """One time step: new values go round by the synapses, those of two steps ago come out."""
        token_is_here = self.g_in.recv()[self._flag]
        x = _received(self.a_in)
        self.m_out.send(self._update.moments(x))
        statistics = _received(self.r_in)
        self.s_out.send(self._update.apply(self.x2, statistics) if token_is_here else self._silence)
        self.x2, self.x1 = self.x1, x


@implements(proc=ReciprocalRoot, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReciprocalRoot(PyLoihiProcessModel):
    """See ``ReciprocalRoot``."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._update = ReciprocalRootUpdate(proc_params["layer"])

    def run_spk(self) -> None:
        """One time step."""
        self.s_out.send(self._update(_received(self.a_in)))


@implements(proc=Feedback, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFeedback(PyLoihiProcessModel):
    """See ``Feedback``."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=1)
    f_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=1)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=1)
    is_open: Int32Array = LavaPyType(np.ndarray, np.int32, precision=1)

    def run_spk(self) -> None:
        """One time step."""
        opens, closes = self.f_in.recv()
        np.maximum(self.is_open, opens, out=self.is_open)
        np.minimum(self.is_open, 1 - closes, out=self.is_open)
        self.s_out.send(np.minimum(_received(self.a_in), self.is_open))
