"""SpikeGPT's SLAYER blocks (``slayer.blocks``) as integer layers of a NetX chain.

Their groups hold stock dense groups and what stock NetX has no place for: ``table`` (embedding),
``shift_*``, ``time_decay``, ``time_first``, and ``scale``, the integer weights of one real unit.
The layers between a block's synapses are made by the same two functions that the torch blocks run
in their forward pass, so that an imported chain repeats a trained one spike for spike.
"""

from __future__ import annotations

import numpy as np

from spikegpt_neuro.converters.builder import Builder, FloatArray, QuantisationSettings
from spikegpt_neuro.converters.netx_schema import GroupReader
from spikegpt_neuro.network.layers import BinaryEmbedding
from spikegpt_neuro.network.network import TOKEN
from spikegpt_neuro.network.schema import Array, Layer, Port
from spikegpt_neuro.network.slayer_layers import NetxDense
from spikegpt_neuro.network.varied_neurons import Decay, current_based

DRIVING_BITS = 24
"""Width of the gated values that drive neurons, in units of a synapse's accumulator."""
_BITS = Port(1, "binary", 1, False, 1.0)


def _spikes(size: int) -> Port:
    return Port(size, _BITS.payload, _BITS.bits, _BITS.signed, _BITS.scale)


def _driving(size: int, scale: int) -> Port:
    return Port(size, "graded", DRIVING_BITS, True, 1.0 / scale)


def mixing(
    path: str, scale: int, value_weight: Array, decay: FloatArray, first: FloatArray
) -> Builder:
    """``sigmoid(r) * wkv(k, v)`` from the accumulators ``path``.key, .value and .receptance.

    ``scale``: accumulator units of 1.0. ``value_weight``: the value synapses' whole numbers [C,
    inputs]; with binary operands their largest row bounds the values, so nothing saturates and no
    text has to calibrate. ``decay`` and ``first``: ``time_decay`` and ``time_first``, float32 [C].
    """
    largest = int(np.abs(value_weight.astype(np.int64)).sum(axis=1).max())
    build = Builder(path, QuantisationSettings(), {f"{path}.value": largest / scale})
    unit = np.full(decay.size, 1.0 / scale)
    names = [build.name(part) for part in ("key", "value", "receptance")]
    averaged, averaged_unit = build.wkv("wkv", names[0], names[1], unit, unit, decay, first)
    gate = build.gate("gate", names[2], unit)
    build.product("product", gate, averaged, averaged_unit, _driving(decay.size, scale))
    return build


def gating(path: str, scale: int, size: int) -> Builder:
    """``sigmoid(r) * value`` from the accumulators ``path``.receptance and ``path``.value."""
    build = Builder(path, QuantisationSettings(), {})
    unit = np.full(size, 1.0 / scale)
    gate = build.gate("gate", build.name("receptance"), unit)
    build.product("product", gate, build.name("value"), unit, _driving(size, scale))
    return build


def embedding_layers(reader: GroupReader) -> list[Layer]:
    """The table of bits; the chain then takes token ids, one a time step."""
    (size,) = reader.shape()
    table = reader.integers("table")
    if table.ndim != 2 or table.shape[1] != size or not np.isin(table, (0, 1)).all():
        reader.problem("table", f"shape {table.shape}, must be bits [tokens, {size}]")
        return []
    bits = np.packbits(table.astype(np.uint8), axis=1)
    return [BinaryEmbedding("embedding.table", (TOKEN,), _spikes(size), table=bits)]


Constants = tuple[tuple[Decay, Decay], int]
"""Decays of current and voltage, and threshold."""


