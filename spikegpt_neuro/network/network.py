"""The integer network: one value that feeds every backend, the mapper, the counters, the file.

There are two types: a ``LanguageModel`` reads tokens, a ``Chain`` a raster.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.container import Contents
from spikegpt_neuro.network.labels import Pooling, label_problems
from spikegpt_neuro.network.layers import BinaryEmbedding, Embedding, Readout
from spikegpt_neuro.network.registry import check_known
from spikegpt_neuro.network.schema import Layer
from spikegpt_neuro.network.slayer_layers import RasterInput

if TYPE_CHECKING:
    import networkx as nx

TOKEN = "token"
"""Name of the network's input: one token id a step."""


@dataclass(frozen=True)
class ModelInfo:
    """What a language model is and where it came from; all of it is stored in the file.

    ``layout``: one of ``MODEL_LAYOUTS``. ``quantisation`` and ``source`` hold settings and hashes
    as plain JSON values. ``labels``: of a classifier, the classes its readout gives logits of, and
    ``pooling`` over which tokens it decides; no labels: the readout is of the next token.
    """

    layout: str
    n_layer: int
    n_embd: int
    vocabulary_size: int
    source: Mapping[str, Any] = field(default_factory=dict)
    quantisation: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    pooling: Pooling = "last"

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))  # JSON has lists

    @property
    def outputs(self) -> int:
        """Logits a token: one a class, or one a token of the vocabulary."""
        return len(self.labels) or self.vocabulary_size


@dataclass(frozen=True)
class ChainInfo:
    """Where a chain came from, as plain JSON values; what it is follows from its layers."""

    source: Mapping[str, Any] = field(default_factory=dict)
    quantisation: Mapping[str, Any] = field(default_factory=dict)
    layout: ClassVar[str] = "chain"


NetworkInfo = ModelInfo | ChainInfo
MODEL_LAYOUTS = ("upstream", "rwkv", "spike-driven")
"""Layouts of language models."""


def info_type(layout: str) -> type[NetworkInfo]:
    """What describes a network of that layout. Raises ``InputError`` for an unknown one."""
    if layout == ChainInfo.layout:
        return ChainInfo
    if layout not in MODEL_LAYOUTS:
        known = ", ".join((*MODEL_LAYOUTS, ChainInfo.layout))
        raise InputError(f"layout {layout!r} is unknown; allowed: {known}.")
    return ModelInfo


def make_network(
    info: NetworkInfo,
    layers: tuple[Layer, ...],
    vocabulary: str = "",
    contents: Contents | None = None,
) -> LanguageModel | Chain:
    """The network of the type that ``info`` describes."""
    if isinstance(info, ChainInfo):
        return Chain(info, layers, vocabulary, contents)
    return LanguageModel(info, layers, vocabulary, contents)


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """Layers in execution order. ``vocabulary`` is the text of a vocabulary, or empty.

    Base of ``LanguageModel`` and ``Chain``, which are what there is. ``contents``: the file that
    the arrays are mapped from, whose bytes ``check_contents`` hashes.
    """

    info: Any
    layers: tuple[Layer, ...]
    vocabulary: str = ""
    contents: Contents | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InputError(
                f"This is not a valid network ({len(problems)} problems):",
                problems,
                "Export it again from its checkpoint.",
            )

    def __repr__(self) -> str:
        weights = sum(layer.weight_count for layer in self.layers)
        return (
            f"<{type(self).__name__}: {self._summary()}, {len(self.layers)} layers, "
            f"{weights:,} weights>"
        )

    def _summary(self) -> str:
        """What is special about a network of this type, in a few words."""
        return str(self.info.layout)

    def _repr_html_(self) -> str:
        """The stages as a table, for notebooks."""
        rows = "".join(
            f"<tr><td>{html.escape(stage)}</td><td>{len(layers)}</td>"
            f"<td>{sum(layer.weight_count for layer in layers):,}</td>"
            f"<td>{sum(layer.state_words for layer in layers):,}</td></tr>"
            for stage, layers in self.stages.items()
        )
        return (
            f"<p>{html.escape(repr(self)[1:-1])}</p><table><tr><th>stage</th><th>layers</th>"
            f"<th>weights</th><th>state words</th></tr>{rows}</table>"
        )

    def _problems(self) -> Iterator[str]:
        known: dict[str, Layer] = {}
        for layer in self.layers:
            check_known(layer)
            if layer.name in known:
                yield f"{layer.name}: two layers have this name"
            yield from layer.problems()
            for source in layer.inputs:
                if source in known:
                    yield from layer.operand_problems(known[source])
                elif source != TOKEN or not isinstance(layer, Embedding):
                    yield f"{layer.name}: reads {source!r}, which no earlier layer provides"
            known[layer.name] = layer
        if not self.layers:
            yield "the network has no layers"
            return
        for layer in self.layers[1:]:
            if layer.role == "input":
                yield f"{layer.name}: only the first layer may take input"
        yield from self._ends_problems(self.layers[0], self.layers[-1])

    def _ends_problems(self, first: Layer, last: Layer) -> Iterator[str]:
        """What is wrong with the first and the last layer, and with the description."""
        raise NotImplementedError

    def check_contents(self) -> None:
        """Check that mapped arrays are the bytes that were written; called before a first answer.

        Hashes the file once (about 1.8 GB/s with SHA instructions). ``InputError`` lists the arrays
        that are damaged. Nothing to do for a network that was built, or read from version 1.
        """
        if self.contents is not None:
            self.contents.check()

    @cached_property
    def by_name(self) -> dict[str, Layer]:
        """Layers by name."""
        return {layer.name: layer for layer in self.layers}

    def __getitem__(self, name: str) -> Layer:
        return self.by_name[name]

    def bound(self, layer: Layer) -> int:
        """Proven largest |sum| of ``layer``'s synapses: largest row sum times largest operand.

        Recurrent synapses, which belong to neurons, take those neurons' own spikes.
        """
        source = layer if layer.role == "neuron" else self[layer.inputs[0]]
        return layer.largest_row_sum * source.output.high

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
    def output_size(self) -> int:
        """Values that leave the network a token, or a time step."""
        return self.layers[-1].output.size

    @property
    def logit_scale(self) -> float:
        """Real value of one unit of a logit."""
        return self.layers[-1].output.scale

    @property
    def spiking_layers(self) -> tuple[str, ...]:
        """Names of the layers of LIF neurons of any kind, in order."""
        return tuple(layer.name for layer in self.layers if layer.fires)


