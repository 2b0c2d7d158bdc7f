"""Read a NIR graph as a network: our own exports exactly, other tools' graphs exact or quantised.

A node's numbers always come from the node, never from our metadata, so an edited graph is read as
edited; metadata only says what NIR cannot (widths, and the layers in marked subgraphs).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange.nir_format import TIME_STEP, layer_name
from spikegpt_neuro.exchange.nir_graph import NEURONS, Graph, Node, read_graph
from spikegpt_neuro.exchange.nir_layers import LayerBuilder, spikes
from spikegpt_neuro.exchange.nir_loops import Feedback, take_feedback
from spikegpt_neuro.exchange.nir_marked import described, is_marked, marked_layer, token_delay
from spikegpt_neuro.exchange.nir_nodes import NodeReader, Term
from spikegpt_neuro.exchange.nir_quantise import ONLY_WHOLE
from spikegpt_neuro.exchange.nir_report import ImportReport, LayerReport
from spikegpt_neuro.exchange.nir_synapses import Signal
from spikegpt_neuro.network import (
    TOKEN,
    Chain,
    ChainInfo,
    LanguageModel,
    make_network,
)
from spikegpt_neuro.network.network import info_type
from spikegpt_neuro.network.schema import Layer
from spikegpt_neuro.network.slayer_layers import RasterInput

FEWEST_BITS, MOST_BITS = 2, 9


def import_nir(
    path: Path, *, bits: int | None = None, time_step: float = TIME_STEP
) -> LanguageModel | Chain:
    """The network in ``path``; see ``import_nir_with_report``."""
    return import_nir_with_report(path, bits=bits, time_step=time_step)[0]


def import_nir_with_report(
    path: Path, *, bits: int | None = None, time_step: float = TIME_STEP
) -> tuple[LanguageModel | Chain, ImportReport]:
    """The network in ``path``, and what became of each node.

    ``bits``: width of signed weights that are quantised, 2..9; None: nothing is, and what is not
    whole is an error. ``time_step``: seconds, of the forward Euler steps. Raises ``InputError``
    listing every node that cannot be held.
    """
    graph, problems = read_graph(path)
    network, report, found = convert(graph, Path(path).name, bits=bits, time_step=time_step)
    problems += found
    if problems or network is None:
        raise InputError(f"{path} cannot be held:", problems, advice_on(problems, bits))
    return network, report


def advice_on(problems: Sequence[str], bits: int | None) -> str:
    """What to do next, where quantising would mend at least one of the problems."""
    mended = (ONLY_WHOLE, "or quantise", "differs from neuron", "multiple of", "weights have")
    if bits is None and any(text in problem for problem in problems for text in mended):
        return "With --bits N what is not whole is quantised, and the error printed."
    return ""


def check_settings(bits: int | None, time_step: float) -> None:
    """Raise ``InputError`` for settings outside their range."""
    problems = []
    if bits is not None and not FEWEST_BITS <= bits <= MOST_BITS:
        problems.append(f"bits {bits}, allowed {FEWEST_BITS}..{MOST_BITS}")
    if not (np.isfinite(time_step) and time_step > 0):
        problems.append(f"a time step of {time_step} s; must be above 0")
    if problems:
        raise InputError("the import's settings are out of range:", problems)


def convert(
    graph: Graph, source: str, *, bits: int | None, time_step: float
) -> tuple[LanguageModel | Chain | None, ImportReport, list[str]]:
    """A graph as a network, the report on it, and its problems; no network where there are any."""
    check_settings(bits, time_step)
    report = ImportReport(time_step, bits, notes=list(graph.notes))
    try:
        reader = _GraphReader(graph, report)
        reader.read()
        if reader.problems or not reader.is_whole:
            return None, report, reader.problems
        return reader.network(source), report, []
    except InputError as error:
        return None, report, list(error.problems or [str(error)])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return None, report, [f"the graph's metadata describe no network of ours: {error}"]


class _GraphReader:
    """Turns nodes into layers in the order of the edges; problems do not cascade."""

    def __init__(self, graph: Graph, report: ImportReport) -> None:
        self.problems: list[str] = []
        self._graph, self._report = graph, report
        self._own = described(graph.metadata)
        self._names: dict[str, str] = {}
        self._builder = LayerBuilder()
        self._nodes = NodeReader(self._builder, report)
        self._values: dict[str, list[Term] | None] = {}
        self._output = ""

    @property
    def is_whole(self) -> bool:
        """Whether the output was reached; not where the file's own problems are in the way."""
        return bool(self._output)

    def read(self) -> None:
        """Read every node."""
        feedback, sources, problems = take_feedback(self._graph)
        self.problems += problems
        self.problems += self._ends()
        for name in self._order(sources):
            node = self._graph.nodes[name]
            self._values[name] = None
            if not node.kind or name in feedback.broken:
                continue  # its problem is told already
            heard = [self._values.get(s) for s in sources[name]]
            terms = [term for value in heard for term in value or ()]
            if any(value is None for value in heard):
                terms = self._stand_in(node, reads=True)
                if not terms:
                    continue
            try:
                self._values[name] = self._read(name, node, terms, feedback)
            except InputError as error:
                self.problems += list(error.problems or [str(error)])
                self._values[name] = self._stand_in(node, reads=False) or None
        self.problems = list(dict.fromkeys(self.problems))

    def _stand_in(self, node: Node, *, reads: bool) -> list[Term]:
        """What a node reads or gives when that could not be held, so that the rest is looked at.

        Empty where the node does not tell the size.
        """
        if node.kind in ("Linear", "Affine"):
            size = node.array("weight").shape[1 if reads else 0]
        elif node.kind in NEURONS:
            size = max(node.array(k).size for k in ("r", "threshold") if k in node.values)
        else:
            return []
        name = self._builder.free_name("stand in")
        self._builder.add(RasterInput(name, (), spikes(size)), 1)
        return [Signal(name, (size,), np.ones(1))]

    def _ends(self) -> Iterator[str]:
        """What is wrong with where values come in and go out."""
        for kind in ("Input", "Output"):
            names = [n for n, node in self._graph.nodes.items() if node.kind == kind]
            if not names:
                yield f"the graph has no {kind} node"
            elif len(names) > 1:
                yield f"{len(names)} {kind} nodes ({', '.join(names)}); a network has one"
        unread = [
            name
            for name, node in self._graph.nodes.items()
            if node.kind not in ("", "Input", "NIRGraph") and not self._graph.sources[name]
        ]
        for name in unread:
            yield f"{name}: no edge leads to it"

    def _order(self, sources: dict[str, list[str]]) -> Iterator[str]:
        """Nodes so that each follows those it reads; the file's order where that leaves a choice.

        What a loop that was refused holds up is left out.
        """
        done: set[str] = set()
        waiting = list(sources)
        while waiting:
            ready = [n for n in waiting if done.issuperset(sources[n])]
            if not ready:
                return
            for name in ready:
                done.add(name)
                yield name
            waiting = [n for n in waiting if n not in done]

    def _name(self, node: str) -> str:
        """A layer's name for a node's: ours have dots, and those of others none."""
        if node not in self._names:
            name = layer_name(node) if self._own else node.replace(".", "_")
            name = f"{name}_" if name == TOKEN else name
            self._names[node] = self._builder.free_name(name)
        return self._names[node]

    def _read(
        self, name: str, node: Node, terms: list[Term], feedback: Feedback
    ) -> list[Term] | None:
        own = self._name(name)
        if is_marked(node):
            inputs = tuple(layer_name(s) for s in self._graph.sources[name])
            layer = marked_layer(node, inputs)
            self._builder.add(layer, layer.output.high)
            return [Signal(layer.name, (layer.output.size,), np.ones(1))]
        if node.kind == "Delay" and self._own.get("layout", "chain") != "chain":
            before = self._builder.layers[layer_name(self._graph.sources[name][0])]
            self._builder.add(token_delay(own, node, before, self._report.time_step), 1)
            return [Signal(own, (before.output.size,), np.ones(1))]
        if node.kind == "Input":
            return [self._input(own, node)]
        if node.kind == "Output":
            self._output = self._nodes.output(name, terms)
            return []
        if not terms:
            return None  # "no edge leads to it" is told already
        sizes = {term.size for term in terms}
        if len(sizes) > 1:
            heard = ", ".join(f"{s}" for s in self._graph.sources[name])
            raise InputError(
                "", [f"{name}: adds values of different sizes: {heard} ({sorted(sizes)})"]
            )
        if node.kind in NEURONS:
            return self._nodes.neuron(own, node, terms, feedback.weights.get(name))
        return self._nodes.linear(own, node, terms)

    def _input(self, own: str, node: Node) -> Signal:
        shape = tuple(int(v) for v in node.array("shape").reshape(-1)) or (1,)
        if min(shape) < 1:
            raise InputError("", [f"{own}: an input of shape {shape}"])
        size = int(np.prod(shape))
        self._builder.add(RasterInput(own, (), spikes(size)), 1)
        self._report.layers.append(LayerReport(own, "Input"))
        return Signal(own, shape, np.ones(1))

    def network(self, source: str) -> LanguageModel | Chain:
        """The layers the output depends on, as a network."""
        layers = self._builder.layers
        text = dict(self._own)
        order = text.pop("order", [])
        vocabulary = text.pop("vocabulary", "")
        needed = self._needed()
        left_out = [name for name in layers if name not in needed]
        if left_out:
            self._report.notes.append(f"lead nowhere, left out: {', '.join(left_out)}")
            kept = [layer for layer in self._report.layers if layer.node not in left_out]
            self._report.layers[:] = kept
        names = order if set(order) == needed else [n for n in layers if n in needed]
        chosen: tuple[Layer, ...] = tuple(layers[name] for name in names)
        if not text:
            quantisation = {} if self._report.is_exact else {
                "bits": self._report.bits, "time_step": self._report.time_step,
                "equation": self._report.equation,
            }  # fmt: skip
            return Chain(ChainInfo({"format": "nir", "file": source}, quantisation), chosen)
        kind = info_type(text["layout"])
        wanted = {part.name for part in dataclasses.fields(kind)}
        facts = {key: value for key, value in text.items() if key in wanted}
        return make_network(kind(**facts), chosen, vocabulary)

    def _needed(self) -> set[str]:
        needed, waiting = set(), [self._output]
        while waiting:
            name = waiting.pop()
            if name in needed or name == TOKEN:
                continue
            needed.add(name)
            waiting += self._builder.layers[name].inputs
        return needed
