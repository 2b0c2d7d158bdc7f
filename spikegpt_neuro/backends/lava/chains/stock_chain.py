"""A chain as a graph of stock Lava processes: what a chip runs without any neuron program.

``stock_plan`` says which layer becomes which process. Stock synapses deliver one time step late,
which is the delay a chain read with stock timing has in front of each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
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
from lava.utils.weightutils import clip_weights, determine_sign_mode, truncate_weights

from spikegpt_neuro.arithmetic.formats import ALIGNMENT_BITS, DECAY_BITS, SPIKE_STATE_BITS
from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_convolutions
from spikegpt_neuro.decomposition.stock_plan import Shape, StockPlan, Synapse, plan_stock, shape_of
from spikegpt_neuro.errors import IncompleteKind, InputError
from spikegpt_neuro.network import Network, Port
from spikegpt_neuro.network.layers import VariedCuba
from spikegpt_neuro.network.schema import Array, Layer
from spikegpt_neuro.network.slayer_layers import (
    Alif,
    Cuba,
    Delta,
    NetxConvolution,
    Recurrent,
    Sigma,
    SigmaDelta,
)

MESSAGE_BITS, WIDE_MESSAGE_BITS = 24, 32
"""Graded spikes of stock processes, and the widest they take."""
MakeNeurons = Callable[[Layer, Shape, int], Any]
"""The process of a layer of neurons, of its shape and depth."""


def message_bits(port: Port) -> int:
    """Width of the spikes told to stock processes; 0 means binary."""
    if port.payload == "binary":
        return 0
    return MESSAGE_BITS if port.bits <= MESSAGE_BITS else WIDE_MESSAGE_BITS


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
            "this chain cannot be made of stock Lava processes:",
            plan.problems,
            "Run it with --backend lava or emulator.",
        )
    return connect_stock(network, plan, source, lambda layer, shape, _: neurons(layer, shape))


def connect_stock(
    network: Network, plan: StockPlan, source: Any, make_neurons: MakeNeurons
) -> dict[str, Any]:
    """Make the planned processes, connect them, and give the output ports of visible layers."""
    ports: dict[str, Any] = {network.layers[0].name: source}
    for layer in network.layers:
        if layer.name in plan.synapses:
            synapse = plan.synapses[layer.name]
            process = _synapse(network, synapse)
            connect(ports[synapse.source], process.s_in)
            ports[synapse.result] = process.a_out
        elif layer.name in plan.neurons:
            process = make_neurons(layer, shape_of(network, layer), plan.depths[layer.name])
            connect(ports[layer.inputs[0]], process.a_in)
            ports[layer.name] = process.s_out
            if isinstance(layer, Recurrent):
                recurrent = StockDense(**held_weights(layer), num_message_bits=0)
                connect(process.s_out, recurrent.s_in)
                connect(recurrent.a_out, process.a_in)
    return {name: port for name, port in ports.items() if name != network.layers[0].name}


def held_weights(layer: Any) -> dict[str, Any]:
    """``weights`` and ``weight_exp`` with which stock precision rules change nothing.

    Mixed-sign weights keep their even values only; odd ones are passed doubled with exponent -1.
    Raises ``InputError`` where neither holds the weights.
    """
    weight = layer.weight.astype(np.int64)
    for exponent in (0, -1):
        passed = weight << -exponent
        mode = determine_sign_mode(passed)
        kept = truncate_weights(clip_weights(passed.copy(), mode, num_bits=8), mode, 8)
        if np.array_equal(kept, passed):
            return {"weights": passed, "weight_exp": exponent}
    raise InputError(
        f"{layer.name}: weights {weight.min()}..{weight.max()} do not fit 8 bits of stock synapses "
        "(mixed sign: even numbers of -256..254, or any of -127..127)."
    )


def _synapse(network: Network, synapse: Synapse) -> Any:
    prepare_convolutions()
    layer = synapse.layer
    bits = message_bits(network[synapse.source].output)
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
        return DelayDense(**held_weights(layer), delays=delays, num_message_bits=bits)
    return StockDense(**held_weights(layer), num_message_bits=bits)


def _shaped(values: Array, shape: Shape) -> Array:
    """A vector in (C, H, W) order in the process's shape."""
    return values if len(shape) == 1 else values.reshape(shape[::-1]).transpose(2, 1, 0)


def lif_parameters(layer: Cuba | VariedCuba, shape: Shape) -> dict[str, Any]:
    """Parameters of stock ``LIF``, and of ``LIFReset``; decays are numbers or arrays."""
    current, voltage = (
        _shaped(decay, shape) if isinstance(decay, np.ndarray) else decay
        for decay in (layer.current_decay, layer.voltage_decay)
    )
    return {
        "shape": shape, "vth": layer.threshold, "du": current - 1,
        "dv": voltage, "bias_mant": _shaped(layer.bias, shape),
        "bias_exp": ALIGNMENT_BITS,  # biases are in units of the input
    }  # fmt: skip


@singledispatch
def neurons(layer: Layer, shape: Shape) -> Any:
    """The stock process of a layer of neurons. Raises ``IncompleteKind`` for one without."""
    raise IncompleteKind(layer.kind, "the makers of stock neurons", where=layer.name)


@neurons.register(Cuba)
@neurons.register(VariedCuba)
def _lif(layer: Cuba | VariedCuba, shape: Shape) -> Any:
    return LIF(**lif_parameters(layer, shape))


@neurons.register(Alif)
def _atrlif(layer: Alif, shape: Shape) -> Any:
    one = 1 << DECAY_BITS
    return ATRLIF(
        shape=shape,
        # stock adds 1/4096 to the current's decay; the others are as they are
        delta_i=(layer.current_decay - 1) / one, delta_v=layer.voltage_decay / one,
        delta_theta=layer.threshold_decay / one, delta_r=layer.refractory_decay / one,
        theta_0=layer.threshold, theta=layer.threshold, theta_step=layer.threshold_step,
    )  # fmt: skip


@neurons.register(Sigma)
def _sigma(layer: Sigma, shape: Shape) -> Any:
    return StockSigma(shape=shape)


@neurons.register(Delta)
def _delta(layer: Delta, shape: Shape) -> Any:
    return StockDelta(
        shape=shape, vth=layer.threshold, spike_exp=layer.spike_bits, state_exp=SPIKE_STATE_BITS
    )


@neurons.register(SigmaDelta)
def _sigma_delta(layer: SigmaDelta, shape: Shape) -> Any:
    bias = _shaped(layer.bias.astype(np.int64), shape)
    return StockSigmaDelta(
        shape=shape, vth=layer.threshold, bias=bias, spike_exp=layer.spike_bits,
        state_exp=SPIKE_STATE_BITS,
    )  # fmt: skip
