"""Write a network as a NIR graph: what NIR has a node for, and marked subgraphs for the rest.

``Linear``/``Affine``, ``IF``, ``LIF``, ``CubaLIF``, ``I``, ``Conv2d``, ``Delay``, ``Input`` and
``Output`` carry their integers as they are, decays as time constants of ``TIME_STEP * 4096 /
decay``. A bias is held with the weights, or, where it cannot be, as the voltage neurons leak to:
``v_leak = bias * 4096 / voltage_decay``. A chain's sum of two layers is two edges. WKV, gates,
norms and every other neuron NIR has no node for become a subgraph whose metadata holds the layer's
whole definition and whose input and output are not connected; a reader that does not know the mark
sees a graph it cannot run, not a wrong one. Memoryless LIF neurons are subgraphs of ``LIF`` nodes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
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
    node_name,
)
from spikegpt_neuro.exchange.nir_levels import has_levels, level_nodes
from spikegpt_neuro.network import TOKEN, Chain, Network
from spikegpt_neuro.network.atomic import replaced_file
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
from spikegpt_neuro.network.registry import KindRegistry
from spikegpt_neuro.network.schema import Array, Layer
from spikegpt_neuro.network.slayer_layers import (
    Alif,
    ChannelDelay,
    Cuba,
    Delta,
    LeakyIntegrator,
    NetxConvolution,
    NetxDense,
    RasterInput,
    Recurrent,
    RecurrentAlif,
    RecurrentCuba,
    Sigma,
    SigmaDelta,
)

Form = Callable[[Any, Network, Any], Any]
NIR_FORMS: KindRegistry[Form] = KindRegistry("NIR")
"""``form(nir, network, layer)``: the NIR node of a layer of every kind."""
NIR_FORMS.refuse(Delta, SigmaDelta, Alif, RecurrentAlif, why="NIR has no such neuron")


def export_nir(network: Network, path: Path) -> dict[str, int]:
    """Write ``network`` to ``path``; how many nodes of each NIR type were written.

    Raises ``InputError`` listing the layers NIR cannot hold: sigma-delta and adaptive neurons,
    neurons that do not leak though their current decays, or that are biased behind a delay.
    Nothing is left out.
    """
    nir = import_package()
    problems: list[str] = []
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    for layer in network.layers:
        name = node_name(layer.name)
        problems += _problems(network, layer)
        if not problems and not _is_sum(network, layer):
            nodes[name] = NIR_FORMS(layer)(nir, network, layer)
            edges += [(node_name(s), name) for s in _senders(network, layer) if s != TOKEN]
            if isinstance(layer, Recurrent):
                nodes[f"{name}__recurrent"] = nir.Linear(weight=np.asarray(layer.weight))
                edges += [(name, f"{name}__recurrent"), (f"{name}__recurrent", name)]
    if problems:
        raise InputError("NIR cannot hold this network:", problems)
    last = network.layers[-1]
    nodes["output"] = nir.Output({"output": np.array([last.output.size])})
    ends = _senders(network, last) if _is_sum(network, last) else [last.name]
    edges += [(node_name(name), "output") for name in ends]
    description = {
        **dataclasses.asdict(network.info),
        "layout": network.info.layout,
        "vocabulary": network.vocabulary,
        "order": [layer.name for layer in network.layers],
    }
    graph = nir.NIRGraph(
        nodes, edges, metadata={KEY: json.dumps(description, default=dict)}, type_check=False
    )
    with replaced_file(Path(path)) as stream:
        nir.write(stream, graph)
    counts: dict[str, int] = {}
    for node in nodes.values():
        counts[type(node).__name__] = counts.get(type(node).__name__, 0) + 1
    return counts


def _problems(network: Network, layer: Layer) -> list[str]:
    if NIR_FORMS.refusal(layer):
        return [f"{layer.name}: NIR has no {layer.kind} neuron"]
    if isinstance(layer, LeakyIntegrator):
        decays = (layer.current_decay, layer.voltage_decay)
        return [f"{layer.name}: a decay of 0, an infinite time constant"] if 0 in decays else []
    if isinstance(layer, VariedCuba):
        held = all(decay.all() for decay in (layer.current_decay, layer.voltage_decay))
        return [] if held else [f"{layer.name}: a decay of 0 among others, which no node holds"]
    if not isinstance(layer, Cuba):
        return []
    found = []
    still = layer.voltage_decay == 0
    held = not layer.bias.any() or _is_bias_with_weights(network, layer)
    if still and layer.current_decay == UNIT and not held:
        found.append(
            f"{layer.name}: a bias behind {network[layer.inputs[0]].kind} {layer.inputs[0]}; NIR "
            "holds a bias of neurons without leak with the weights, where the neurons must read "
            "them directly and alone"
        )
    if still and layer.current_decay != UNIT:
        found.append(f"{layer.name}: no leak of the voltage beside a decaying current")
    if layer.current_decay == 0:
        found.append(f"{layer.name}: current decay 0, an infinite time constant")
    return found


def _is_sum(network: Network, layer: Layer) -> bool:
    """Whether a layer only adds two others, which NIR does where edges meet."""
    return (
        isinstance(network, Chain)
        and isinstance(layer, Residual)
        and bool((layer.multiplier == 1).all())
        and not layer.shift.any()
        and layer.inputs[0] != layer.inputs[1]
    )


def _senders(network: Network, layer: Layer) -> list[str]:
    """The layers whose nodes have an edge to ``layer``."""
    found: list[str] = []
    for source in layer.inputs:
        within = source != TOKEN and _is_sum(network, network[source])
        found += _senders(network, network[source]) if within else [source]
    return found


def _is_bias_with_weights(network: Network, layer: Cuba) -> bool:
    """Whether a bias of neurons can be held by the synapses that they, and only they, read."""
    source = network[layer.inputs[0]]
    if source.role != "synapse" or layer.current_decay != UNIT:
        return False
    if isinstance(source, NetxConvolution):
        rows = layer.bias.reshape(int(source.geometry[3]), -1)
        if (rows != rows[:, :1]).any():
            return False  # NIR holds one bias a channel
    return sum(source.name in other.inputs for other in network.layers) == 1


def _definition(layer: Layer, *, arrays: bool) -> dict[str, Any]:
    """Metadata from which the layer can be made again; large arrays stay arrays."""
    text = {
        "kind": layer.kind,
        "name": layer.name,
        "inputs": list(layer.inputs),
        "output": dataclasses.asdict(layer.output),
        "scalars": {name: getattr(layer, name) for name in layer.scalar_ranges()},
    }
    values: dict[str, Any] = {KEY: json.dumps(text)}
    if arrays:
        for name in layer.array_specs():
            values[ARRAY + name] = np.ascontiguousarray(getattr(layer, name))
    return values


def _bias_of_reader(network: Network, layer: Layer) -> Array | None:
    """Bias of the neurons that read ``layer``, where NIR holds it with the weights."""
    for reader in network.layers:
        if layer.name in reader.inputs and isinstance(reader, Cuba) and reader.bias.any():
            return reader.bias if _is_bias_with_weights(network, reader) else None
    return None


@NIR_FORMS.register(RasterInput, BinaryEmbedding, RealEmbedding)
def _input(nir: Any, network: Network, layer: Layer) -> Any:
    size = np.array([layer.output.size])
    return nir.Input({"input": size}, metadata=_definition(layer, arrays=True))


@NIR_FORMS.register(Dense, NetxDense)
def _linear(nir: Any, network: Network, layer: Dense | NetxDense) -> Any:
    definition = _definition(layer, arrays=False)
    bias = _bias_of_reader(network, layer)
    weight = np.asarray(layer.weight)
    if bias is not None:
        return nir.Affine(weight=weight, bias=bias, metadata=definition)
    return nir.Linear(weight=weight, metadata=definition)


@NIR_FORMS.register(NetxConvolution)
def _convolution(nir: Any, network: Network, layer: NetxConvolution) -> Any:
    _, height, width, outputs, *_rest = map(int, layer.geometry)
    bias = _bias_of_reader(network, layer)
    channel = np.zeros(outputs, np.int32)
    if bias is not None:
        channel = bias.reshape(outputs, -1)[:, 0].copy()
    kernel, stride, padding, dilation = (
        tuple(int(v) for v in layer.geometry[i : i + 2]) for i in (6, 8, 10, 12)
    )
    groups = int(layer.geometry[14])
    weight = layer.weight.reshape(outputs, -1, *kernel)
    return nir.Conv2d(
        (height, width), weight, stride, padding, dilation, groups, channel,
        metadata=_definition(layer, arrays=False),
    )  # fmt: skip


@NIR_FORMS.register(ChannelDelay)
def _channel_delay(nir: Any, network: Network, layer: ChannelDelay) -> Any:
    return nir.Delay(layer.delay * TIME_STEP)


@NIR_FORMS.register(Delay)
def _delay(nir: Any, network: Network, layer: Delay) -> Any:
    return nir.Delay(np.full(layer.output.size, TIME_STEP))


@NIR_FORMS.register(
    LayerNorm, TokenShift, Requantise, Readout, Sigmoid, SquaredRelu, Wkv, Product, Residual
)
def marked_subgraph(nir: Any, network: Network, layer: Layer) -> Any:
    """The layer's whole definition in metadata; NIR has no node for it."""
    return _subgraph(nir, layer, {})


