"""What each layer did over a text: exact integer counts, from the network and a run's counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.mapping.encoding import (
    SynapseBlock,
    block_of,
    index_bits,
    is_sparse,
    synapse_bytes,
)
from spikegpt_neuro.mapping.roles import Graph
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.schema import Layer, Role


@dataclass(frozen=True)
class LayerActivity:
    """Counts of one layer, each over the whole text (``tokens`` tokens).

    ``operand``: ``binary`` when every operand that occurred was 0 or 1 in magnitude, so that its
    synaptic operations are additions (AC); ``graded`` otherwise (MAC); empty where there are no
    synapses. ``dense_operations`` counts all products, ``synaptic_operations`` only those of a
    non-zero operand with a non-zero weight (NeuroBench's effective operations). Of a chain, a token
    is a time step of its raster. ``weight_bits``: of each weight read, with the index of its output
    where only the weights that are not 0 are stored (``mapping.encoding``).
    """

    name: str
    kind: str
    stage: str
    role: Role
    fires: bool
    tokens: int
    size: int
    input_size: int
    payload_bits: int
    output_bits: int
    operand: str
    dense_operations: int
    synaptic_operations: int
    unit_synaptic_operations: int
    unit_additions: int
    elementwise: Mapping[str, int]
    input_events: int
    output_events: int
    active_updates: int
    idle_updates: int
    weights_read: int
    weight_bits: int
    weight_memory_bytes: int
    state_words_read: int
    state_words_written: int
    parameter_words_read: int
    activation_words_read: int
    activation_words_written: int
    saturations: int
    overflows: int

    @property
    def accumulates(self) -> int:
        """Synaptic operations that are additions."""
        return self.synaptic_operations if self.operand == "binary" else 0

    @property
    def multiply_accumulates(self) -> int:
        """Synaptic operations that need a multiplication."""
        return self.synaptic_operations if self.operand == "graded" else 0

    @property
    def weight_bytes_read(self) -> Fraction:
        """Bytes of all weights read."""
        return Fraction(self.weights_read * self.weight_bits, 8)

    @property
    def event_bits(self) -> int:
        """Payload bits of all events sent: a binary spike is one bit, a graded one its width."""
        sends = self.role in ("neuron", "input")
        return self.output_events * self.output_bits if sends else 0

    @property
    def input_rate(self) -> float:
        """Share of non-zero operands."""
        possible = self.tokens * self.input_size
        return self.input_events / possible if possible else 0.0

    @property
    def output_rate(self) -> float:
        """Share of non-zero outputs; the firing rate of a LIF layer."""
        possible = self.tokens * self.size
        return self.output_events / possible if possible else 0.0


def is_listed(layer: Layer) -> bool:
    """Whether only the weights that are not 0 are stored."""
    return is_sparse(block_of(layer), layer.output.size)


def _weights_read(layer: Layer, counters: Counters, listed: bool) -> int:
    """Weights fetched: the column of each non-zero operand, zeros in it included.

    Where only the others are stored (``listed``), as many as there are operations. Shared weights
    (a convolution's kernels) hold hardly any zeros: those that meet an operand are counted. Spikes
    of the last time step, which recurrent synapses would hear in the next one, are included.
    """
    if layer.rows is None:
        return 0
    if listed or layer.rows.shape[0] != layer.output.size:
        return counters.count(layer.name, "synaptic_operations")
    events = "input_events" if layer.role == "synapse" else "output_events"
    return counters.count(layer.name, events) * layer.rows.shape[0]


def _memory_bytes(layer: Layer, block: SynapseBlock) -> int:
    """Bytes of a layer's weights: a convolution's kernels once, not once a neuron."""
    if isinstance(layer, Dense):
        return synapse_bytes((block,), layer.output.size)
    return 0 if layer.rows is None else int(layer.rows.size)


def layer_activity(network: Graph, layer: Layer, counters: Counters) -> LayerActivity:
    """Counts of one layer."""
    part = layer.role
    tokens, size = counters.tokens, layer.output.size
    dense = part == "synapse"
    input_size = layer.operand_size

    def count(column: str) -> int:
        return counters.count(layer.name, column)

    operand = ""
    if dense:
        binary = count("input_events") == count("unit_input_events")
        operand = "binary" if binary else "graded"
    elif layer.fan_in:
        operand = "binary"  # recurrent synapses hear the layer's own spikes
    block = block_of(layer) if operand else None
    listed = block is not None and is_listed(layer)
    stored_bits = block.bits + listed * index_bits(size) if block else 0
    updates = tokens * size if part == "neuron" else 0
    active = min(count("active_updates"), updates)
    state = tokens * layer.carried_words
    source = network.by_name.get(layer.inputs[0]) if layer.inputs else None
    bits = source.output.bits if dense and source is not None else layer.output.bits
    return LayerActivity(
        name=layer.name,
        kind=layer.kind,
        stage=layer.stage,
        role=part,
        fires=layer.fires,
        tokens=tokens,
        size=size,
        input_size=input_size,
        payload_bits=bits,
        output_bits=layer.output.bits,
        operand=operand,
        dense_operations=tokens * layer.products,
        synaptic_operations=count("synaptic_operations"),
        unit_synaptic_operations=count("unit_synaptic_operations"),
        unit_additions=count("unit_additions"),
        elementwise={kind: n * tokens for kind, n in sorted(layer.operations().items())},
        input_events=count("input_events"),
        output_events=count("output_events"),
        active_updates=active,
        idle_updates=updates - active,
        weights_read=_weights_read(layer, counters, listed),
        weight_bits=stored_bits,
        weight_memory_bytes=_memory_bytes(layer, block) if block else 0,
        state_words_read=state,
        state_words_written=state,
        parameter_words_read=tokens * layer.parameter_words if part == "neuron" else 0,
        activation_words_read=tokens * input_size * len(layer.inputs) if part != "input" else 0,
        activation_words_written=tokens * size,
        saturations=count("saturations"),
        overflows=count("overflows"),
    )


def activities(network: Graph, counters: Counters) -> tuple[LayerActivity, ...]:
    """Counts of every layer, or of every unit of a machine, in execution order.

    Raises InputError when the counters are of another network or of no token at all.
    """
    problems = [
        f"counters hold a layer {name!r} that the network has not"
        for name in counters.layers
        if name not in network.by_name
    ]
    problems += [
        f"counters miss the layer {layer.name!r}"
        for layer in network.layers
        if layer.name not in counters.layers
    ]
    if counters.tokens < 1:
        problems.append("counters are of 0 tokens; run the network over a text first")
    if problems:
        raise InputError("These counters do not belong to this network:", problems)
    return tuple(layer_activity(network, layer, counters) for layer in network.layers)
