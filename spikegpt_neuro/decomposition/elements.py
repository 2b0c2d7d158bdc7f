"""What a fine graph is made of, and how each kind of layer says which elements it becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from spikegpt_neuro.arithmetic.packed import MOST_BITS
from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.ranges import proven_ranges
from spikegpt_neuro.network.registry import KindRegistry
from spikegpt_neuro.network.schema import Layer, Range

Int32Array = npt.NDArray[np.int32]

SYNAPSES = frozenset({"dense", "sparse", "delay"})
"""Programs that deliver one time step later."""
GATED = frozenset({"hold", "wkv", "leaky_lif"})
"""Programs with a state, which must not change in steps without a token."""


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
            return 2  # sums through synapses to the root, and back
        if self.program == "delay":
            return int(self.parameters["steps"])
        return int(self.program in SYNAPSES)


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
    ) -> tuple[str, ...]:  # fmt: skip
        """Stock synapses of integer weights of that many bits times ``2**exponent``.

        Mixed-sign weights are truncated to even numbers: twice the weight, half the sum.
        Non-negative ones keep all 8 bits. See ``stock.synapses`` for fewer.
        """
        held = csr_matrix(weight) if program == "sparse" else weight
        return self.add(
            name, program, weight.shape[0], source, weight=held, mixed=bool(held.min() < 0),
            binary=binary, exponent=exponent, bits=bits,
        )  # fmt: skip
