"""What a fine graph is made of, and how each kind of layer says which elements it becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.elementwise import SQUARE_LIMBS, VALUE_LIMBS
from spikegpt_neuro.arithmetic.packed import MOST_BITS
from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.ranges import proven_ranges
from spikegpt_neuro.network.registry import KindRegistry
from spikegpt_neuro.network.schema import Layer, Range

Int32Array = npt.NDArray[np.int32]

SYNAPSES = frozenset({"dense", "sparse", "delay"})
"""Programs that deliver one time step later."""
GATED = frozenset({"hold", "wkv", "leaky_lif", "memoryless_lif", "sigmoid", "layer_norm"})
"""Programs that work with a token only: their state must not change without one, or they would send
something (a gate, a norm's bias, a spike) in every idle step, and what they send costs synaptic
operations."""
FLAGS = 2
"""Width of a gate: a token is here; states return to their start."""
MOMENTS = VALUE_LIMBS + SQUARE_LIMBS
"""Limbs a channel of a layer norm sends to be summed."""
STATISTICS = 3
"""Mean, reciprocal root and its shift: what a layer norm's channels get back."""
NORM_STEPS = 2
"""Time steps of a layer norm: sums through synapses to the root, and back."""


@dataclass(frozen=True)
class Element:
    """One process of the fine graph, before it is built.

    ``program``: what it is (``neuron_programs.PROGRAMS``). ``inputs``: for each of its ports the
    elements whose outputs are added there. ``size``: of its output. ``stage``: where it lives.
    ``layer``: whose value it helps to compute; a delay's is empty.
    """

    name: str
    program: str
    size: int
    inputs: tuple[tuple[str, ...], ...]
    stage: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    layer: str = ""

    @property
    def latency(self) -> int:
        """Time steps from an input to the output it causes."""
        if self.program == "layer_norm":
            return NORM_STEPS
        if self.program == "delay":
            return int(self.parameters["steps"])
        return int(self.program in SYNAPSES)

    @property
    def gate_step(self) -> int:
        """Time steps from an input to the work that a gate allows: a layer norm sends at its
        end."""
        return NORM_STEPS if self.program == "layer_norm" else 0


@dataclass(frozen=True)
class Decomposition:
    """``elements`` by name, sources first; ``values``: the elements whose sum is a layer's value.

    A layer without ``values`` is wiring only: a hard token shift.
    """

    elements: Mapping[str, Element]
    values: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class FineForm:
    """How a kind becomes elements. ``build(builder, layer)`` adds them.

    ``is_population``: whether its value is that of one population, which can end a stage.
    ``problems(layer, range)``: why a layer with that proven range of values cannot be built.
    """

    build: Callable[[FineBuilder, Any], None]
    is_population: bool
    problems: Callable[[Any, Range], Iterable[str]]


FINE_FORMS: KindRegistry[FineForm] = KindRegistry("the fine Lava graph")
"""The fine form of every kind."""
Build = Callable[["FineBuilder", Any], None]


def _no_problems(layer: Layer, found: Range) -> Iterable[str]:
    return ()


def fine_form(
    *kinds: type[Layer],
    is_population: bool,
    problems: Callable[[Any, Range], Iterable[str]] = _no_problems,
) -> Callable[[Build], Build]:
    """Decorator: the elements of layers of ``kinds``. See ``FineForm``."""

    def keep(build: Build) -> Build:
        FINE_FORMS.add(*kinds, entry=FineForm(build, is_population, problems))
        return build

    return keep


class FineBuilder:
    """Collects the elements of a network, layer by layer.

    ``values``: for each layer built so far the elements whose sum is its value. ``ranges``: what is
    proven of every layer's values.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.ranges = proven_ranges(network)
        self._elements: dict[str, Element] = {}
        self.values: dict[str, tuple[str, ...]] = {TOKEN: (TOKEN,)}
        self._stage = self._layer = ""

    def run(self) -> Decomposition:
        """Build every layer's elements. Raises for a kind without a fine form."""
        for layer in self.network.layers:
            self._stage, self._layer = layer.stage, layer.name
            FINE_FORMS(layer).build(self, layer)
        del self.values[TOKEN]
        return Decomposition(self._elements, self.values)

    def add(
        self, name: str, program: str, size: int, *inputs: tuple[str, ...], **parameters: Any
    ) -> tuple[str, ...]:
        """One element of the layer that is being built; its name, as the sources it stands for."""
        self._elements[name] = Element(
            name, program, size, inputs, self._stage, parameters, self._layer
        )
        return (name,)

    def own(self, layer: Layer, program: str) -> None:
        """One own neuron population, with the layer's parameters."""
        inputs = [self.values[source] for source in layer.inputs]
        self.values[layer.name] = self.add(
            layer.name, program, layer.output.size, *inputs, layer=layer
        )

    def rescale(
        self, name: str, size: int, inputs: Sequence[tuple[str, ...]], multipliers: Sequence[Any],
        shift: Any, low: int, high: int,
    ) -> tuple[str, ...]:  # fmt: skip
        """``clip(round_shift(a * m1 + b * m2, shift), low, high)``; one or two inputs."""
        first, second, shifts = (
            np.ascontiguousarray(np.broadcast_to(np.asarray(values, np.int64), (size,)), np.int32)
            for values in (*multipliers, *[0] * (2 - len(multipliers)), shift)
        )
        return self.add(
            name, "rescale", size, *inputs, first=first, second=second, shift=shifts,
            low=low, high=high,
        )  # fmt: skip

    def synapses(
        self, name: str, program: str, weight: Any, source: tuple[str, ...], *,
        exponent: int = 0, binary: bool = False, bits: int = MOST_BITS,
        columns: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[str, ...]:  # fmt: skip
        """Stock synapses of integer weights of that many bits times ``2**exponent``.

        Mixed-sign weights are truncated to even numbers: twice the weight, half the sum.
        Non-negative ones keep all 8 bits. See ``stock.synapses`` for fewer. ``columns``: the
        operands that are read, where not all are; the weights are not copied here.
        """
        read = weight if columns is None else weight[:, columns]
        return self.add(
            name, program, weight.shape[0], source, weight=weight, columns=columns,
            mixed=bool(read.min() < 0), binary=binary, exponent=exponent, bits=bits,
        )  # fmt: skip
