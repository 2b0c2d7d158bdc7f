"""Facts of layers and ports worked out by hand, and convolutions by trying every position."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from spikegpt_neuro.network import Port
from spikegpt_neuro.network.intervals import rescaled, sum_range
from spikegpt_neuro.network.layers import TokenShift
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.registry import LAYER_KINDS
from spikegpt_neuro.network.slayer_connections import NetxConvolution

MULTIPLIER, OFFSET_16 = (-32768, 32768), (-32768, 32767)
DECAY, MANTISSA = (0, 4096), (0, 131072)
"""12 bits and one for "all of it"; thresholds of stock neurons: 17 bits, and their end."""
LIMITS: dict[str, dict[str, tuple[int, int]]] = {
    "binary_embedding": {"table": (0, 255)},
    "real_embedding": {"table": OFFSET_16},
    "dense": {"weight": (-127, 127), "accumulator_bits": (8, 32)},
    "token_shift": {
        "current_multiplier": MULTIPLIER, "previous_multiplier": MULTIPLIER, "shift": (0, 62),
    },
    "lif": {
        "multiplier": MULTIPLIER, "shift": (0, 62), "voltage_decay": DECAY,
        "threshold": (1, 131071), "bias": (-4096, 4095), "levels": (1, 15), "soft_reset": (0, 1),
    },
    "varied_lif": {"voltage_decay": DECAY, "threshold": (1, 131071)},
    "wkv": {"decay": (-8388607, 0)},
    "layer_norm": {"input_shift": (0, 16), "mean_multiplier": (1, 32768), "mean_shift": (0, 40)},
    "squared_relu": {"square_shift": (0, 40)},
    "cuba": {
        "bias": OFFSET_16, "current_decay": DECAY, "voltage_decay": DECAY, "threshold": MANTISSA,
    },
    "leaky_integrator": {"bias": OFFSET_16, "current_decay": DECAY, "voltage_decay": DECAY},
    "alif": {
        "bias": OFFSET_16, "threshold": MANTISSA, "threshold_decay": DECAY,
        "refractory_decay": DECAY, "threshold_step": MANTISSA,
    },
    "recurrent_cuba": {"weight": (-256, 256), "bias": OFFSET_16},
    "varied_cuba": {"bias": OFFSET_16, "current_decay": DECAY, "voltage_decay": DECAY},
    "delta": {"threshold": (0, 131071), "spike_bits": (0, 6)},
    "sigma_delta": {"bias": OFFSET_16, "threshold": (0, 131071), "spike_bits": (0, 6)},
    "netx_dense": {"weight": (-256, 256)},
    "netx_convolution": {"weight": (-256, 256), "geometry": (0, 1 << 20)},
    "channel_delay": {"delay": (0, 62), "depth": (1, 62)},
}  # fmt: skip


@pytest.mark.parametrize("kind", LIMITS)
def test_values_are_limited_to_the_bits_that_hold_them(kind: str) -> None:
    layer = LAYER_KINDS[kind]
    found = dict(layer.scalar_ranges())
    found |= {name: (spec.low, spec.high) for name, spec in layer.array_specs().items()}
    assert {name: found[name] for name in LIMITS[kind]} == LIMITS[kind]


@pytest.mark.parametrize(
    ("bits", "signed", "low", "high"),
    [
        (1, False, 0, 1), (2, False, 0, 3), (8, False, 0, 255), (31, False, 0, 2**31 - 1),
        (2, True, -1, 1), (8, True, -127, 127), (24, True, -(2**23) + 1, 2**23 - 1),
        (32, True, -(2**31) + 1, 2**31 - 1),
    ],
)  # fmt: skip
def test_a_port_carries_integers_of_its_bits(bits: int, signed: bool, low: int, high: int) -> None:
    port = Port(3, "graded", bits, signed, 1.0)
    assert (port.low, port.high) == port.range == (low, high)
    assert not list(port.problems())


def test_ports_of_too_few_and_too_many_bits_are_refused() -> None:
    for bits, signed in ((0, False), (32, False), (1, True), (33, True)):
        assert list(Port(3, "graded", bits, signed, 1.0).problems())


@pytest.mark.parametrize("shift", [0, 1, 5])
@pytest.mark.parametrize("multiplier", [-7, 0, 3])
def test_a_rescaled_range_is_that_of_all_its_values(multiplier: int, shift: int) -> None:
    for low, high in ((-20, 13), (0, 31), (-9, -2)):
        every = [
            math.floor(Fraction(x * multiplier, 1 << shift) + Fraction(1, 2)) + 4
            if shift
            else x * multiplier + 4
            for x in range(low, high + 1)
        ]
        assert rescaled((low, high), multiplier, shift, 4) == (min(every), max(every))


def test_a_range_of_sums_is_reached_by_the_worst_operands() -> None:
    rows = np.array([[3, -2, 0], [-1, -1, 5]])
    for low, high in ((-2, 3), (0, 4), (1, 2)):
        sums = [rows @ x for x in itertools.product((low, high), repeat=3)]
        assert sum_range(rows, (low, high)) == (np.min(sums), np.max(sums))
    many = np.ones((3000, 2), np.int64)
    many[2999] = 7
    assert sum_range(many, (-1, 1)) == (-14, 14)


@pytest.mark.parametrize(
    ("current", "previous", "shift", "hard"),
    [
        ([1, 0], [0, 1], [0, 0], True),
        ([1, 0], [0, 1], [0, 1], False),  # halved: arithmetic
        ([1, 1], [0, 1], [0, 0], False),  # the sum of both
        ([2, 0], [-1, 1], [0, 0], False),
        ([0, 0], [0, 1], [0, 0], False),
    ],
)
def test_a_hard_shift_takes_one_of_its_operands_as_it_is(
    current: list[int], previous: list[int], shift: list[int], hard: bool
) -> None:
    layer = TokenShift(
        "blocks.0.srwkv.shift_key", ("a", "b"), Port(2, "graded", 8, True, 1.0),
        *(np.array(values, np.int32) for values in (current, previous, shift)),
    )  # fmt: skip
    assert layer.is_hard is hard
    assert layer.role == ("wiring" if hard else "neuron")


def _convolution(
    channels: tuple[int, int, int], size: tuple[int, int], kernel: tuple[int, int],
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int],
) -> NetxConvolution:  # fmt: skip
    inputs, outputs, groups = channels
    made = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    ]
    geometry = [inputs, *size, outputs, *made, *kernel, *stride, *padding, *dilation, groups]
    rng = np.random.default_rng(1)
    weight = rng.integers(-9, 10, outputs * inputs // groups * math.prod(kernel)).astype(np.int16)
    port = Port(outputs * math.prod(made), "accumulator", 24, True, 1.0)
    return NetxConvolution("c", ("a",), port, weight, np.array(geometry, np.int32))


CONVOLUTIONS = [
    _convolution((2, 4, 1), (7, 6), (3, 2), (1, 1), (0, 0), (1, 1)),
    _convolution((4, 6, 2), (6, 9), (2, 3), (2, 1), (1, 2), (1, 2)),
    _convolution((3, 3, 3), (8, 8), (3, 3), (3, 2), (2, 1), (2, 2)),
]


@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=["plain", "grouped", "dilated"])
def test_products_of_a_convolution_are_those_at_positions_that_there_are(
    layer: NetxConvolution,
) -> None:
    c, h, w, oc, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, groups = layer.geometry.tolist()
    inside = sum(
        0 <= y * sh - ph + i * dh < h and 0 <= x * sw - pw + j * dw < w
        for y, x, i, j in itertools.product(range(oh), range(ow), range(kh), range(kw))
    )
    assert layer.products == inside * oc * c // groups
    assert not list(layer.problems())
    kernels = np.asarray(layer.weight).reshape(oc, -1).astype(int)
    high = max(int(np.maximum(row, 0).sum()) * 5 - int(np.minimum(row, 0).sum()) for row in kernels)
    low = min(int(np.minimum(row, 0).sum()) * 5 - int(np.maximum(row, 0).sum()) for row in kernels)
    assert layer.value_range([(-1, 5)]) == (low, high)


@pytest.mark.parametrize("place", range(15))
def test_a_convolution_of_another_geometry_is_refused(place: int) -> None:
    layer = CONVOLUTIONS[1]
    geometry = layer.geometry.copy()
    geometry[place] += 3
    changed = NetxConvolution("c", ("a",), layer.output, layer.weight, geometry)
    assert list(changed.problems())


def test_the_graph_has_every_layer_and_every_edge() -> None:
    network = random_network(RandomShape("spike-driven", 1, 16, 12))
    assert list(network.graph.nodes) == [layer.name for layer in network.layers]
    edges = {(s, layer.name) for layer in network.layers for s in layer.inputs if s != "token"}
    assert set(network.graph.edges) == edges
    assert ("head.projection", "head.readout") in edges
    assert network.graph.nodes["head.readout"]["layer"] is network.layers[-1]
