"""The integer network: one value that feeds every backend, the mapper, the counters, the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.layers import (
    ACCUMULATOR_LIMIT,
    NORM_INPUT_BITS,
    BinaryEmbedding,
    Delay,
    Dense,
    LayerNorm,
    RealEmbedding,
)
from spikegpt_neuro.network.schema import Layer
from spikegpt_neuro.network.slayer_layers import SPIKING_KINDS, RasterInput

if TYPE_CHECKING:
    import networkx as nx

TOKEN = "token"
"""Name of the network's input: one token id a step."""


@dataclass(frozen=True)
class NetworkInfo:
    """What the network is and where it came from; all of it is stored in the file.

    ``layout``: ``upstream``, ``spike-driven``, or ``chain`` (a NetX chain driven by a raster:
    ``n_embd`` values in, or 1 token id where it begins with an embedding; ``vocabulary_size``
    values out, no blocks). ``quantisation`` and
    ``source`` hold settings and hashes as plain JSON values.
    """

    layout: str
    n_layer: int
    n_embd: int
    vocabulary_size: int
    source: Mapping[str, Any] = field(default_factory=dict)
    quantisation: Mapping[str, Any] = field(default_factory=dict)


OPERAND_LIMIT = (1 << 15) - 1
"""Operands of synapses are at most 16 bits signed."""


def _connection_problems(source: Layer, reader: Layer) -> Iterator[str]:
    """What is wrong with ``reader`` reading ``source``: its size, and the range relied on."""
    expected = reader.operand_size
    if isinstance(reader, Dense):
        if source.output.high > OPERAND_LIMIT:
            yield f"{reader.name}: operands of {source.output.bits} bits, at most 16 signed"
        elif reader.weight.ndim == 2 and reader.weight.dtype == np.int8:
            yield from _sum_problems(reader, source.output.high)
    elif isinstance(reader, LayerNorm):
        bits = source.output.high.bit_length() + 1 + reader.input_shift
        if bits > NORM_INPUT_BITS:
            yield f"{reader.name}: normalises {bits} bits, at most {NORM_INPUT_BITS}"
    elif isinstance(reader, Delay) and source.output != reader.output:
        yield f"{reader.name}: a delay's output must be like its input's"
    if source.output.size != expected:
        yield f"{reader.name}: reads {source.output.size} values, must be {expected}"


