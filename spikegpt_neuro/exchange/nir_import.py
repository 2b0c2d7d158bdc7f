"""Read a NIR graph as a network: our own exports exactly, and other tools' chains of LIF neurons.

A node's numbers always come from the node, never from our metadata, so an edited graph is read as
edited; metadata only says what NIR cannot (widths, and the layers in marked subgraphs).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange.nir_format import (
    ARRAY,
    KEY,
    TIME_STEP,
    UNIT,
    import_package,
    layer_name,
    node_name,
)
from spikegpt_neuro.exchange.nir_levels import has_levels, level_limits
from spikegpt_neuro.network import (
    LAYER_KINDS,
    Chain,
    ChainInfo,
    LanguageModel,
    Network,
    Port,
    make_network,
)
from spikegpt_neuro.network.layers import Delay, Dense, Lif
from spikegpt_neuro.network.network import info_type
from spikegpt_neuro.network.schema import Array, Layer
from spikegpt_neuro.network.slayer_layers import (
    ChannelDelay,
    Cuba,
    NetxConvolution,
    NetxDense,
    RasterInput,
    RecurrentCuba,
)
from spikegpt_neuro.readers.guard import parsing


def _spikes(size: int) -> Port:
    return Port(size, "binary", 1, False, 1.0)


def import_nir(path: Path) -> Network:
    """The network in ``path``. Raises ``InputError`` listing every node that cannot be held."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file.")
    nir = import_package()
    with parsing(path, "a NIR graph"):
        return _Reader(nir.read(path, type_check=False), path).network()


def _text(metadata: Any) -> dict[str, Any]:
    """Our JSON in a node's or a graph's metadata; empty if there is none."""
    value = metadata.get(KEY) if isinstance(metadata, dict) else None
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    return json.loads(value) if isinstance(value, str) else {}


