"""The sub-process model of a stage: stock processes, and own neurons where none is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from lava.magma.core.decorator import implements, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import AbstractPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.process import DelayDense
from lava.utils.weightutils import SignMode

from spikegpt_neuro.backends.lava.processes.fine_stage.process import (
    Embedding,
    Head,
    Probing,
    Selection,
    Srffn,
    Srwkv,
)
from spikegpt_neuro.backends.lava.processes.neurons.process import (
    Hold,
    LeakyLif,
    MemorylessLif,
    Rescale,
    ScaledProduct,
    SigmoidGate,
    SquaredReluNeurons,
    WkvNeurons,
)
from spikegpt_neuro.backends.lava.processes.norm.process import LayerNormCircuit
from spikegpt_neuro.backends.lava.processes.probe.process import Probe
from spikegpt_neuro.backends.lava.runtime import stock
from spikegpt_neuro.decomposition.elements import FLAGS, GATED, Element
from spikegpt_neuro.decomposition.schedule import StagePlan
from spikegpt_neuro.errors import IncompleteKind

INPUTS = {
    "dense": ("s_in",), "sparse": ("s_in",), "delay": ("s_in",),
}  # fmt: skip
"""Names of input ports, where they are not ``a_in`` and ``b_in``."""
OF_LAYERS: dict[str, Callable[[Any, int, int], AbstractProcess]] = {
    "wkv": WkvNeurons, "leaky_lif": LeakyLif, "memoryless_lif": MemorylessLif,
    "sigmoid": SigmoidGate, "layer_norm": LayerNormCircuit,
}  # fmt: skip
"""Gated processes that take their layer, and the place of their gate."""


def gate_lines(gates: tuple[int, ...], gates_before: int) -> AbstractProcess:
    """Stock delays from the last pair of the stage before to a pair for each of ``gates``."""
    flags = np.zeros((FLAGS, FLAGS * gates_before), np.int64)
    flags[:, -FLAGS:] = np.eye(FLAGS, dtype=np.int64)
    return _delayed_flags(flags, gates)


def fed_back_lines(gates: tuple[int, ...], size: int) -> AbstractProcess:
    """The same from the spikes of tokens that are fed back: any of them says that one is here."""
    flags = np.zeros((FLAGS, size), np.int64)
    flags[0] = 1
    return _delayed_flags(flags, gates)


def _delayed_flags(flags: npt.NDArray[np.int64], gates: tuple[int, ...]) -> AbstractProcess:
    """Synapses ``flags`` [2, inputs] to a pair for each of ``gates``, so many steps later."""
    weights = np.tile(flags, (len(gates), 1))
    delays = np.zeros_like(weights)
    delays[:] = np.repeat(np.array(gates) - 1, FLAGS)[:, None]
    return DelayDense(weights=weights, delays=delays, sign_mode=SignMode.EXCITATORY)


class _PartOfProcesses(AbstractSubProcessModel):
    """Builds the plan's elements, sources first, and connects them."""

    def __init__(self, proc: AbstractProcess) -> None:
        # not the process itself: Lava takes every process among the attributes for a part of it
        self._inputs, self._parameters = proc.in_ports, proc.proc_params
        self._plan: StagePlan = self._parameters["plan"]
        self._outputs: dict[str, OutPort] = {}
        self.gates = gate_lines(self._plan.gates, self._parameters["gates_before"])
        proc.in_ports.g_in.connect(self.gates.s_in)
        self._gate_sources = [self.gates.a_out]
        if self._parameters["fed_back"]:
            self.fed_back = fed_back_lines(self._plan.gates, self._parameters["fed_back"])
            proc.in_ports.f_in.connect(self.fed_back.s_in)
            self._gate_sources.append(self.fed_back.a_out)
        for source in self._gate_sources:
            source.connect(proc.out_ports.g_out)
        for i, element in enumerate(self._plan.elements):
            made = self._build(element)
            setattr(self, f"process_{i}", made)
            self._outputs[element.name] = getattr(
                made, "a_out" if element.program in ("dense", "sparse", "delay") else "s_out"
            )
            names = INPUTS.get(element.program, ("a_in", "b_in"))
            for name, sources in zip(names, element.inputs, strict=False):
                self._connect(sources, getattr(made, name))
        self._outputs[self._plan.result].connect(proc.out_ports.s_out)
        if self._parameters["probing"] is not None:
            self.probe = self._probe(self._parameters["probing"])

    def _connect(self, sources: tuple[str, ...], port: AbstractPort) -> None:
        """Several sources of a port are added there."""
        for source in sources:
            if source in self._outputs:
                self._outputs[source].connect(port)
            else:
                self._inputs.a_in.connect(port)

    def _gate(self, element: Element, port: AbstractPort) -> None:
        if self._step(element) == 0:
            self._inputs.g_in.connect(port)
        else:
            for source in self._gate_sources:
                source.connect(port)

    def _step(self, element: Element) -> int:
        """Time steps from the stage's own gate to the work that a gate allows."""
        return self._plan.levels[element.name] - self._plan.base + element.gate_step

    def _build(self, element: Element) -> AbstractProcess:
        given, size = element.parameters, element.size
        program = element.program
        if program in ("dense", "sparse"):
            return stock.synapses(program, **given)
        if program == "delay":
            return stock.delay(size, given["steps"])
        if program == "lif":
            return stock.memoryless_lif(size, given["threshold"], given["bias"])
        if program == "graded":
            return stock.graded(size)
        if program == "rescale":
            return Rescale(**given)
        if program == "scaled_product":
            return ScaledProduct(given["layer"])
        if program == "squared_relu":
            return SquaredReluNeurons(given["layer"])
        if program not in GATED:
            raise IncompleteKind(program, "the processes of a stage", where=element.name)
        step, gates = self._step(element), self._plan.gates
        before = self._parameters["gates_before"]
        place = (before - 1, before) if step == 0 else (gates.index(step), len(gates))
        if program == "hold":
            made = Hold(size, *place)
        elif program in OF_LAYERS:
            made = OF_LAYERS[program](given["layer"], *place)
        else:
            raise IncompleteKind(program, "the processes of a stage", where=element.name)
        self._gate(element, made.g_in)
        return made

    def _probe(self, probing: Probing) -> Probe:
        plan = self._plan
        tapped = [] if plan.stream is None else [(*plan.stream, plan.base)]
        sources: list[tuple[str, ...]] = [] if plan.stream is None else [(plan.stream[0],)]
        sizes = {layer.name: layer.output.size for layer in plan.layers}
        for name, (elements, step) in plan.taps.items():
            tapped.append((name, sizes[name], step))
            sources.append(elements)
        reports = tuple(name for name in sizes if name in probing.wanted)
        probe = Probe(plan, tuple(tapped), reports, probing.buffer_size)
        for i, elements in enumerate(sources):
            self._connect(elements, getattr(probe, f"tap_{i}"))
        self._inputs.c_in.connect(probe.c_in)
        probing.built(probe)
        return probe


@implements(proc=Embedding, protocol=LoihiProtocol)
@tag("fixed_pt")
class EmbeddingOfProcesses(_PartOfProcesses):
    """See ``Embedding``."""


@implements(proc=Srwkv, protocol=LoihiProtocol)
@tag("fixed_pt")
class SrwkvOfProcesses(_PartOfProcesses):
    """See ``Srwkv``."""


@implements(proc=Srffn, protocol=LoihiProtocol)
@tag("fixed_pt")
class SrffnOfProcesses(_PartOfProcesses):
    """See ``Srffn``."""


@implements(proc=Head, protocol=LoihiProtocol)
@tag("fixed_pt")
class HeadOfProcesses(_PartOfProcesses):
    """See ``Head``."""


@implements(proc=Selection, protocol=LoihiProtocol)
@tag("fixed_pt")
class SelectionOfProcesses(_PartOfProcesses):
    """See ``Selection``."""
