"""A chain as a graph of stock Lava processes: what a chip runs without any neuron program.

Synapses are ``Dense``, ``DelayDense`` or ``Conv``, neurons ``LIF``, ``ATRLIF``, ``Sigma``,
``Delta`` or ``SigmaDelta``; recurrence is a second ``Dense``. Stock synapses deliver one time step
late, which is the delay a chain read with stock timing has in front of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lava.proc.atrlif.process import ATRLIF
from lava.proc.conv.process import Conv as StockConv
from lava.proc.dense.process import DelayDense
from lava.proc.dense.process import Dense as StockDense
from lava.proc.lif.process import LIF
from lava.proc.sdn.process import Delta as StockDelta
from lava.proc.sdn.process import Sigma as StockSigma
from lava.proc.sdn.process import SigmaDelta as StockSigmaDelta

from spikegpt_neuro.arithmetic.slayer_neurons import DECAY_BITS, SPIKE_STATE_BITS
from spikegpt_neuro.backends.lava.compatibility import prepare_convolutions
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.schema import Array, Layer
from spikegpt_neuro.network.slayer_layers import (
    LONGEST_DELAY,
    Alif,
    ChannelDelay,
    Cuba,
    Delta,
    NetxConvolution,
    NetxDense,
    RasterInput,
    RecurrentAlif,
    RecurrentCuba,
    Sigma,
    SigmaDelta,
)

MESSAGE_BITS = 24
"""Width of graded spikes told to stock synapses; any positive number makes them take integers."""
BIAS_BITS = 6
"""Biases are in units of the input, 2**6 of the voltage."""
Shape = tuple[int, ...]


@dataclass
class Synapse:
    """Synapses with the delays around them: ``before`` each operand, ``after`` each sum."""

    layer: NetxDense | NetxConvolution
    source: str
    before: Array
    after: Array
    result: str
    """The layer whose values leave the stock process: the synapses, or the delay behind them."""


@dataclass
class StockPlan:
    """Which layers become which processes; ``problems`` are those that cannot."""

    synapses: dict[str, Synapse] = field(default_factory=dict)
    neurons: dict[str, Layer] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def _shape_of(network: Network, layer: Layer) -> Shape:
    """(W, H, C) behind a convolution or in front of one, else flat."""
    below = layer
    while not isinstance(below, RasterInput | NetxDense):
        if isinstance(below, NetxConvolution):
            channels, height, width = (int(v) for v in below.geometry[3:6])
            return width, height, channels
        below = network[below.inputs[0]]
    return (layer.output.size,)


def plan_stock(network: Network) -> StockPlan:
    """Match layers with stock processes; every layer is in the plan or a problem."""
    plan = StockPlan()
    readers = {source: layer for layer in network.layers for source in layer.inputs}
    absorbed: set[str] = set()
    for layer in network.layers:
        if not isinstance(layer, NetxDense | NetxConvolution):
            continue
        before = np.zeros(layer.operand_size, np.int64)
        source = network[layer.inputs[0]]
        while isinstance(source, ChannelDelay):
            absorbed.add(source.name)
            before = before + source.delay
            source = network[source.inputs[0]]
        after, result = np.zeros(layer.output.size, np.int64), layer.name
        behind = readers.get(layer.name)
        while isinstance(behind, ChannelDelay):
            absorbed.add(behind.name)
            after, result = after + behind.delay, behind.name
            behind = readers.get(behind.name)
        synapse = Synapse(layer, source.name, before - 1, after, result)
        plan.problems += _synapse_problems(synapse)
        plan.synapses[layer.name] = synapse
    results = {synapse.result for synapse in plan.synapses.values()}
    for layer in network.layers[1:]:
        if layer.name in absorbed or layer.name in plan.synapses:
            continue
        reads = layer.inputs[0]
        if isinstance(layer, Cuba | Sigma | Delta | SigmaDelta) and (
            reads in results or isinstance(network[reads], RasterInput)
        ):
            plan.neurons[layer.name] = layer
            if isinstance(layer, Alif) and layer.bias.any():
                plan.problems.append(
                    f"{layer.name}: a bias of the current; stock ATRLIF adds it to the voltage"
                )
        else:
            plan.problems.append(f"{layer.name}: no stock process for a {layer.kind} there")
    return plan


def _synapse_problems(synapse: Synapse) -> Iterator[str]:
    name = synapse.layer.name
    if synapse.before.min() < 0:
        yield (
            f"{name}: stock synapses deliver one time step late, and the chain was read without "
            "that delay (SLAYER timing)"
        )
    longest = int(synapse.before.max() + synapse.after.max())
    if longest > LONGEST_DELAY:
        yield f"{name}: delays up to {longest}, stock synapses hold {LONGEST_DELAY}"
    if longest and isinstance(synapse.layer, NetxConvolution):
        yield f"{name}: stock convolutions hold no delays"


def visible_layers(network: Network) -> tuple[str, ...]:
    """Layers whose values are sent between stock processes, in order."""
    plan = plan_stock(network)
    seen = {*plan.neurons, *(synapse.result for synapse in plan.synapses.values())}
    return tuple(layer.name for layer in network.layers if layer.name in seen)


def connect(source: Any, target: Any) -> None:
    """Connect ports whose vectors are flat in (C, H, W) order, or shaped (W, H, C)."""
    if source.shape == target.shape:
        source.connect(target)
    elif len(source.shape) == 3 and len(target.shape) == 1:
        source.transpose([2, 1, 0]).flatten().connect(target)
    else:
        source.reshape(tuple(reversed(target.shape))).transpose([2, 1, 0]).connect(target)


def build_stock(network: Network, source: Any) -> dict[str, Any]:
    """Processes of the chain, connected to the port ``source`` that sends the raster.

    Gives the output port of each visible layer. Raises ``InputError`` listing every layer that has
    no stock process.
    """
    plan = plan_stock(network)
    if plan.problems:
        raise InputError(
            "this chain cannot be made of stock Lava processes:", plan.problems,
            "Run it with --backend lava or emulator.",
        )  # fmt: skip
    ports: dict[str, Any] = {network.layers[0].name: source}
    for layer in network.layers:
        if layer.name in plan.synapses:
            synapse = plan.synapses[layer.name]
            process = _synapse(network, synapse)
            connect(ports[synapse.source], process.s_in)
            ports[synapse.result] = process.a_out
        elif layer.name in plan.neurons:
            process = _neurons(layer, _shape_of(network, layer))
            connect(ports[layer.inputs[0]], process.a_in)
            ports[layer.name] = process.s_out
            if isinstance(layer, RecurrentCuba | RecurrentAlif):
                recurrent = StockDense(**_exact_weights(layer.weight), num_message_bits=0)
                connect(process.s_out, recurrent.s_in)
                connect(recurrent.a_out, process.a_in)
    return {name: port for name, port in ports.items() if name != network.layers[0].name}


def _exact_weights(weight: Array) -> dict[str, Any]:
    """Stock ``Dense`` rounds mixed-sign weights to even ones: odd ones are doubled, sums halved."""
    wide = weight.astype(np.int64)
    if wide.min() < 0 < wide.max() and (wide % 2).any():
        return {"weights": 2 * wide, "weight_exp": -1}
    return {"weights": wide, "weight_exp": 0}


def _synapse(network: Network, synapse: Synapse) -> Any:
    prepare_convolutions()
    layer = synapse.layer
    bits = 0 if network[synapse.source].output.payload == "binary" else MESSAGE_BITS
    if isinstance(layer, NetxConvolution):
        inputs, height, width, outputs = (int(v) for v in layer.geometry[:4])
        kernel = layer.geometry[6:8]
        weight = layer.weight.reshape(outputs, -1, *kernel)[:, :, ::-1, ::-1]
        stride, padding, dilation = (
            tuple(int(v) for v in layer.geometry[i : i + 2][::-1]) for i in (8, 10, 12)
        )
        return StockConv(
            weight=weight.transpose(0, 3, 2, 1).astype(np.int64),
            input_shape=(width, height, inputs), stride=stride, padding=padding,
            dilation=dilation, groups=int(layer.geometry[14]), num_message_bits=bits,
        )  # fmt: skip
    delays = synapse.before[None, :] + synapse.after[:, None]
    if delays.any():
        return DelayDense(**_exact_weights(layer.weight), delays=delays, num_message_bits=bits)
    return StockDense(**_exact_weights(layer.weight), num_message_bits=bits)


def _shaped(values: Array, shape: Shape) -> Array:
    """A vector in (C, H, W) order in the process's shape."""
    return values if len(shape) == 1 else values.reshape(shape[::-1]).transpose(2, 1, 0)