class _Reader:
    """Turns nodes into layers in the order of the edges."""

    def __init__(self, graph: Any, path: Path) -> None:
        self._graph, self._path = graph, path
        self._problems: list[str] = []
        self._layers: dict[str, Layer] = {}
        self._sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for source, target in graph.edges:
            self._sources[target].append(source)

    def network(self) -> LanguageModel | Chain:
        recurrent = self._take_recurrence()
        outputs = [n for n, node in self._graph.nodes.items() if type(node).__name__ == "Output"]
        for name in self._order():
            node = self._graph.nodes[name]
            if name not in outputs:
                try:
                    self._read(name, node, recurrent.get(name))
                except InputError as error:
                    self._problems += [str(error)]
        if len(outputs) != 1:
            self._problems.append(f"{len(outputs)} outputs; a network has one")
        if self._problems:
            raise InputError(f"{self._path} cannot be held:", self._problems)
        described = _text(self._graph.metadata)
        names = described.pop("order", [])
        if set(names) != set(self._layers):
            names = list(self._layers)
        layers = tuple(self._layers[name] for name in names)
        vocabulary = described.pop("vocabulary", "")
        if not described:
            return Chain(ChainInfo({"format": "nir", "file": self._path.name}), layers)
        kind = info_type(described["layout"])
        wanted = {part.name for part in dataclasses.fields(kind)}
        facts = {key: value for key, value in described.items() if key in wanted}
        return make_network(kind(**facts), layers, vocabulary)

    def _take_recurrence(self) -> dict[str, Array]:
        """Weights of neurons that hear each other: a Linear node in a loop with them."""
        found: dict[str, Array] = {}
        for name, node in list(self._graph.nodes.items()):
            if type(node).__name__ != "Linear" or len(self._sources[name]) != 1:
                continue
            neuron = self._sources[name][0]
            targets = [target for source, target in self._graph.edges if source == name]
            if targets == [neuron]:
                found[neuron] = self._integers(name, "weight", node.weight)
                self._sources[neuron].remove(name)
                del self._sources[name]
        return found

    def _order(self) -> list[str]:
        """Nodes so that each follows those it reads; keeps the file's order of layers."""
        order: list[str] = []
        waiting = dict(self._sources)
        names = list(waiting)
        while waiting:
            ready = [n for n in names if n in waiting and set(waiting[n]) <= set(order)]
            if not ready:
                self._problems.append(f"a loop through {', '.join(sorted(waiting))}")
                break
            for name in ready:
                order.append(name)
                del waiting[name]
        return order

    def _integers(self, name: str, what: str, values: Any) -> Array:
        array = np.asarray(values)
        if not np.isfinite(array).all() or (array != np.round(array)).any():
            raise InputError(f"{name}/{what}: must be whole numbers; quantise the weights first.")
        return array.astype(np.int64)

    def _uniform(self, name: str, what: str, values: Any) -> float:
        array = np.unique(np.asarray(values, np.float64))
        if array.size != 1:
            raise InputError(f"{name}/{what}: differs from neuron to neuron.")
        return float(array[0])

    def _decay(self, name: str, what: str, tau: Any) -> int:
        exact = UNIT * TIME_STEP / self._uniform(name, what, tau)
        decay = round(exact)
        # float64 time constants give the decay back to 1e-9; anything else is another time step
        if not 1 <= decay <= UNIT or abs(exact - decay) > 1e-6 * UNIT:
            raise InputError(
                f"{name}/{what}: a decay of {exact / UNIT:.6g} a step of {TIME_STEP} s is not a "
                "multiple of 1/4096 in 1/4096..1."
            )
        return decay

    def _read(self, name: str, node: Any, recurrent: Array | None) -> None:
        text = _text(getattr(node, "metadata", {}))
        kind = type(node).__name__
        own = layer_name(name)
        inputs = tuple(layer_name(s) for s in self._sources[name])
        source = self._layers.get(inputs[0]) if inputs else None
        if kind in ("NIRGraph", "Input") and text:
            self._layers[own] = self._marked(node, text)
        elif kind == "Input":
            size = int(np.prod(next(iter(node.input_type.values()))))
            self._layers[own] = RasterInput(own, (), _spikes(size))
        elif len(inputs) != 1 or source is None:
            raise InputError(f"{name}: {len(inputs)} inputs; only one can be held.")
        elif kind in ("Linear", "Affine"):
            self._layers[own] = self._synapse(own, inputs, node, text)
        elif kind == "Conv2d":
            self._layers[own] = self._convolution(own, inputs, node, source)
        elif kind == "Delay":
            self._layers[own] = self._delay(own, inputs, node, source)
        elif kind in ("LIF", "CubaLIF"):
            self._layers[own] = self._neuron(own, inputs, node, recurrent, source)
        else:
            raise InputError(f"{name}: a {kind} cannot be held.")

    def _marked(self, node: Any, text: dict[str, Any]) -> Layer:
        kind = LAYER_KINDS.get(text["kind"])
        if kind is None:
            raise InputError(f"{text['name']}: unknown kind {text['kind']!r}.")
        arrays = {
            name: np.asarray(node.metadata[ARRAY + name], spec.dtype)
            for name, spec in kind.array_specs().items()
        }
        port = Port(**text["output"])
        layer = kind(text["name"], tuple(text["inputs"]), port, **arrays, **text["scalars"])
        if isinstance(layer, Lif) and has_levels(layer):
            self._check_levels(node, layer)
        return layer

    def _check_levels(self, node: Any, layer: Lif) -> None:
        """Neurons that stand in the graph twice, as LIF nodes and in metadata, must agree."""
        sign, limits = level_limits(layer)
        expected = {f"level_{level}": limit for level, limit in enumerate(limits, start=1)}
        found = {name for name in node.nodes if name not in ("input", "output")}
        if found != set(expected) or any(
            not np.array_equal(node.nodes[name].v_threshold, limit)
            or not np.array_equal(node.nodes[name].r, sign)
            for name, limit in expected.items()
        ):
            raise InputError(
                f"{layer.name}: its LIF nodes are not those its metadata describes; edit both, or "
                "neither."
            )

    def _synapse(self, own: str, inputs: tuple[str, ...], node: Any, text: dict[str, Any]) -> Layer:
        weight = self._integers(own, "weight", node.weight)
        if text.get("kind") == "dense":
            narrow = weight.astype(np.int8)
            port = Port(**text["output"])
            scalars = {key: text["scalars"][key] for key in Dense.scalar_ranges()}
            return Dense(own, inputs, port, narrow, **scalars)
        port = Port(weight.shape[0], "accumulator", 32, True, 1.0)
        if np.abs(weight).max(initial=0) > 256:
            raise InputError(f"{own}: weights beyond 9 bits signed.")
        return NetxDense(own, inputs, port, weight.astype(np.int16))

    def _convolution(
        self, own: str, inputs: tuple[str, ...], node: Any, source: Layer
    ) -> NetxConvolution:
        weight = self._integers(own, "weight", node.weight)
        pairs = [np.broadcast_to(v, 2) for v in (node.stride, node.padding, node.dilation)]
        (stride, padding, dilation), groups = pairs, int(node.groups)
        size = np.asarray(node.input_shape)
        kernel = np.array(weight.shape[2:])
        out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        channels = weight.shape[1] * groups
        geometry = np.array(
            [channels, *size, weight.shape[0], *out, *kernel, *stride, *padding, *dilation, groups],
            np.int32,
        )
        port = Port(int(weight.shape[0] * np.prod(out)), "accumulator", 24, True, 1.0)
        flat = np.ascontiguousarray(weight.reshape(-1), np.int16)
        return NetxConvolution(own, inputs, port, flat, geometry)

    @property
    def _is_chain(self) -> bool:
        """Whether what was read so far takes a raster, not tokens."""
        return any(isinstance(layer, RasterInput) for layer in self._layers.values())

    def _delay(self, own: str, inputs: tuple[str, ...], node: Any, source: Layer) -> Layer:
        exact = np.asarray(node.delay, np.float64) / TIME_STEP
        steps = np.round(exact).astype(np.int32)
        if (np.abs(exact - steps) > 1e-6).any() or (steps < 0).any():
            raise InputError(f"{own}: delays must be multiples of {TIME_STEP} s.")
        steps = np.broadcast_to(steps, source.output.size).copy()
        if not self._is_chain:
            if (steps != 1).any():
                raise InputError(f"{own}: delays of a language model are of one token.")
            return Delay(own, inputs, source.output)
        return ChannelDelay(own, inputs, source.output, steps, max(1, int(steps.max())))

    def _neuron(
        self, own: str, inputs: tuple[str, ...], node: Any, recurrent: Array | None, source: Layer
    ) -> Cuba:
        is_lif = type(node).__name__ == "LIF"
        tau = node.tau if is_lif else node.tau_mem
        voltage_decay = self._decay(own, "tau", tau)
        current_decay = UNIT if is_lif else self._decay(own, "tau_syn", node.tau_syn)
        gain = np.asarray(node.r) * TIME_STEP / np.asarray(tau)
        if not is_lif:
            gain = gain * np.asarray(node.w_in) * TIME_STEP / np.asarray(node.tau_syn)
        if not np.allclose(gain, 1.0, rtol=1e-9, atol=0.0):  # float64 rounding of tau / dt
            raise InputError(f"{own}: input gain {gain.flat[0]:.6g}; fold it into the weights.")
        if np.any(node.v_leak) or np.any(node.v_reset):
            raise InputError(f"{own}: leaks or resets to another value than 0.")
        threshold = self._uniform(own, "v_threshold", node.v_threshold)
        if threshold != round(threshold):
            raise InputError(f"{own}: threshold {threshold} must be a whole number.")
        size = int(np.asarray(node.v_threshold).size)
        size = source.output.size if size == 1 else size
        text = _text(node.metadata)
        port = Port(**text["output"]) if text else _spikes(size)
        values = (self._bias(source, size), current_decay, voltage_decay, int(threshold))
        if recurrent is not None:
            return RecurrentCuba(own, inputs, port, *values, recurrent.astype(np.int16))
        return Cuba(own, inputs, port, *values)

    def _bias(self, source: Layer, size: int) -> Array:
        """The bias NIR holds with the weights."""
        behind = source
        while behind.kind in ("channel_delay", "delay"):
            behind = self._layers[behind.inputs[0]]
        node = self._graph.nodes[node_name(behind.name)]
        if type(node).__name__ not in ("Affine", "Conv2d") or not np.any(node.bias):
            return np.zeros(size, np.int32)
        if behind is not source:
            raise InputError(f"{behind.name}: a delayed bias cannot be held.")
        bias = self._integers(source.name, "bias", node.bias).astype(np.int32)
        return np.repeat(bias, size // bias.size)