@NIR_FORMS.register(Lif)
def _lif(nir: Any, network: Network, layer: Lif) -> Any:
    return _subgraph(nir, layer, level_nodes(nir, layer) if has_levels(layer) else {})


def _subgraph(nir: Any, layer: Layer, levels: dict[str, Any]) -> Any:
    size = np.array([layer.output.size])
    nodes = {"input": nir.Input({"input": size}), "output": nir.Output({"output": size}), **levels}
    edges = [edge for name in levels for edge in (("input", name), (name, "output"))]
    # no way from input to output: a tool that ignores the mark gets nothing, not something wrong
    return nir.NIRGraph(nodes, edges, metadata=_definition(layer, arrays=True), type_check=False)


@NIR_FORMS.register(LeakyIntegrator)
def _leaky_integrator(nir: Any, network: Network, layer: LeakyIntegrator) -> Any:
    """``LI`` or ``CubaLI``; NIR's voltage is ours in units of the weights, an integer / 64."""
    n = layer.output.size
    membrane = np.full(n, TIME_STEP * UNIT / layer.voltage_decay)
    values = {
        "r": membrane / TIME_STEP,
        "v_leak": layer.bias * (UNIT / layer.voltage_decay),
        "metadata": _definition(layer, arrays=False),
    }
    if layer.current_decay == UNIT:
        return nir.LI(tau=membrane, **values)
    synapse = np.full(n, TIME_STEP * UNIT / layer.current_decay)
    return nir.CubaLI(tau_syn=synapse, tau_mem=membrane, w_in=synapse / TIME_STEP, **values)


