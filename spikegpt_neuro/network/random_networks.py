"""Random integer networks of a given shape and activity, for benchmarks and tests.

They have the layers, formats and value ranges of exported networks, and densities set by hand:
the time a network takes depends on its shapes and on how many operands are zero, not on what it
has learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.packed import MOST_BITS, largest_weight, store
from spikegpt_neuro.network.layers import (
    BinaryEmbedding,
    Delay,
    Dense,
    LayerNorm,
    Lif,
    Product,
    Readout,
    RealEmbedding,
    Requantise,
    Residual,
    Sigmoid,
    SquaredRelu,
    TokenShift,
    Wkv,
)
from spikegpt_neuro.network.network import TOKEN, LanguageModel, ModelInfo
from spikegpt_neuro.network.schema import Layer, Port

Int32Array = npt.NDArray[np.int32]

STREAM_BITS = 12
"""Fraction bits of the residual stream."""
OPERAND_DEVIATION = 30.0
"""Standard deviation of dense operands, in units of an 8-bit payload."""
WEIGHT_DEVIATION = 35.0
"""Standard deviation of int8 weights: a Gaussian row scaled to its largest magnitude."""
_LEAST_DEVIATION = 0.7
"""The same of weights of few bits, so that half of the ternary ones are not 0."""
_SQUARE_SHIFT = 14
_CURRENT_BITS = 10


@dataclass(frozen=True)
class RandomShape:
    """What to build.

    ``layout``: upstream, rwkv (the same without LIF neurons) or spike-driven.
    ``square_density``: share of non-zero FFN-value operands (not spike-driven). ``firing``: share
    of LIF neurons that fire in a step. ``levels``: 1 for binary spikes, 3 for graded 0..3
    (spike-driven layout). ``ffn_pre``: the first block has a second SRFFN in place of its SRWKV.
    ``weight_bits``: 2 (ternary) to 8 of every projection.
    ``voltage_decay``: of all LIF neurons, in 1/4096; 4096: memoryless.
    """

    layout: str = "upstream"
    n_layer: int = 2
    n_embd: int = 32
    vocabulary_size: int = 50
    hidden_factor: int = 4
    square_density: float = 0.4
    firing: float = 0.15
    levels: int = 1
    binary_embedding: bool = True
    ffn_pre: bool = False
    weight_bits: int = MOST_BITS
    voltage_decay: int = 2048
    seed: int = 0


def random_network(shape: RandomShape) -> LanguageModel:
    """A network of that shape; the same arguments give the same integers."""
    return _Builder(shape).network()


def _mantissa(factor: float) -> tuple[int, int]:
    """``factor`` as a 15-bit mantissa and a shift."""
    mantissa, exponent = math.frexp(factor)
    return round(mantissa * (1 << 15)), 15 - exponent


class _Builder:
    def __init__(self, shape: RandomShape) -> None:
        self._shape = shape
        self._rng = np.random.default_rng(shape.seed)
        self._layers: list[Layer] = []
        self._stream = Port(shape.n_embd, "graded", 24, True, 2.0**-STREAM_BITS)
        scale = largest_weight(shape.weight_bits) / largest_weight(MOST_BITS)
        self._weight_deviation = max(WEIGHT_DEVIATION * scale, _LEAST_DEVIATION)

    def network(self) -> LanguageModel:
        shape = self._shape
        stream = self._embedding()
        for i in range(shape.n_layer):
            first = f"blocks.{i}.srwkv"
            if shape.layout != "spike-driven":
                if i == 0 and shape.ffn_pre:
                    stream = self._upstream_srffn("blocks.0.srffn_pre", stream)
                else:
                    stream = self._upstream_srwkv(first, stream)
                stream = self._upstream_srffn(f"blocks.{i}.srffn", stream)
            else:
                stream = self._spiking_srwkv(first, stream)
                stream = self._spiking_srffn(f"blocks.{i}.srffn", stream)
        self._head(stream)
        info = ModelInfo(
            shape.layout, shape.n_layer, shape.n_embd, shape.vocabulary_size,
            source={"random": True, "seed": shape.seed},
        )  # fmt: skip
        return LanguageModel(info, tuple(self._layers))

    def _add(self, layer: Layer) -> str:
        self._layers.append(layer)
        return layer.name

    def _jitter(self, factor: float, n: int) -> dict[str, Int32Array]:
        """``factor`` per channel, varied by a quarter, as multiplier and shift arrays."""
        mantissa, shift = _mantissa(factor)
        multiplier = np.rint(mantissa * self._rng.uniform(0.75, 1.0, n)).astype(np.int32)
        return {"multiplier": multiplier, "shift": np.full(n, shift, np.int32)}

    def _embedding(self) -> str:
        shape = self._shape
        n, v = shape.n_embd, shape.vocabulary_size
        if shape.binary_embedding:
            table = self._rng.integers(0, 256, (v, (n + 7) // 8)).astype(np.uint8)
            port = Port(n, "binary", 1, False, 1.0)
            name = self._add(BinaryEmbedding("embedding.table", (TOKEN,), port, table=table))
            return self._norm("embedding.norm", name, input_shift=STREAM_BITS)
        values = np.rint(self._rng.normal(0, 9000, (v, n))).clip(-32767, 32767).astype(np.int16)
        port = Port(n, "graded", 16, True, 1e-4)
        name = self._add(RealEmbedding("embedding.table", (TOKEN,), port, table=values))
        return self._norm("embedding.norm", name)

    def _norm(self, name: str, source: str, input_shift: int = 0) -> str:
        n = self._shape.n_embd
        mean_multiplier, mean_shift = _mantissa(1.0 / n)
        return self._add(
            LayerNorm(
                name, (source,), self._stream,
                **self._jitter(math.sqrt(n) * 2.0 ** (STREAM_BITS - 20), n),
                offset=np.rint(self._rng.normal(0, 400, n)).astype(np.int32),
                input_shift=input_shift, mean_multiplier=mean_multiplier, mean_shift=mean_shift,
                epsilon=max(1, round(1e-5 * n * 4.0**STREAM_BITS)),
            )
        )  # fmt: skip

    def _dense(self, name: str, source: str, outputs: int) -> str:
        inputs = self._size(source)
        weight = self._rng.standard_normal((outputs, inputs), dtype=np.float32)
        limit = largest_weight(self._shape.weight_bits)
        weight *= np.float32(self._weight_deviation)
        np.rint(weight, out=weight)
        np.clip(weight, -limit, limit, out=weight)
        integers = weight.astype(np.int8)
        return self._add(
            Dense(
                name, (source,), Port(outputs, "accumulator", 32, True, 0.0),
                weight=store(integers, self._shape.weight_bits), accumulator_bits=24,
            )
        )  # fmt: skip

    def _size(self, name: str) -> int:
        return next(layer.output.size for layer in self._layers if layer.name == name)

    def _deviation(self, inputs: int, operand: float, density: float = 1.0) -> float:
        """Standard deviation of an accumulator of ``inputs`` operands."""
        return self._weight_deviation * operand * math.sqrt(inputs * density)

    def _token_shift(self, name: str, current: str, previous: str) -> str:
        n = self._shape.n_embd
        mantissa, shift = _mantissa(OPERAND_DEVIATION * 2.0**-STREAM_BITS)
        mix = self._rng.uniform(0.05, 0.95, n)
        return self._add(
            TokenShift(
                name,
                (current, previous),
                Port(n, "graded", 8, True, 0.03),
                current_multiplier=np.rint(mix * mantissa).astype(np.int32),
                previous_multiplier=np.rint((1 - mix) * mantissa).astype(np.int32),
                shift=np.full(n, shift, np.int32),
            )
        )

    def _hard_shift(self, name: str, current: str, previous: str) -> str:
        n = self._shape.n_embd
        mask = self._rng.integers(0, 2, n).astype(np.int32)
        return self._add(
            TokenShift(
                name, (current, previous), self._spikes(n, self._shape.levels),
                current_multiplier=mask, previous_multiplier=1 - mask,
                shift=np.zeros(n, np.int32),
            )
        )  # fmt: skip

    @staticmethod
    def _spikes(n: int, levels: int) -> Port:
        if levels == 1:
            return Port(n, "binary", 1, False, 1.0)
        return Port(n, "graded", levels.bit_length(), False, 1.0)

    def _lif(self, name: str, source: str, deviation: float, *, levels: int = 1) -> str:
        """LIF neurons of the wished firing rate on an input of that standard deviation."""
        n = self._size(source)
        unit = 1 << _CURRENT_BITS
        # the mean gain is 0.875; resets narrow the potential to about the current's spread
        quantile = NormalDist().inv_cdf(1.0 - self._shape.firing)
        threshold = max(1, round(unit * quantile * 0.875))
        return self._add(
            Lif(
                name, (source,), self._spikes(n, levels), **self._jitter(unit / deviation, n),
                offset=np.zeros(n, np.int32), voltage_decay=self._shape.voltage_decay,
                threshold=threshold, bias=1, levels=levels, soft_reset=int(levels > 1),
            )
        )  # fmt: skip

    def _gate(self, name: str, source: str, deviation: float) -> str:
        n = self._size(source)
        port = Port(n, "graded", 15, False, 2.0**-15)
        return self._add(Sigmoid(name, (source,), port, **self._jitter(1024 / deviation, n)))

    def _wkv(self, path: str, deviation: float) -> str:
        n = self._shape.n_embd
        key, value = self._jitter(65536 / deviation, n), self._jitter(600 / deviation, n)
        decay = -np.exp(self._rng.uniform(-6.0, 2.0, n)) * 65536
        return self._add(
            Wkv(
                f"{path}.wkv", (f"{path}.key", f"{path}.value"), Port(n, "graded", 16, True, 1e-4),
                key_multiplier=key["multiplier"], key_shift=key["shift"],
                value_multiplier=value["multiplier"], value_shift=value["shift"],
                decay=np.rint(decay).astype(np.int32),
                first=np.rint(self._rng.normal(0, 65536, n)).astype(np.int32),
            )
        )  # fmt: skip

    def _product(self, name: str, gate: str, value: str, factor: float, port: Port) -> str:
        """Gate times value; ``factor`` takes one unit of value (gate open) to one of ``port``."""
        return self._add(
            Product(name, (gate, value), port, **self._jitter(factor * 2.0**-15, port.size))
        )

    def _residual(self, name: str, stream: str, branch: str, unit: float) -> str:
        """Add ``unit`` of the stream (real) for every unit of the branch."""
        factors: Any = self._jitter(unit * 2.0**STREAM_BITS, self._shape.n_embd)
        return self._add(Residual(name, (stream, branch), self._stream, **factors))

    def _upstream_srwkv(self, path: str, stream: str) -> str:
        shape = self._shape
        n = shape.n_embd
        normed = self._norm(f"{path}.norm", stream)
        previous = self._add(Delay(f"{path}.previous", (normed,), self._stream))
        deviation = self._deviation(n, OPERAND_DEVIATION * 0.8)
        for part in ("key", "value", "receptance"):
            shifted = self._token_shift(f"{path}.shift_{part}", normed, previous)
            self._dense(f"{path}.{part}", shifted, n)
        wkv = self._wkv(path, deviation)
        gate = self._gate(f"{path}.gate", f"{path}.receptance", deviation)
        port = Port(n, "graded", 8, True, 0.03)
        product = self._product(f"{path}.product", gate, wkv, 2.0 * OPERAND_DEVIATION / 4000, port)
        output = self._dense(f"{path}.output", product, n)
        deviation = self._deviation(n, OPERAND_DEVIATION * 0.5)
        if shape.layout == "rwkv":
            return self._residual(f"{path}.residual", stream, output, 0.5 / deviation)
        spikes = self._lif(f"{path}.lif", output, deviation)
        return self._residual(f"{path}.residual", stream, spikes, 1.0)

    def _upstream_srffn(self, path: str, stream: str) -> str:
        shape = self._shape
        n, hidden = shape.n_embd, shape.n_embd * shape.hidden_factor
        normed = self._norm(f"{path}.norm", stream)
        previous = self._add(Delay(f"{path}.previous", (normed,), self._stream))
        deviation = self._deviation(n, OPERAND_DEVIATION * 0.8)
        for part, outputs in (("key", hidden), ("receptance", n)):
            shifted = self._token_shift(f"{path}.shift_{part}", normed, previous)
            self._dense(f"{path}.{part}", shifted, outputs)
        # h**2 / 2**14 rounds to 0 below h = 90.5: that sets the density
        quantile = NormalDist().inv_cdf(1.0 - min(shape.square_density, 0.499))
        factor = math.sqrt(2.0 ** (_SQUARE_SHIFT - 1)) / max(quantile, 0.05) / deviation
        square = self._add(
            SquaredRelu(
                f"{path}.square", (f"{path}.key",), Port(hidden, "graded", 8, False, 0.01),
                **self._jitter(factor, hidden), square_shift=_SQUARE_SHIFT,
            )
        )  # fmt: skip
        value = self._dense(f"{path}.value", square, n)
        gate = self._gate(f"{path}.gate", f"{path}.receptance", deviation)
        spread = self._deviation(hidden, 2.0 / max(quantile, 0.1) ** 2, shape.square_density)
        unit = 1 << _CURRENT_BITS
        port = Port(n, "graded", 18, True, 1.0 / unit)
        product = self._product(f"{path}.product", gate, value, unit / spread, port)
        if shape.layout == "rwkv":
            return self._residual(f"{path}.residual", stream, product, 1.0 / unit)
        spikes = self._lif(f"{path}.lif", product, 0.16 * unit)
        return self._residual(f"{path}.residual", stream, spikes, 1.0)

    def _spike_deviation(self, inputs: int) -> float:
        return self._deviation(inputs, 1.3 if self._shape.levels > 1 else 1.0, self._shape.firing)

    def _spiking_srwkv(self, path: str, stream: str) -> str:
        shape = self._shape
        n, levels = shape.n_embd, shape.levels
        normed = self._norm(f"{path}.norm", stream)
        spikes = self._lif(f"{path}.lif", normed, 2.0**STREAM_BITS, levels=levels)
        previous = self._add(Delay(f"{path}.previous", (spikes,), self._spikes(n, levels)))
        for part in ("key", "value", "receptance"):
            shifted = self._hard_shift(f"{path}.shift_{part}", spikes, previous)
            self._dense(f"{path}.{part}", shifted, n)
        deviation = self._spike_deviation(n)
        wkv = self._wkv(path, deviation)
        gate = self._gate(f"{path}.gate", f"{path}.receptance", deviation)
        port = Port(n, "graded", 16, True, 1e-3)
        product = self._product(f"{path}.product", gate, wkv, 1.0, port)
        gated = self._lif(f"{path}.product_lif", product, 1900.0, levels=levels)
        output = self._dense(f"{path}.output", gated, n)
        return self._residual(f"{path}.residual", stream, output, 0.5 / deviation)

    def _spiking_srffn(self, path: str, stream: str) -> str:
        shape = self._shape
        n, levels, hidden = shape.n_embd, shape.levels, shape.n_embd * shape.hidden_factor
        normed = self._norm(f"{path}.norm", stream)
        spikes = self._lif(f"{path}.lif", normed, 2.0**STREAM_BITS, levels=levels)
        previous = self._add(Delay(f"{path}.previous", (spikes,), self._spikes(n, levels)))
        for part, outputs in (("key", hidden), ("receptance", n)):
            shifted = self._hard_shift(f"{path}.shift_{part}", spikes, previous)
            self._dense(f"{path}.{part}", shifted, outputs)
        deviation = self._spike_deviation(n)
        inner = self._lif(f"{path}.hidden_lif", f"{path}.key", 0.9 * deviation, levels=levels)
        value = self._dense(f"{path}.value", inner, n)
        gate = self._gate(f"{path}.gate", f"{path}.receptance", deviation)
        port = Port(n, "graded", 16, True, 1e-3)
        product = self._product(
            f"{path}.product", gate, value, 4000 / self._spike_deviation(hidden), port
        )
        return self._residual(f"{path}.residual", stream, product, 1.0 / 4000)

    def _head(self, stream: str) -> None:
        shape = self._shape
        n, v = shape.n_embd, shape.vocabulary_size
        normed = self._norm("head.norm", stream)
        operand = self._add(
            Requantise(
                "head.requantise",
                (normed,),
                Port(n, "graded", 8, True, 0.03),
                **self._jitter(OPERAND_DEVIATION * 2.0**-STREAM_BITS, n),
            )
        )
        projected = self._dense("head.projection", operand, v)
        deviation = self._deviation(n, OPERAND_DEVIATION)
        port = Port(v, "graded", 32, True, 2.0**-16)
        factors = self._jitter(3 * 65536 / deviation, v)
        self._add(Readout("head.readout", (projected,), port, **factors))