def _neurons(layer: Layer, shape: Shape) -> Any:
    if isinstance(layer, Alif):
        one = 1 << DECAY_BITS
        return ATRLIF(
            shape=shape,
            # stock adds 1/4096 to the current's decay; the others are as they are
            delta_i=(layer.current_decay - 1) / one, delta_v=layer.voltage_decay / one,
            delta_theta=layer.threshold_decay / one, delta_r=layer.refractory_decay / one,
            theta_0=layer.threshold, theta=layer.threshold, theta_step=layer.threshold_step,
        )  # fmt: skip
    if isinstance(layer, Cuba):
        return LIF(
            shape=shape, vth=layer.threshold, du=layer.current_decay - 1, dv=layer.voltage_decay,
            bias_mant=_shaped(layer.bias, shape), bias_exp=BIAS_BITS,
        )  # fmt: skip
    if isinstance(layer, Sigma):
        return StockSigma(shape=shape)
    exponents = {"spike_exp": layer.spike_bits, "state_exp": SPIKE_STATE_BITS}  # type: ignore[attr-defined]
    if isinstance(layer, Delta):
        return StockDelta(shape=shape, vth=layer.threshold, **exponents)
    assert isinstance(layer, SigmaDelta)
    bias = _shaped(layer.bias.astype(np.int64), shape)
    return StockSigmaDelta(shape=shape, vth=layer.threshold, bias=bias, **exponents)