@dataclass(frozen=True, eq=False, repr=False)
class LanguageModel(Network):
    """A network that reads tokens and gives logits of the next one, or of classes after each."""

    info: ModelInfo

    def _summary(self) -> str:
        info = self.info
        return (
            f"{info.layout} layout, {info.n_layer} blocks of width {info.n_embd}, vocabulary "
            f"{info.vocabulary_size}"
        )

    def _ends_problems(self, first: Layer, last: Layer) -> Iterator[str]:
        if self.info.layout not in MODEL_LAYOUTS:
            yield f"layout {self.info.layout!r}, must be one of {', '.join(MODEL_LAYOUTS)}"
        if not isinstance(first, Embedding) or first.inputs != (TOKEN,):
            yield f"{first.name}: the first layer must be an embedding of the token"
        else:
            if first.table.shape[:1] != (self.info.vocabulary_size,):
                yield (
                    f"{first.name}/table: {first.table.shape[0]} rows, "
                    f"the vocabulary has {self.info.vocabulary_size}"
                )
            if first.output.size != self.info.n_embd:
                yield f"{first.name}: size {first.output.size}, n_embd is {self.info.n_embd}"
        if not isinstance(last, Readout) or last.output.size != self.info.outputs:
            whole = "all classes" if self.info.labels else "the whole vocabulary"
            yield f"{last.name}: the last layer must be a readout of {whole}"
        yield from label_problems(self.info.labels, self.info.pooling)
        blocks = {layer.name.split(".")[1] for layer in self.layers if layer.stage[:7] == "blocks."}
        # compared by number first: n_layer may be any integer that a file says
        if len(blocks) != self.info.n_layer or blocks != {str(i) for i in range(len(blocks))}:
            yield f"blocks {', '.join(sorted(blocks))} are there, n_layer is {self.info.n_layer}"


def as_language_model(network: Network) -> LanguageModel:
    """``network`` if it predicts tokens; ``InputError`` for a chain and for a classifier."""
    if not isinstance(network, LanguageModel):
        raise InputError("this network is a chain: it reads a raster, not a text.")
    if network.info.labels:
        raise InputError(
            "this network is a classifier: it gives classes, not next tokens.",
            [f"classes: {', '.join(network.info.labels)}"],
            "Use `classify`.",
        )
    return network


def as_classifier(network: Network) -> LanguageModel:
    """``network`` if it reads tokens and gives classes; ``InputError`` otherwise."""
    if not isinstance(network, LanguageModel) or not network.info.labels:
        raise InputError(
            "this network is not a classifier.",
            advice="Train one with `train --task classify`, then export it.",
        )
    return network


@dataclass(frozen=True, eq=False, repr=False)
class Chain(Network):
    """A stock NetX chain: it reads a raster of spikes, of integers or of (one column of) token ids,
    one row a time step, and gives its last layer's integers."""

    info: ChainInfo

    def _summary(self) -> str:
        return f"{self.input_size} values in, {self.output_size} out"

    def _ends_problems(self, first: Layer, last: Layer) -> Iterator[str]:
        if not isinstance(first, RasterInput) and (
            first.inputs != (TOKEN,) or not isinstance(first, BinaryEmbedding)
        ):
            yield f"{first.name}: a chain must begin with a raster or a binary embedding"
        if any(layer.stage.startswith("blocks.") for layer in self.layers):
            yield "a chain has no blocks of a language model"

    @property
    def takes_ids(self) -> bool:
        """Whether the raster is a column of token ids, read by an embedding."""
        return isinstance(self.layers[0], Embedding)

    @property
    def input_size(self) -> int:
        """Values a time step of the raster: 1 where it holds token ids."""
        return 1 if self.takes_ids else self.layers[0].output.size

    @property
    def input_range(self) -> tuple[int, int]:
        """Least and largest value of the raster."""
        first = self.layers[0]
        if isinstance(first, Embedding):
            return 0, first.table.shape[0] - 1
        return first.output.range