@NIR_FORMS.register(Sigma)
def _integrator(nir: Any, network: Network, layer: Sigma) -> Any:
    return nir.I(np.ones(layer.output.size), metadata=_definition(layer, arrays=False))


@NIR_FORMS.register(VariedCuba, RecurrentVariedCuba)
def _varied_neuron(nir: Any, network: Network, layer: VariedCuba) -> Any:
    n = layer.output.size
    membrane = TIME_STEP * UNIT / layer.voltage_decay
    values = {
        "v_reset": np.zeros(n), "v_threshold": np.full(n, float(layer.threshold)),
        "v_leak": layer.bias * (UNIT / layer.voltage_decay), "r": membrane / TIME_STEP,
        "metadata": _definition(layer, arrays=False),
    }  # fmt: skip
    if (layer.current_decay == UNIT).all():
        return nir.LIF(tau=membrane, **values)
    synapse = TIME_STEP * UNIT / layer.current_decay
    return nir.CubaLIF(tau_syn=synapse, tau_mem=membrane, w_in=synapse / TIME_STEP, **values)


NIR_FORMS.add(VariedLif, entry=marked_subgraph)


@NIR_FORMS.register(Cuba, RecurrentCuba)
def _neuron(nir: Any, network: Network, layer: Cuba) -> Any:
    n = layer.output.size
    values = {
        "v_reset": np.zeros(n),
        "v_threshold": np.full(n, float(layer.threshold)),
        "metadata": _definition(layer, arrays=False),
    }
    if layer.voltage_decay == 0:
        return nir.IF(r=np.ones(n), **values)
    membrane = np.full(n, TIME_STEP * UNIT / layer.voltage_decay)
    values |= {"r": membrane / TIME_STEP, "v_leak": np.zeros(n)}
    if not _is_bias_with_weights(network, layer):
        values["v_leak"] = layer.bias * (UNIT / layer.voltage_decay)
    if layer.current_decay == UNIT:
        return nir.LIF(tau=membrane, **values)
    synapse = np.full(n, TIME_STEP * UNIT / layer.current_decay)
    return nir.CubaLIF(tau_syn=synapse, tau_mem=membrane, w_in=synapse / TIME_STEP, **values)
