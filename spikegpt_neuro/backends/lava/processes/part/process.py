"""The hierarchical process of a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess

from spikegpt_neuro.backends.lava.processes.neuron.process import HEADER, Neurons
from spikegpt_neuro.backends.lava.schedule import NeuronPlan
from spikegpt_neuro.network.layers import Layer


class Part(AbstractProcess):
    """A stage whose behaviour is that of the processes inside it.

    ``layers``: the stage's layers; ``plans``: of its neurons, by name; ``stream``: name and size of
    the one value read from the stage before (None for the embedding). ``wanted``: layers whose
    values go to the caller, through pipes of ``buffer_size`` messages; ``built`` is told every
    neuron process made.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        plans: dict[str, NeuronPlan],
        stream: tuple[str, int] | None,
        wanted: frozenset[str],
        buffer_size: int,
        built: Callable[[Neurons], None],
    ) -> None:
        super().__init__(
            layers=tuple(layers), plans=plans, stream=stream, wanted=wanted,
            buffer_size=buffer_size, built=built,
        )  # fmt: skip
        self.c_in = InPort(shape=(HEADER,))
        if stream is not None:
            self.a_in = InPort(shape=(stream[1],))
        self.s_out = OutPort(shape=(layers[-1].output.size,))
