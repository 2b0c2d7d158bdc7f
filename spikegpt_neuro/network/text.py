"""A network as text that can be compared: a line for what it is, then one for each layer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from spikegpt_neuro.network.network import Network
from spikegpt_neuro.network.schema import Layer

DIGEST = 12
"""Hexadecimal digits of an array's SHA-256 that are written."""


def network_text(network: Network) -> str:
    """One line a layer: kind, name, inputs, output port, scalars, arrays.

    An array is its dtype, shape and the beginning of the SHA-256 of its bytes (C order), so that
    two texts are equal where the networks compute the same integers, and a difference says where.
    """
    return "\n".join([repr(network)[1:-1], *map(_line, network.layers)]) + "\n"


def _line(layer: Layer) -> str:
    port = layer.output
    sign = "s" if port.signed else "u"
    output = f"{port.payload} {port.size} x {port.bits}{sign} * {port.scale:.9g}"
    details = [*_scalars(layer), *_arrays(layer)]
    inputs = ", ".join(layer.inputs)
    return f"{layer.name} = {layer.kind}({inputs}) -> {output}" + "".join(
        f"; {detail}" for detail in details
    )


def _scalars(layer: Layer) -> Iterator[str]:
    for name in layer.scalar_ranges():
        yield f"{name} {getattr(layer, name)}"


def _arrays(layer: Layer) -> Iterator[str]:
    for name in layer.array_specs():
        values = np.ascontiguousarray(getattr(layer, name))
        shape = "x".join(map(str, values.shape))
        digest = hashlib.sha256(values.tobytes()).hexdigest()[:DIGEST]
        yield f"{name} {values.dtype} {shape} {digest}"
