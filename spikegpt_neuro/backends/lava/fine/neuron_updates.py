"""One time step of each own neuron population, with the shared integer operations.

Thin: each calls the kernel of ``spikegpt_neuro.arithmetic`` that is its definition, with arrays of
the one type the kernels are compiled for before the processes fork (``warm_up_neurons``).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic import elementwise
from spikegpt_neuro.arithmetic.formats import EMPTY_EXPONENT
from spikegpt_neuro.arithmetic.lif import lif
from spikegpt_neuro.arithmetic.varied_neurons import varied_lif
from spikegpt_neuro.arithmetic.wkv import wkv
from spikegpt_neuro.decomposition.elements import MOMENTS, STATISTICS
from spikegpt_neuro.network.layers import (
    LayerNorm,
    Lif,
    Product,
    Sigmoid,
    SquaredRelu,
    VariedLif,
    Wkv,
)

Int32Array = npt.NDArray[np.int32]


def plain(values: npt.NDArray[np.int32]) -> Int32Array:
    """A writable, contiguous int32 copy: one array type for all kernels."""
    return np.array(values, np.int32)


def _counts() -> npt.NDArray[np.int64]:
    return np.zeros(2, np.int64)


class RescaleUpdate:
    """``clip(round_shift(a * m1 + b * m2, shift), low, high)``, see ``elementwise.token_shift``."""

    def __init__(
        self, first: Int32Array, second: Int32Array, shift: Int32Array, low: int, high: int
    ) -> None:
        self._parameters = (plain(first), plain(second), plain(shift), int(low), int(high))

    def __call__(self, a: Int32Array, b: Int32Array) -> Int32Array:
        """Both inputs [n]."""
        result = np.empty_like(a)
        elementwise.token_shift(a, b, *self._parameters, result, _counts())
        return result


class SigmoidUpdate:
    """See ``elementwise.sigmoid_gate``."""

    def __init__(self, layer: Sigmoid) -> None:
        self._parameters = (plain(layer.multiplier), plain(layer.shift))

    def __call__(self, accumulators: Int32Array) -> Int32Array:
        """Gates of accumulators [n]."""
        result = np.empty_like(accumulators)
        elementwise.sigmoid_gate(accumulators, *self._parameters, result, _counts())
        return result


class ScaledProductUpdate:
    """See ``elementwise.product``."""

    def __init__(self, layer: Product) -> None:
        self._parameters = (
            plain(layer.multiplier), plain(layer.shift), layer.output.low, layer.output.high
        )  # fmt: skip

    def __call__(self, gate: Int32Array, value: Int32Array) -> Int32Array:
        """Both inputs [n]."""
        result = np.empty_like(gate)
        elementwise.product(gate, value, *self._parameters, result, _counts())
        return result


class SquaredReluUpdate:
    """See ``elementwise.squared_relu``."""

    def __init__(self, layer: SquaredRelu) -> None:
        self._parameters = (
            plain(layer.multiplier), plain(layer.shift), layer.square_shift, layer.output.high
        )  # fmt: skip

    def __call__(self, accumulators: Int32Array) -> Int32Array:
        """Squares of accumulators [n]."""
        result = np.empty_like(accumulators)
        elementwise.squared_relu(accumulators, *self._parameters, result, _counts())
        return result


class LeakyLifUpdate:
    """See ``arithmetic.lif.lif`` and ``varied_lif``; ``membrane`` is read and written."""

    def __init__(self, layer: Lif | VariedLif) -> None:
        varied = isinstance(layer, VariedLif)
        self._kernel: Any = varied_lif if varied else lif
        self._parameters = (
            plain(layer.multiplier), plain(layer.shift), plain(layer.offset),
            plain(layer.voltage_decay) if isinstance(layer, VariedLif) else layer.voltage_decay,
            layer.threshold, layer.bias, layer.levels, layer.soft_reset,
        )  # fmt: skip

    def __call__(self, driving: Int32Array, membrane: Int32Array) -> Int32Array:
        """Spikes [n] of one token."""
        spikes = np.empty_like(driving)
        self._kernel(driving, *self._parameters, membrane, spikes, _counts())
        return spikes


class MemorylessLifUpdate:
    """See ``arithmetic.lif.lif``, of memoryless neurons: nothing is carried on."""

    def __init__(self, layer: Lif) -> None:
        self._update = LeakyLifUpdate(layer)

    def __call__(self, driving: Int32Array) -> Int32Array:
        """Spikes [n] of one time step."""
        return self._update(driving, np.zeros_like(driving))


class WkvUpdate:
    """See ``arithmetic.wkv.wkv``; the three states are read and written."""

    def __init__(self, layer: Wkv) -> None:
        self._parameters = (
            plain(layer.key_multiplier), plain(layer.key_shift), plain(layer.value_multiplier),
            plain(layer.value_shift), plain(layer.decay), plain(layer.first),
        )  # fmt: skip

    def __call__(
        self, key: Int32Array, value: Int32Array, numerator: Int32Array, denominator: Int32Array,
        exponent: Int32Array,
    ) -> Int32Array:  # fmt: skip
        """Weighted averages [n] of one token."""
        result = np.empty_like(key)
        wkv(key, value, *self._parameters, numerator, denominator, exponent, result, _counts())
        return result


def hold(values: Int32Array, held: Int32Array) -> Int32Array:
    """The held values, in whose place ``values`` are held: see ``elementwise.delay``."""
    result = np.empty_like(values)
    elementwise.delay(values, held, result)
    return result


class NormaliseUpdate:
    """The channels of a layer norm: see ``elementwise.norm_moments`` and ``norm_apply``."""

    def __init__(self, layer: LayerNorm) -> None:
        self._input_shift = layer.input_shift
        self._parameters = (plain(layer.multiplier), plain(layer.shift), plain(layer.offset))

    def moments(self, x: Int32Array) -> Int32Array:
        """Int32 [MOMENTS * n], limb by limb."""
        result = np.empty((MOMENTS, x.size), np.int32)
        elementwise.norm_moments(x, self._input_shift, result)
        return result.reshape(-1)

    def apply(self, x: Int32Array, statistics: Int32Array) -> Int32Array:
        """``statistics``: int32 [STATISTICS * n]."""
        result = np.empty_like(x)
        elementwise.norm_apply(
            x, self._input_shift, statistics.reshape(STATISTICS, x.size), *self._parameters, result
        )
        return result


class ReciprocalRootUpdate:
    """The one neuron of a layer norm that has its sums: see ``elementwise.norm_root``."""

    def __init__(self, layer: LayerNorm) -> None:
        self._parameters = (
            layer.output.size, layer.mean_multiplier, layer.mean_shift, layer.epsilon
        )  # fmt: skip

    def __call__(self, sums: Int32Array) -> Int32Array:
        """From int32 [MOMENTS] to int32 [STATISTICS]."""
        result = np.empty(STATISTICS, np.int32)
        elementwise.norm_root(sums, *self._parameters, result)
        return result


@cache
def warm_up_neurons() -> None:
    """Compile (or load) every kernel used here, once and before processes fork."""
    one = np.ones(1, np.int32)
    elementwise.token_shift(one, one, one, one, one, 0, 1, one.copy(), _counts())
    elementwise.sigmoid_gate(one, one, one, one.copy(), _counts())
    elementwise.product(one, one, one, one, 0, 1, one.copy(), _counts())
    elementwise.squared_relu(one, one, one, 0, 1, one.copy(), _counts())
    elementwise.delay(one, one.copy(), one.copy())
    lif(one, one, one, one, 0, 1, 0, 1, 0, one.copy(), one.copy(), _counts())
    varied_lif(one, one, one, one, one, 1, 0, 1, 0, one.copy(), one.copy(), _counts())
    numerator, denominator = np.zeros(1, np.int32), np.zeros(1, np.int32)
    exponent = np.full(1, EMPTY_EXPONENT, np.int32)
    wkv(
        one, one, one, one, one, one, -one, one, numerator, denominator, exponent, one.copy(),
        _counts(),
    )  # fmt: skip
    moments = np.zeros((MOMENTS, 1), np.int32)
    elementwise.norm_moments(one, 0, moments)
    statistics = np.zeros(STATISTICS, np.int32)
    elementwise.norm_root(moments.reshape(-1), 1, 1, 0, 1, statistics)
    elementwise.norm_apply(one, 0, statistics.reshape(STATISTICS, 1), one, one, one, one.copy())
