"""A random layer of any kind, from its schema alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from spikegpt_neuro.network.network import TOKEN
from spikegpt_neuro.network.schema import Array, ArraySpec, Layer, Port

N = 12
"""Channels of a sample; a square and a convolution's shape are made of them too."""
INPUT_BITS = {
    "delta": 12, "sigma_delta": 20, "cuba": 16, "leaky_integrator": 16, "alif": 16, "lif": 20,
    "varied_cuba": 16, "varied_lif": 20,
}  # fmt: skip
"""Inputs as wide as the kind's place in a network has them, where 24 bits would only saturate."""
_SHAPES = {"n": N, "m": N, "v": 7, "bytes": (N + 7) // 8, "w": 18, "g": 15}
_GEOMETRY = (1, 3, 4, 2, 1, 4, 3, 3, 1, 1, 0, 1, 1, 1, 1)
_NORM = {"input_shift": 0, "mean_multiplier": 21845, "mean_shift": 18, "epsilon": 32212}
_LIKELY = {"shift": (0, 30), "key_shift": (5, 30), "value_shift": (8, 34), "square_shift": (0, 20)}
"""Where most of a declared range gives nothing but zeros."""


def _array(name: str, spec: ArraySpec, rng: np.random.Generator, size: int) -> Array:
    shape = tuple(size if axis == "n" else _SHAPES[axis] for axis in spec.shape)
    low, high = _LIKELY.get(name, (spec.low, spec.high))
    values = rng.integers(low, high + 1, shape)
    edges = np.array([low, high])[: values.size]
    values.reshape(-1)[: edges.size] = edges  # the edges of the range are among them
    return values.astype(spec.dtype)


def sample(kind: type[Layer], seed: int = 0) -> Any:
    """A valid layer of ``kind`` named ``x``."""
    rng = np.random.default_rng([seed, len(kind.kind)])
    specs = kind.array_specs()
    values: dict[str, Any] = {}
    for name, (low, high) in kind.scalar_ranges().items():
        low, high = _LIKELY.get(name, (low, high))
        values[name] = int(rng.integers(low, high + 1))
    values |= {name: value for name, value in _NORM.items() if name in values}
    size = 2 * 1 * 4 if "geometry" in specs else N
    values |= {name: _array(name, spec, rng, size) for name, spec in specs.items()}
    if "geometry" in specs:
        values["geometry"] = np.array(_GEOMETRY, np.int32)
    if "depth" in values:
        values["depth"] = int(values["delay"].max())
    inputs = tuple(f"in{i}" for i in range(kind.input_count))
    if kind.chip_role == "input":
        inputs = inputs and (TOKEN,)
    bits, signed = kind.output_bits or (24, True)
    payload = "accumulator" if kind.chip_role == "synapse" else "graded"
    if (bits, signed) == (1, False):
        payload = "binary"
    return kind("x", inputs, Port(size, payload, bits, signed, 1.0), **values)  # type: ignore[arg-type]


def input_limit(layer: Layer) -> int:
    """Largest magnitude of the inputs a sample is run on."""
    name = layer.kind.removeprefix("recurrent_")
    default = 14 if layer.role == "synapse" else 23
    return (1 << (INPUT_BITS.get(name, default + 1) - 1)) - 1


def changed(layer: Any, **fields: Any) -> Any:
    """A copy with other values."""
    return dataclasses.replace(layer, **fields)
