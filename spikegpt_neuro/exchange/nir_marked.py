"""Nodes of our own exports that only our metadata explains: layers NIR has no node for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange.nir_format import ARRAY, KEY
from spikegpt_neuro.exchange.nir_graph import Node
from spikegpt_neuro.exchange.nir_levels import has_levels, level_limits
from spikegpt_neuro.network import LAYER_KINDS, Port
from spikegpt_neuro.network.layers import Delay, Dense, Lif
from spikegpt_neuro.network.schema import Array, ArraySpec, Layer


def described(metadata: Any) -> dict[str, Any]:
    """Our JSON in a node's or a graph's metadata; empty if there is none.

    Raises ``InputError`` for metadata under our key that is no JSON object.
    """
    value = metadata.get(KEY) if isinstance(metadata, Mapping) else None
    if value is None:
        return {}
    try:
        found = json.loads(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError("", [f"metadata {KEY}: is no JSON: {error}"]) from error
    if not isinstance(found, dict):
        raise InputError("", [f"metadata {KEY}: is no JSON object"])
    return found


def own_port(name: str, node: Node) -> Port | None:
    """The port our metadata gives the layer of a node; None where it has none.

    Raises ``InputError`` for one that is no port.
    """
    text = described(node.metadata)
    if not text:
        return None
    try:
        return Port(**text["output"])
    except (KeyError, TypeError) as error:
        raise InputError("", [f"{name}: its metadata describes no output: {error}"]) from error


def is_marked(node: Node) -> bool:
    """Whether the layer is in our metadata, not in the node: a subgraph, an input, a projection."""
    text = described(node.metadata)
    if node.kind in ("NIRGraph", "Input"):
        return bool(text)
    return node.kind == "Linear" and text.get("kind") == "dense"


def marked_layer(node: Node, inputs: tuple[str, ...]) -> Layer:
    """The layer of a marked node. Raises ``InputError`` for metadata that does not describe one."""
    text = described(node.metadata)
    try:
        name, port = str(text["name"]), Port(**text["output"])
        kind = LAYER_KINDS.get(text["kind"])
        if kind is None:
            raise InputError("", [f"{name}: unknown kind {text['kind']!r}"])
        if node.kind == "Linear":
            return _dense(node, name, inputs, port, text["scalars"])
        arrays = {
            field: _held(f"{name}/{field}", node.metadata[ARRAY + field], spec)
            for field, spec in kind.array_specs().items()
        }
        layer = kind(name, tuple(text["inputs"]), port, **arrays, **text["scalars"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            "", [f"{text.get('name', 'a marked node')}: its metadata is incomplete: {error}"]
        ) from error
    if isinstance(layer, Lif) and has_levels(layer):
        _check_levels(node, layer)
    return layer


def _held(where: str, values: Any, spec: ArraySpec) -> Array:
    """An array of our metadata in the layer's type, which it has to fit."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or (array != np.round(array)).any():
        raise InputError("", [f"{where}: must be whole numbers"])
    if array.size and (array.min() < spec.low or array.max() > spec.high):
        raise InputError(
            "",
            [f"{where}: values {array.min()}..{array.max()}, allowed {spec.low}..{spec.high}"],
        )
    return np.ascontiguousarray(array, spec.dtype)


def token_delay(own: str, node: Node, source: Layer, time_step: float) -> Delay:
    """The delay of a language model, always of one token."""
    if (np.abs(node.array("delay") / time_step - 1) > 1e-6).any():
        raise InputError("", [f"{own}: delays of a language model are of one token"])
    return Delay(own, (source.name,), source.output)


def _dense(
    node: Node, name: str, inputs: tuple[str, ...], port: Port, scalars: Mapping[str, int]
) -> Dense:
    """A projection with the weights of the node."""
    weight = node.array("weight")
    spec = Dense.array_specs()["weight"]
    if (weight != np.round(weight)).any():
        raise InputError("", [f"{name}/weight: must be whole numbers"])
    if weight.min() < spec.low or weight.max() > spec.high:
        raise InputError(
            "",
            [
                f"{name}/weight: values {weight.min():.0f}..{weight.max():.0f}, "
                f"allowed {spec.low}..{spec.high}"
            ],
        )
    return Dense(name, inputs, port, weight.astype(np.int8), scalars["accumulator_bits"])


def _check_levels(node: Node, layer: Lif) -> None:
    """Neurons that stand in the graph twice, as LIF nodes and in metadata, must agree."""
    sign, limits = level_limits(layer)
    expected = {f"level_{level}": limit for level, limit in enumerate(limits, start=1)}
    found = {name for name in node.children if name not in ("input", "output")}
    if found != set(expected) or any(
        not np.array_equal(node.children[name].array("v_threshold"), limit)
        or not np.array_equal(node.children[name].array("r"), sign)
        for name, limit in expected.items()
    ):
        raise InputError(
            "",
            [
                f"{layer.name}: its LIF nodes are not those its metadata describes; edit both, or "
                "neither"
            ],
        )
