"""Which process model each process of a graph gets on a board; imported where lava-loihi is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any

from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs
from lava.magma.core.model.c.model import CLoihiProcessModel
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi2HwCfg

from spikegpt_neuro.backends.lava.processes.io.models import PyExtractor, PyInjector
from spikegpt_neuro.backends.lava.processes.io.process import Extractor, Injector
from spikegpt_neuro.backends.lava.processes.neuron.models import PyNeurons
from spikegpt_neuro.backends.lava.processes.neuron.process import Neurons
from spikegpt_neuro.backends.lava.processes.part.models import PartOfProcesses
from spikegpt_neuro.backends.lava.processes.part.process import Part
from spikegpt_neuro.backends.loihi2.specification import HOST_KINDS, SPECIFICATIONS
from spikegpt_neuro.errors import Unavailable

PROGRAMS_GROUP = "spikegpt_neuro.loihi2_programs"
"""Entry points of this group are named like a kind of layer and load a neuro-core process model of
``Neurons`` that executes that kind."""


def registered_programs() -> dict[str, Any]:
    """Neuro-core process models of our own neurons, by kind; whoever has microcode registers it."""
    return {point.name: point.load() for point in entry_points(group=PROGRAMS_GROUP)}


class BoardConfiguration(Loihi2HwCfg):
    """``Loihi2HwCfg`` that never falls back to the CPU.

    Stock ``Loihi2HwCfg`` takes a CPU model where a process has none for the chip, and with a tag it
    prefers a tagged CPU model to an untagged neuro-core model. Here the injector, the extractor and
    the embedding run on the host, hierarchical processes are opened, and everything else must have
    a model for the chip. What has none is collected in ``missing``.
    """

    def __init__(self, programs: Mapping[str, Any], callbacks: Iterable[Any] = ()) -> None:
        super().__init__(
            select_sub_proc_model=True,
            exception_proc_model_map={
                Injector: PyInjector, Extractor: PyExtractor, Part: PartOfProcesses,
            },
            callback_fxs=list(callbacks),
        )  # fmt: skip
        self._programs = programs
        self.missing: set[str] = set()

    def select(self, process: AbstractProcess, models: list[Any]) -> Any:
        """The process model of ``process``; see the class."""
        if type(process) in self.exception_proc_model_map:
            return self.exception_proc_model_map[type(process)]
        if isinstance(process, Neurons):
            kind = process.proc_params["plan"].layer.kind
            if kind in HOST_KINDS:
                return PyNeurons
            if kind in self._programs:
                return self._programs[kind]
            self.missing.add(kind)
            return PyNeurons
        for base in (AbstractNcProcessModel, AbstractSubProcessModel, CLoihiProcessModel):
            found = [model for model in models if issubclass(model, base)]
            tagged = [model for model in found if "fixed_pt" in model.tags]
            if found:
                return (tagged or found)[0]
        self.missing.add(f"{type(process).__module__}.{type(process).__qualname__}")
        return models[0]


def check_models(process: AbstractProcess, configuration: BoardConfiguration) -> None:
    """``Unavailable`` naming every process of the graph that has no model for the chip.

    The graph is used up by this: lava-nc opens its hierarchical processes. Make another to run it.
    """
    ProcGroupDiGraphs(process, configuration)
    if not configuration.missing:
        return
    lines = []
    for name in sorted(configuration.missing):
        specification = SPECIFICATIONS.get(name)
        if specification is None:
            lines.append(f"{name}: no process model for the chip was found in this lava-loihi")
        elif specification.need == "microcode":
            lines.append(f"{name}: needs a neuron program: {specification.summary}")
        else:
            lines.append(f"{name}: needs a process model: {specification.summary}")
    raise Unavailable(
        "this network cannot run on Loihi 2 with what is installed; nothing was sent to a board.",
        lines,
        "`spikegpt-neuro inspect NET --deployability` specifies every program. Register process "
        f"models that execute them as entry points of the group {PROGRAMS_GROUP}, named like the "
        "kind. Stock chains (`netx`) need none.",
    )
