"""The fine form of each kind of layer: the elements its value is computed by, exactly.

Which stock process holds which layer, and why an own neuron remains where it does, is explained in
docs/backends.md. Every choice is made by proof from the network's integers (``network/ranges.py``),
never by what a text happened to drive.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.sparse import diags

from spikegpt_neuro.arithmetic.formats import STREAM_LIMIT
from spikegpt_neuro.arithmetic.packed import MOST_BITS
from spikegpt_neuro.decomposition.elements import FINE_FORMS, FineBuilder, fine_form
from spikegpt_neuro.decomposition.lif_thresholds import stock_lif
from spikegpt_neuro.network import TOKEN
from spikegpt_neuro.network.layers import (
    BinaryEmbedding,
    Delay,
    Dense,
    LayerNorm,
    Lif,
    Product,
    Readout,
    RealEmbedding,
    RecurrentVariedCuba,
    Requantise,
    Residual,
    Sigmoid,
    SquaredRelu,
    TokenShift,
    VariedCuba,
    VariedLif,
    Wkv,
)
from spikegpt_neuro.network.ranges import magnitude
from spikegpt_neuro.network.schema import Layer, Range
from spikegpt_neuro.network.slayer_layers import (
    Alif,
    ChannelDelay,
    Cuba,
    Delta,
    LeakyIntegrator,
    NetxConvolution,
    NetxDense,
    RasterInput,
    RecurrentAlif,
    RecurrentCuba,
    Sigma,
    SigmaDelta,
)

Int32Array = npt.NDArray[np.int32]

INT32 = (1 << 31) - 1
LARGEST_STREAM_SHIFT = 30
LARGEST_WEIGHT = 127
_LISTED = 8
"""Of so many weights fewer than one is not 0: they are kept as a list."""


@fine_form(BinaryEmbedding, is_population=False)
def _binary_embedding(build: FineBuilder, layer: BinaryEmbedding) -> None:
    bits = np.unpackbits(layer.table, axis=1, count=layer.output.size)
    build.values[layer.name] = build.synapses(layer.name, "dense", bits.T, (TOKEN,), binary=True)


@fine_form(RealEmbedding, is_population=False)
def _real_embedding(build: FineBuilder, layer: RealEmbedding) -> None:
    """16 bits as a signed upper and an unsigned lower byte, each a stock weight."""
    table = layer.table.T.astype(np.int64)
    upper = build.synapses(
        f"{layer.name}.upper", "dense", table >> 8, (TOKEN,), exponent=8, binary=True
    )
    lower = build.synapses(f"{layer.name}.lower", "dense", table & 255, (TOKEN,), binary=True)
    build.values[layer.name] = upper + lower


@fine_form(TokenShift, is_population=False)
def _token_shift(build: FineBuilder, layer: TokenShift) -> None:
    if layer.is_hard:
        return  # wiring: the synapses behind it read either vector
    build.values[layer.name] = build.rescale(
        layer.name, layer.output.size, [build.values[s] for s in layer.inputs],
        (layer.current_multiplier, layer.previous_multiplier), layer.shift,
        layer.output.low, layer.output.high,
    )  # fmt: skip


@fine_form(Requantise, Readout, is_population=True)
def _requantise(build: FineBuilder, layer: Requantise) -> None:
    build.values[layer.name] = build.rescale(
        layer.name, layer.output.size, [build.values[layer.inputs[0]]], (layer.multiplier,),
        layer.shift, layer.output.low, layer.output.high,
    )  # fmt: skip


def _dense_problems(layer: Dense, found: Range) -> Iterable[str]:
    # stock Dense computes a multiple of the accumulator in 32 bits
    limit = INT32 >> (MOST_BITS - layer.weight_bits + 1)
    if magnitude(found) >= limit:
        yield f"{layer.name}: accumulators up to {magnitude(found)}, must stay below {limit}"


@fine_form(Dense, is_population=False, problems=_dense_problems)
def _dense(build: FineBuilder, layer: Dense) -> None:
    operand = build.network[layer.inputs[0]]
    if operand.name in build.values:
        source = build.values[operand.name]
        binary = operand.output.payload == "binary" and len(source) == 1
        program = "sparse" if _LISTED * int(layer.fan_out.sum()) < layer.weight.size else "dense"
        build.values[layer.name] = build.synapses(
            layer.name, program, layer.weight, source, binary=binary, bits=layer.weight_bits
        )
        return
    assert isinstance(operand, TokenShift)
    found: tuple[str, ...] = ()
    for part, source_name, mask in (
        ("current", operand.inputs[0], operand.current_multiplier),
        ("previous", operand.inputs[1], operand.previous_multiplier),
    ):
        if mask.any():
            found += build.synapses(
                f"{layer.name}.{part}", "sparse", layer.weight, build.values[source_name],
                bits=layer.weight_bits, columns=mask.astype(bool),
            )  # fmt: skip
    build.values[layer.name] = found


@fine_form(SquaredRelu, Product, is_population=True)
def _own_product(build: FineBuilder, layer: SquaredRelu | Product) -> None:
    """One own neuron: stock products would need own neurons before and behind them to scale."""
    build.own(layer, "scaled_product" if isinstance(layer, Product) else layer.kind)


@fine_form(Lif, is_population=True)
def _lif(build: FineBuilder, layer: Lif) -> None:
    source = build.values[layer.inputs[0]]
    size = layer.output.size
    stock = stock_lif(layer, magnitude(build.ranges[layer.inputs[0]]))
    if stock is None:
        build.own(layer, "memoryless_lif" if layer.is_memoryless else "leaky_lif")
        return
    build.values[layer.name] = build.add(
        layer.name, "lif", size, source, threshold=stock.threshold, bias=stock.bias
    )


@fine_form(VariedLif, is_population=True)
def _varied_lif(build: FineBuilder, layer: VariedLif) -> None:
    build.own(layer, "leaky_lif")


def _residual_problems(layer: Residual, found: Range) -> Iterable[str]:
    if int(layer.shift.max()) > LARGEST_STREAM_SHIFT:
        yield f"{layer.name}: shifts up to {layer.shift.max()}, at most {LARGEST_STREAM_SHIFT}"


@fine_form(Residual, is_population=True, problems=_residual_problems)
def _residual(build: FineBuilder, layer: Residual) -> None:
    name, size = layer.name, layer.output.size
    stream, branch = (build.values[source] for source in layer.inputs)
    weight = _stock_gain(build, layer)
    if weight is None:
        build.values[name] = build.rescale(
            name, size, [stream, branch],
            (np.left_shift(1, layer.shift), layer.multiplier), layer.shift,
            layer.output.low, layer.output.high,
        )  # fmt: skip
        return
    gains, exponent = weight
    if exponent or (gains != 1).any():
        branch = build.synapses(
            f"{name}.gain",
            "sparse",
            diags(gains, dtype=np.int64, format="csr"),
            branch,
            exponent=exponent,
        )
    build.values[name] = build.add(name, "graded", size, stream + branch)


def _stock_gain(build: FineBuilder, layer: Residual) -> tuple[npt.NDArray[np.int64], int] | None:
    """The branch's factors as stock weights and their exponent; None where the sum needs more.

    Stock synapses hold integer factors only, and a stock sum does not saturate.
    """
    factors = layer.multiplier.astype(np.int64)
    gains = factors >> layer.shift
    if (gains << layer.shift != factors).any() or not gains.all():
        return None
    stream, branch = (magnitude(build.ranges[source]) for source in layer.inputs)
    together = int(np.bitwise_or.reduce(gains))
    exponent = (together & -together).bit_length() - 1
    gains >>= exponent
    largest = int(np.abs(gains).max())
    if largest > LARGEST_WEIGHT or stream + branch * (largest << exponent) > STREAM_LIMIT:
        return None
    return gains, exponent


@fine_form(Delay, is_population=True)
def _delay(build: FineBuilder, layer: Delay) -> None:
    build.own(layer, "hold")


@fine_form(LayerNorm, Sigmoid, Wkv, is_population=True)
def _own_neurons(build: FineBuilder, layer: Layer) -> None:
    build.own(layer, layer.kind)


FINE_FORMS.refuse(
    RasterInput, NetxDense, NetxConvolution, ChannelDelay, Cuba, RecurrentCuba, Alif, RecurrentAlif,
    Sigma, Delta, SigmaDelta, LeakyIntegrator, VariedCuba, RecurrentVariedCuba,
    why="of a stock chain, which is made of stock processes",
)  # fmt: skip
