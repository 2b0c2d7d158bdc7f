"""Every layer of a network as stock Lava processes, and as few own neurons as exactness allows.

The result is data (``Element``); the sub-process models build processes from it, the schedule
balances its delays. Which stock process holds which layer, and why an own neuron remains where it
does, is explained in docs/backends.md. Every choice is made by proof from the network's integers
(``network/ranges.py``), never by what a text happened to drive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, diags

from spikegpt_neuro.arithmetic.elementwise import STREAM_LIMIT
from spikegpt_neuro.arithmetic.packed import MOST_BITS
from spikegpt_neuro.backends.lava.lif_thresholds import MEMORYLESS, stock_lif
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.layers import (
    BinaryEmbedding,
    Dense,
    Lif,
    Product,
    RealEmbedding,
    Requantise,
    Residual,
    SquaredRelu,
    TokenShift,
)
from spikegpt_neuro.network.ranges import magnitude, proven_ranges
from spikegpt_neuro.network.schema import Layer

Int32Array = npt.NDArray[np.int32]

INT32 = (1 << 31) - 1
HALF_BITS = 15
"""Bits of the lower half of an accumulator that is too wide for one stock product."""
ROOT_LIMIT = (1 << 20) - 1
"""Where ``arithmetic.elementwise.squared_relu`` clips the root."""
LARGEST_STREAM_SHIFT = 30
LARGEST_WEIGHT = 127
MOST_LAYERS = 31
"""Layers of a stage: a probe looks at these and at the value the stage reads."""

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


def decompose(network: Network) -> Decomposition:
    """The fine graph of ``network``, without delays. See ``fine_problems`` for what it requires."""
    return _Decomposer(network).run()


def fine_problems(network: Network) -> list[str]:
    """Why ``network`` has no fine graph, one sentence each; empty where it has one."""
    ranges = proven_ranges(network)
    problems = []
    last = ""
    for name, layers in network.stages.items():
        names = {layer.name for layer in layers}
        outside = {s for layer in layers for s in layer.inputs if s not in names} - {TOKEN}
        if outside - {last}:
            problems.append(f"{name} reads {', '.join(sorted(outside))}, not only {last}")
        last = layers[-1].name
        if len(layers) > MOST_LAYERS:
            problems.append(f"{name} has {len(layers)} layers, at most {MOST_LAYERS}")
        if isinstance(layers[-1], BinaryEmbedding | RealEmbedding | TokenShift | Dense | Lif):
            problems.append(f"{name} ends in a {layers[-1].kind}, which is not one population")
    for layer in network.layers:
        if isinstance(layer, Dense):
            # stock Dense computes a multiple of the accumulator in 32 bits
            limit = INT32 >> (MOST_BITS - layer.weight_bits + 1)
            if magnitude(ranges[layer.name]) >= limit:
                problems.append(
                    f"{layer.name}: accumulators up to {magnitude(ranges[layer.name])}, must stay "
                    f"below {limit}"
                )
        if isinstance(layer, Residual) and int(layer.shift.max()) > LARGEST_STREAM_SHIFT:
            problems.append(
                f"{layer.name}: shifts up to {layer.shift.max()}, at most {LARGEST_STREAM_SHIFT}"
            )
        if isinstance(layer, SquaredRelu) and _root_limit(layer) ** 2 > INT32:
            problems.append(
                f"{layer.name}: squares up to {_root_limit(layer) ** 2}, at most {INT32}"
            )
    return problems


def check_fine(network: Network) -> None:
    """``InputError`` listing everything that keeps ``network`` from having a fine graph."""
    problems = fine_problems(network)
    if problems:
        raise InputError("this network has no fine Lava graph:", problems)


def _root_limit(layer: SquaredRelu) -> int:
    """Least root whose square already gives the largest output: clipping there changes nothing."""
    needed = layer.output.high << layer.square_shift
    root = math.isqrt(needed)
    return min(root + (root * root < needed), ROOT_LIMIT)


class _Decomposer:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._ranges = proven_ranges(network)
        self._elements: dict[str, Element] = {}
        self._values: dict[str, tuple[str, ...]] = {TOKEN: (TOKEN,)}
        self._stage = self._layer = ""

    def run(self) -> Decomposition:
        for layer in self._network.layers:
            self._stage, self._layer = layer.stage, layer.name
            getattr(self, f"_{layer.kind}", self._own)(layer)
        del self._values[TOKEN]
        return Decomposition(self._elements, self._values)

    def _add(
        self, name: str, program: str, size: int, *inputs: tuple[str, ...], **parameters: Any
    ) -> tuple[str, ...]:
        self._elements[name] = Element(
            name, program, size, inputs, self._stage, parameters, self._layer
        )
        return (name,)

    def _own(self, layer: Layer) -> None:
        """One own neuron population, with the layer's parameters."""
        inputs = [self._values[source] for source in layer.inputs]
        program = {"delay": "hold"}.get(layer.kind, layer.kind)
        self._values[layer.name] = self._add(
            layer.name, program, layer.output.size, *inputs, layer=layer
        )

    def _rescale(
        self, name: str, size: int, inputs: Sequence[tuple[str, ...]], multipliers: Sequence[Any],
        shift: Any, low: int, high: int,
    ) -> tuple[str, ...]:  # fmt: skip
        """``clip(round_shift(a * m1 + b * m2, shift), low, high)``; one or two inputs."""
        first, second, shifts = (
            np.ascontiguousarray(np.broadcast_to(np.asarray(values, np.int64), (size,)), np.int32)
            for values in (*multipliers, *[0] * (2 - len(multipliers)), shift)
        )
        return self._add(
            name, "rescale", size, *inputs, first=first, second=second, shift=shifts,
            low=low, high=high,
        )  # fmt: skip

    def _synapses(
        self, name: str, program: str, weight: Any, source: tuple[str, ...], *,
        exponent: int = 0, binary: bool = False, bits: int = MOST_BITS,
    ) -> tuple[str, ...]:  # fmt: skip
        """Stock synapses of integer weights of that many bits times ``2**exponent``.

        Mixed-sign weights are truncated to even numbers: twice the weight, half the sum.
        Non-negative ones keep all 8 bits. See ``stock.synapses`` for fewer.
        """
        held = csr_matrix(weight) if program == "sparse" else weight
        return self._add(
            name, program, weight.shape[0], source, weight=held, mixed=bool(held.min() < 0),
            binary=binary, exponent=exponent, bits=bits,
        )  # fmt: skip

    def _binary_embedding(self, layer: BinaryEmbedding) -> None:
        bits = np.unpackbits(layer.table, axis=1, count=layer.output.size)
        self._values[layer.name] = self._synapses(
            layer.name, "dense", bits.T, (TOKEN,), binary=True
        )

    def _real_embedding(self, layer: RealEmbedding) -> None:
        """16 bits as a signed upper and an unsigned lower byte, each a stock weight."""
        table = layer.table.T.astype(np.int64)
        upper = self._synapses(
            f"{layer.name}.upper", "dense", table >> 8, (TOKEN,), exponent=8, binary=True
        )
        lower = self._synapses(f"{layer.name}.lower", "dense", table & 255, (TOKEN,), binary=True)
        self._values[layer.name] = upper + lower

    def _token_shift(self, layer: TokenShift) -> None:
        if layer.is_hard:
            return  # wiring: the synapses behind it read either vector
        self._values[layer.name] = self._rescale(
            layer.name, layer.output.size, [self._values[s] for s in layer.inputs],
            (layer.current_multiplier, layer.previous_multiplier), layer.shift,
            layer.output.low, layer.output.high,
        )  # fmt: skip

    def _requantise(self, layer: Requantise) -> None:
        self._values[layer.name] = self._rescale(
            layer.name, layer.output.size, [self._values[layer.inputs[0]]], (layer.multiplier,),
            layer.shift, layer.output.low, layer.output.high,
        )  # fmt: skip

    _readout = _requantise

    def _dense(self, layer: Dense) -> None:
        operand = self._network[layer.inputs[0]]
        weight = layer.weight.astype(np.int64)
        if operand.name in self._values:
            source = self._values[operand.name]
            binary = operand.output.payload == "binary" and len(source) == 1
            self._values[layer.name] = self._synapses(
                layer.name, "dense", weight, source, binary=binary, bits=layer.weight_bits
            )
            return
        assert isinstance(operand, TokenShift)
        found: tuple[str, ...] = ()
        for part, source_name, mask in (
            ("current", operand.inputs[0], operand.current_multiplier),
            ("previous", operand.inputs[1], operand.previous_multiplier),
        ):
            if mask.any() or (part == "previous" and not found):
                found += self._synapses(
                    f"{layer.name}.{part}",
                    "sparse",
                    weight * mask,
                    self._values[source_name],
                    bits=layer.weight_bits,
                )
        self._values[layer.name] = found

    def _squared_relu(self, layer: SquaredRelu) -> None:
        size = layer.output.size
        root = self._rescale(
            f"{layer.name}.root", size, [self._values[layer.inputs[0]]], (layer.multiplier,),
            layer.shift, 0, _root_limit(layer),
        )  # fmt: skip
        square = self._add(f"{layer.name}.square", "product", size, root, root)
        self._values[layer.name] = self._rescale(
            layer.name, size, [square], (1,), layer.square_shift, 0, layer.output.high
        )

    def _product(self, layer: Product) -> None:
        name, size, port = layer.name, layer.output.size, layer.output
        gate, value = (self._values[source] for source in layer.inputs)
        largest = math.prod(magnitude(self._ranges[source]) for source in layer.inputs)
        if largest <= INT32:
            product = self._add(f"{name}.product", "product", size, gate, value)
            self._values[name] = self._rescale(
                name, size, [product], (layer.multiplier,), layer.shift, port.low, port.high
            )
            return
        # value = upper * 2**15 + lower; the products of both halves fit 32 bits
        upper = self._rescale(f"{name}.upper", size, [value], (1,), HALF_BITS, -INT32, INT32)
        lower = self._rescale(
            f"{name}.lower", size, [value, upper], (1, -(1 << HALF_BITS)), 0, -INT32, INT32
        )
        products = [
            self._add(f"{name}.{half}_product", "product", size, gate, source)
            for half, source in (("upper", upper), ("lower", lower))
        ]
        self._values[name] = self._rescale(
            name, size, products, (layer.multiplier << HALF_BITS, layer.multiplier), layer.shift,
            port.low, port.high,
        )  # fmt: skip

    def _lif(self, layer: Lif) -> None:
        source = self._values[layer.inputs[0]]
        size = layer.output.size
        stock = stock_lif(layer, magnitude(self._ranges[layer.inputs[0]]))
        if stock is None:
            program = "graded_lif" if layer.voltage_decay == MEMORYLESS else "leaky_lif"
            self._values[layer.name] = self._add(layer.name, program, size, source, layer=layer)
            return
        if stock.current_limit:
            source = self._rescale(
                f"{layer.name}.current", size, [source], (layer.multiplier,), layer.shift,
                -stock.current_limit, stock.current_limit,
            )  # fmt: skip
        self._values[layer.name] = self._add(
            layer.name, "lif", size, source, threshold=stock.threshold, bias=stock.bias
        )

    def _residual(self, layer: Residual) -> None:
        name, size = layer.name, layer.output.size
        stream, branch = (self._values[source] for source in layer.inputs)
        weight = self._stock_gain(layer)
        if weight is None:
            self._values[name] = self._rescale(
                name, size, [stream, branch],
                (np.left_shift(1, layer.shift), layer.multiplier), layer.shift,
                layer.output.low, layer.output.high,
            )  # fmt: skip
            return
        gains, exponent = weight
        if exponent or (gains != 1).any():
            branch = self._synapses(
                f"{name}.gain", "sparse", diags(gains, dtype=np.int64), branch, exponent=exponent
            )
        self._values[name] = self._add(name, "graded", size, stream + branch)

    def _stock_gain(self, layer: Residual) -> tuple[npt.NDArray[np.int64], int] | None:
        """The branch's factors as stock weights and their exponent; None where the sum needs more.

        Stock synapses hold integer factors only, and a stock sum does not saturate.
        """
        factors = layer.multiplier.astype(np.int64)
        gains = factors >> layer.shift
        if (gains << layer.shift != factors).any() or not gains.any():
            return None
        stream, branch = (magnitude(self._ranges[source]) for source in layer.inputs)
        together = int(np.bitwise_or.reduce(gains))
        exponent = (together & -together).bit_length() - 1
        gains >>= exponent
        largest = int(np.abs(gains).max())
        if largest > LARGEST_WEIGHT or stream + branch * (largest << exponent) > STREAM_LIMIT:
            return None
        return gains, exponent
