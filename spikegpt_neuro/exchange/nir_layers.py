"""Integer layers for NIR's nodes: synapses, sums, biases, neurons.

What several edges bring to neurons is added by ``Residual`` layers with a factor of 1. A bias that
belongs to a current that decays (NIR: the bias is part of ``S`` in ``tau_syn di/dt = -i + w_in S``)
is no bias of the voltage, so it comes as weights from neurons that fire in every time step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange.nir_format import UNIT
from spikegpt_neuro.exchange.nir_neurons import FloatArray
from spikegpt_neuro.exchange.nir_synapses import Drive
from spikegpt_neuro.network import Port
from spikegpt_neuro.network.layers import Residual
from spikegpt_neuro.network.schema import Array, Layer
from spikegpt_neuro.network.slayer_layers import (
    LARGEST_WEIGHT,
    LONGEST_DELAY,
    ChannelDelay,
    Cuba,
    NetxConvolution,
    NetxDense,
    RasterInput,
)


def spikes(size: int) -> Port:
    """A port of binary spikes."""
    return Port(size, "binary", 1, False, 1.0)


def accumulator(size: int, bits: int = 32, scale: float = 1.0) -> Port:
    """A port of sums."""
    return Port(size, "accumulator", bits, True, scale)


class LayerBuilder:
    """Layers by name in the order they are computed."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        self.bounds: dict[str, int] = {}
        """Largest |integer| that each layer can send, [n] taken together."""

    def add(self, layer: Layer, bound: int) -> str:
        """Add a layer; its name."""
        self.layers[layer.name] = layer
        self.bounds[layer.name] = bound
        return layer.name

    def free_name(self, wanted: str) -> str:
        """``wanted``, or with a number where a layer has that name already."""
        name, count = wanted, 1
        while name in self.layers:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def place(
        self, drive: Drive, weight: Array, bias: Array | None, time_step: float | None,
        scale: float = 1.0,
    ) -> tuple[str, float]:  # fmt: skip
        """Synapses with integer ``weight``, shaped as the drive's; then a bias and the delays.

        ``time_step``: None where delays have to be whole time steps already. Gives the last
        layer's name, and the largest error of a delay in time steps.
        """
        name, inputs = self.free_name(drive.name), (drive.source.layer,)
        rows = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1)
        bound = int(rows.max()) * self.bounds[drive.source.layer]
        narrow = np.ascontiguousarray(weight, np.int16)
        if drive.geometry is None:
            port = accumulator(drive.size, 32, scale)
            self.add(NetxDense(name, inputs, port, narrow), bound)
        else:
            port = accumulator(drive.size, 24, scale)
            flat, geometry = narrow.reshape(-1), drive.geometry
            self.add(NetxConvolution(name, inputs, port, flat, geometry), bound)
        if bias is not None:
            name = self.sum(name, self.constant(name, bias), f"{drive.name}_sum")
        worst = 0.0
        for node, exact in drive.delays:
            name, error = self.delay(node, name, exact)
            worst = max(worst, error)
        return name, worst

    def delay(self, node: str, source: str, exact: FloatArray) -> tuple[str, float]:
        """Delay ``source`` by ``exact`` time steps, rounded; the layer, and the largest error."""
        port = self.layers[source].output
        if exact.size not in (1, port.size):
            raise InputError("", [f"{node}/delay: {exact.size} delays for {port.size} values"])
        steps = np.broadcast_to(np.round(exact), port.size).astype(np.int64)
        if steps.min() < 0 or steps.max() > LONGEST_DELAY:
            raise InputError(
                "",
                [f"{node}/delay: {steps.min()}..{steps.max()} time steps, 0..{LONGEST_DELAY} fit"],
            )
        name = self.free_name(node)
        depth = max(1, int(steps.max()))
        self.add(
            ChannelDelay(name, (source,), port, steps.astype(np.int32), depth), self.bounds[source]
        )
        return name, float(np.abs(exact - np.round(exact)).max())

    def sum(self, first: str, second: str, name: str) -> str:
        """A layer that adds two."""
        size = self.layers[first].output.size
        one = np.ones(size, np.int32)
        layer = Residual(self.free_name(name), (first, second), accumulator(size, 24), one, one * 0)
        return self.add(layer, self.bounds[first] + self.bounds[second])

    def sums(self, parts: Sequence[str], name: str) -> str:
        """The layer that adds all of ``parts``, or the one there is."""
        total = parts[0]
        for part in parts[1:]:
            total = self.sum(total, part, name)
        return total

    def constant(self, owner: str, values: Array) -> str:
        """Synapses that give ``values`` [n] in every time step, from neurons that always fire."""
        raster = next(n for n, layer in self.layers.items() if isinstance(layer, RasterInput))
        columns = max(1, -(-int(np.abs(values).max()) // LARGEST_WEIGHT))
        left = values.astype(np.int64)
        weight = np.zeros((values.size, columns), np.int16)
        for k in range(columns):
            weight[:, k] = np.clip(left, -LARGEST_WEIGHT, LARGEST_WEIGHT)
            left = left - weight[:, k]
        silent = np.zeros((columns, self.layers[raster].output.size), np.int16)
        prefix = self.free_name(f"{owner}_constant")
        self.add(NetxDense(f"{prefix}_synapse", (raster,), accumulator(columns), silent), 0)
        neurons = Cuba(
            f"{prefix}_neuron", (f"{prefix}_synapse",), spikes(columns),
            np.ones(columns, np.int32), UNIT, UNIT, 0,
        )  # fmt: skip
        self.add(neurons, 1)
        bias = NetxDense(prefix, (neurons.name,), accumulator(values.size), weight)
        return self.add(bias, int(np.abs(values).max()))

    def with_scale(self, name: str, scale: float) -> None:
        """Give a layer's values their real unit, which nothing in the network computes with."""
        layer = self.layers[name]
        self.layers[name] = replace(layer, output=replace(layer.output, scale=scale))


def rounded(values: FloatArray) -> npt.NDArray[np.int64]:
    """Nearest integers, halves to even."""
    return np.round(values).astype(np.int64)