def _sum_problems(reader: Dense, operand: int) -> Iterator[str]:
    """Sums must fit int32. The weights are only read where their number leaves it open."""
    if 128 * operand * reader.operand_size > ACCUMULATOR_LIMIT:
        bound = reader.largest_row_sum * operand
        if bound > ACCUMULATOR_LIMIT:
            yield f"{reader.name}: sums up to {bound}, allowed 0..{ACCUMULATOR_LIMIT}"


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in execution order. ``vocabulary`` is the text of a vocabulary, or empty."""

    info: NetworkInfo
    layers: tuple[Layer, ...]
    vocabulary: str = ""

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InputError(
                f"This is not a valid network ({len(problems)} problems):", problems,
                "Export it again from its checkpoint.",
            )  # fmt: skip

    def _problems(self) -> Iterator[str]:
        known: dict[str, Layer] = {}
        for layer in self.layers:
            if layer.name in known:
                yield f"{layer.name}: two layers have this name"
            yield from layer.problems()
            for source in layer.inputs:
                if isinstance(layer, BinaryEmbedding | RealEmbedding):
                    continue
                if source not in known:
                    yield f"{layer.name}: reads {source!r}, which no earlier layer provides"
                else:
                    yield from _connection_problems(known[source], layer)
            known[layer.name] = layer
        if not self.layers:
            yield "the network has no layers"
            return
        yield from self._ends_problems()
        blocks = {layer.name.split(".")[1] for layer in self.layers if layer.stage[:7] == "blocks."}
        if blocks != {str(i) for i in range(self.info.n_layer)}:
            yield f"blocks {', '.join(sorted(blocks))} are there, n_layer is {self.info.n_layer}"

    def _ends_problems(self) -> Iterator[str]:
        """What is wrong with the first and the last layer."""
        first, last = self.layers[0], self.layers[-1]
        if self.takes_raster:
            yield from self._chain_problems(first, last)
            return
        if not isinstance(first, BinaryEmbedding | RealEmbedding):
            yield f"{first.name}: the first layer must be an embedding of the token"
        else:
            if first.table.shape[:1] != (self.info.vocabulary_size,):
                yield (
                    f"{first.name}/table: {first.table.shape[0]} rows, "
                    f"the vocabulary has {self.info.vocabulary_size}"
                )
            if first.output.size != self.info.n_embd:
                yield f"{first.name}: size {first.output.size}, n_embd is {self.info.n_embd}"
        for layer in self.layers:
            if isinstance(layer, BinaryEmbedding | RealEmbedding) and (
                layer is not first or layer.inputs != (TOKEN,)
            ):
                yield f"{layer.name}: an embedding must be the first layer and read the token"
        if last.kind != "readout" or last.output.size != self.info.vocabulary_size:
            yield f"{last.name}: the last layer must be a readout of the whole vocabulary"

    def _chain_problems(self, first: Layer, last: Layer) -> Iterator[str]:
        """What is wrong with the ends of a chain that takes a raster instead of tokens."""
        if not isinstance(first, RasterInput) and (
            first.inputs != (TOKEN,) or not isinstance(first, BinaryEmbedding)
        ):
            yield f"{first.name}: a chain must begin with a raster or a binary embedding"
        for layer in self.layers[1:]:
            if isinstance(layer, RasterInput | BinaryEmbedding | RealEmbedding):
                yield f"{layer.name}: only the first layer may take input"
        if (self.raster_size, last.output.size) != (self.info.n_embd, self.info.vocabulary_size):
            yield (
                f"the chain takes {self.raster_size} values and gives {last.output.size}; its "
                f"description says {self.info.n_embd} and {self.info.vocabulary_size}"
            )

    @property
    def takes_raster(self) -> bool:
        """True for a chain, run on a raster of spikes, integers or (a column of) token ids."""
        return isinstance(self.layers[0], RasterInput) or self.info.layout == "chain"

    @property
    def raster_size(self) -> int:
        """Values a time step of a chain's raster: 1 where it begins with an embedding."""
        first = self.layers[0]
        return first.output.size if isinstance(first, RasterInput) else 1

    @cached_property
    def by_name(self) -> dict[str, Layer]:
        """Layers by name."""
        return {layer.name: layer for layer in self.layers}

    def __getitem__(self, name: str) -> Layer:
        return self.by_name[name]

    def bound(self, layer: Dense) -> int:
        """Proven largest |accumulator| of ``layer``: largest row sum times the largest operand."""
        return layer.largest_row_sum * self[layer.inputs[0]].output.high

    @cached_property
    def graph(self) -> nx.DiGraph:
        """Directed graph of layer names; nodes carry ``layer``, edges run from source to reader."""
        import networkx as nx  # here, so that opening a network does not wait for it

        graph = nx.DiGraph()
        for layer in self.layers:
            graph.add_node(layer.name, layer=layer)
            for source in layer.inputs:
                if source != TOKEN:
                    graph.add_edge(source, layer.name)
        return graph

    @cached_property
    def stages(self) -> dict[str, tuple[Layer, ...]]:
        """Layers by stage (``embedding``, each SRWKV, each SRFFN, ``head``), in order."""
        stages: dict[str, list[Layer]] = {}
        for layer in self.layers:
            stages.setdefault(layer.stage, []).append(layer)
        return {name: tuple(layers) for name, layers in stages.items()}

    @property
    def logit_scale(self) -> float:
        """Real value of one unit of a logit."""
        return self.layers[-1].output.scale

    @property
    def spiking_layers(self) -> tuple[str, ...]:
        """Names of the layers of LIF neurons of any kind, in order."""
        return tuple(layer.name for layer in self.layers if layer.kind in SPIKING_KINDS)