class _Block:
    """One block being read: its group and the layers so far."""

    def __init__(self, reader: GroupReader, source: Layer) -> None:
        self.reader = reader
        self.size = source.output.size
        self.path = f"{reader.text('type')}_{reader.index}"
        self.build = Builder(self.path, QuantisationSettings(), {})
        self.scale = max(1, reader.integer("scale"))
        if reader.shape() != (self.size,) or source.output.bits != 1:
            reader.problem("shape", f"must take and give {self.size} binary spikes")
        self.source = source.name
        self.previous = self.build.delay("previous", source.name, source.output)

    def shifted(self, part: str) -> str:
        """The spikes that enter projection ``part``."""
        key = f"shift_{part[0]}"
        chosen = self.reader.integers(key).reshape(-1)
        if chosen.size != self.size or not np.isin(chosen, (0, 1)).all():
            self.reader.problem(key, f"{chosen.size} values, must be {self.size} of 0 or 1")
            chosen = np.ones(self.size, np.int64)
        return self.build.hard_shift(
            f"shift_{part}", self.source, self.previous, chosen, _spikes(self.size)
        )

    def dense(self, part: str, source: str, inputs: int) -> tuple[Array, Constants]:
        """Synapses ``part``; their weights and the constants of the neurons behind them."""
        group = self.reader.group(part)
        if group.text("type") != "dense":
            group.problem("type", "must be dense")
        outputs = group.integer("outFeatures")
        if group.integer("inFeatures") != inputs or group.shape() != (outputs,):
            group.problem("inFeatures", f"must be {inputs}, and outFeatures as shape says")
        weight = group.weights("weight", (outputs, inputs))
        if weight is None:
            weight = np.zeros((outputs, inputs), np.int64)
        group.check_range(weight)
        neuron = group.group("neuron")
        if neuron.text("type") != "CUBA":
            neuron.problem("type", "must be CUBA")
        constants = neuron.cuba((outputs,))
        neuron.finish()
        group.finish()
        port = Port(outputs, "accumulator", 32, True, 1.0 / self.scale)
        name = self.build.name(part)
        self.build.add(NetxDense(name, (source,), port, weight.astype(np.int16)))
        return weight, constants

    def neurons(self, part: str, source: str, size: int, constants: Constants) -> str:
        """CUBA neurons driven by layer ``source``."""
        bias = np.zeros(size, np.int32)
        name = self.build.name(part)
        return self.build.add(current_based(name, source, _spikes(size), bias, *constants))

    def reals(self, key: str) -> FloatArray:
        """float32 [C]."""
        values = self.reader.reals(key).reshape(-1).astype(np.float32)
        if values.size != self.size:
            self.reader.problem(key, f"{values.size} values, must be {self.size}")
            return np.zeros(self.size, np.float32)
        return values


def srwkv_layers(reader: GroupReader, source: Layer) -> list[Layer]:
    """``Lif(output(Lif(sigmoid(r) * wkv(k, v))))`` of hard-shifted spikes."""
    block = _Block(reader, source)
    weights = {}
    for part in ("key", "value", "receptance"):
        weights[part], constants = block.dense(part, block.shifted(part), block.size)
    decay, first = block.reals("time_decay"), block.reals("time_first")
    mixed = mixing(block.path, block.scale, weights["value"], decay, first).layers
    block.build.layers += mixed
    fired = block.neurons("product_neuron", mixed[-1].name, block.size, constants)
    _, constants = block.dense("output", fired, block.size)
    block.neurons("neuron", block.build.name("output"), block.size, constants)
    return block.build.layers


def srffn_layers(reader: GroupReader, source: Layer) -> list[Layer]:
    """``Lif(sigmoid(r) * value(Lif(key)))`` of hard-shifted spikes."""
    block = _Block(reader, source)
    weight, constants = block.dense("key", block.shifted("key"), block.size)
    hidden = weight.shape[0]
    fired = block.neurons("hidden_neuron", block.build.name("key"), hidden, constants)
    block.dense("receptance", block.shifted("receptance"), block.size)
    _, constants = block.dense("value", fired, hidden)
    gated = gating(block.path, block.scale, block.size).layers
    block.build.layers += gated
    block.neurons("neuron", gated[-1].name, block.size, constants)
    return block.build.layers


BLOCKS = {"srwkv": srwkv_layers, "srffn": srffn_layers}
"""Readers of block groups by ``type``."""
