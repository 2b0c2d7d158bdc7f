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

from spikegpt_neuro.backends.lava.processes.io.models import (
    PyEmbeddingInjector,
    PyExtractor,
    PyInjector,
)
from spikegpt_neuro.backends.lava.processes.io.process import (
    EmbeddingInjector,
    Extractor,
    Injector,
)
from spikegpt_neuro.backends.lava.processes.neurons.process import PROCESSES
from spikegpt_neuro.decomposition.neuron_programs import OWN_NEURONS
from spikegpt_neuro.errors import Unavailable

PROGRAMS_GROUP = "spikegpt_neuro.loihi2_programs"
"""Entry points of this group are named like an own neuron (``neuron_programs.OWN_NEURONS``) and
load a neuro-core model of its process (``processes.neurons.process.PROCESSES``)."""

_NAMES = {process: name for name, process in PROCESSES.items()}


def registered_programs() -> dict[str, Any]:
    """Neuro-core process models of own neurons, by name; whoever has microcode registers them."""
    return {point.name: point.load() for point in entry_points(group=PROGRAMS_GROUP)}


class BoardConfiguration(Loihi2HwCfg):
    """``Loihi2HwCfg`` that never falls back to the CPU.

    Stock ``Loihi2HwCfg`` takes a CPU model where a process has none for the chip, and with a tag it
    prefers a tagged CPU model to an untagged neuro-core model. Here the injectors (one of which
    looks the embedding up) and the extractor run on the host, hierarchical processes are opened,
    and everything else must have a model for the chip. What has none is collected in ``missing``.
    """

    def __init__(self, programs: Mapping[str, Any], callbacks: Iterable[Any] = ()) -> None:
        super().__init__(
            select_sub_proc_model=True,
            exception_proc_model_map={
                Injector: PyInjector,
                EmbeddingInjector: PyEmbeddingInjector,
                Extractor: PyExtractor,
            },
            callback_fxs=list(callbacks),
        )
        self._programs = programs
        self.missing: set[str] = set()

    def select(self, process: AbstractProcess, models: list[Any]) -> Any:
        """The process model of ``process``; see the class."""
        if type(process) in self.exception_proc_model_map:
            return self.exception_proc_model_map[type(process)]
        own = _NAMES.get(type(process))
        if own is not None and own in self._programs:
            return self._programs[own]
        for base in (AbstractNcProcessModel, AbstractSubProcessModel, CLoihiProcessModel):
            found = [model for model in models if issubclass(model, base)]
            tagged = [model for model in found if "fixed_pt" in model.tags]
            if found:
                return (tagged or found)[0]
        self.missing.add(own or f"{type(process).__module__}.{type(process).__qualname__}")
        return models[0]


def check_models(process: AbstractProcess, configuration: BoardConfiguration) -> None:
    """``Unavailable`` naming every process of the graph that has no model for the chip.

    The graph is used up by this: lava-nc opens its hierarchical processes. Make another to run it.
    """
    ProcGroupDiGraphs(process, configuration)
    if not configuration.missing:
        return
    lines = [
        f"{name}: needs a neuron program: {OWN_NEURONS[name].purpose}"
        if name in OWN_NEURONS
        else f"{name}: no process model for the chip was found in this lava-loihi"
        for name in sorted(configuration.missing)
    ]
    raise Unavailable(
        "this network cannot run on Loihi 2 with what is installed; nothing was sent to a board.",
        lines,
        "`spikegpt-neuro inspect NET --deployability` specifies every program. Register process "
        f"models that execute them as entry points of the group {PROGRAMS_GROUP}, named like the "
        "own neuron. Stock chains (`netx`) need none.",
    )
