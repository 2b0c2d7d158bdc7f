"""A NIR file as a flat graph of plain arrays, with everything that is wrong with its structure.

Read from HDF5 without the ``nir`` package, so that a file it refuses (an edge to a node that is not
there, a node of an unknown type) is described instead of raised upon. Subgraphs are dissolved: the
node ``lif`` of the subgraph ``block`` is ``block.lif`` here, and an edge to ``block`` leads to what
its input node leads to. A subgraph with our own metadata stays one node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange.nir_format import KEY
from spikegpt_neuro.readers.hdf5 import Hdf5Group, Unreadable, read_hdf5

Values = Mapping[str, Any]
Edge = tuple[str, str]

NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "Input": ("shape",), "Output": (), "Linear": ("weight",), "Affine": ("weight",),
    "Scale": ("scale",), "Conv1d": ("weight", "stride", "padding", "dilation", "groups"),
    "Conv2d": ("weight", "stride", "padding", "dilation", "groups"),
    "SumPool2d": ("kernel_size", "stride", "padding"),
    "AvgPool2d": ("kernel_size", "stride", "padding"), "Flatten": (), "Delay": ("delay",),
    "Threshold": ("threshold",), "I": ("r",), "IF": ("r", "v_threshold"),
    "LI": ("tau", "r", "v_leak"), "LIF": ("tau", "r", "v_leak", "v_threshold"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold"), "NIRGraph": (),
}  # fmt: skip
"""NIR's node types (nir 1.0.8) with the parameters a node cannot do without."""
MOST_VALUES = 1 << 22
"""Values a layer sends at most; parameters can be one number for all, so files do not bound it."""
SPIKING: Final = ("IF", "LIF", "CubaLIF", "Threshold")
NEURONS: Final = (*SPIKING, "I", "LI", "CubaLI")


@dataclass(frozen=True, eq=False)
class Node:
    """``kind``: NIR's type. ``values``: numbers as float64 arrays, text as str."""

    kind: str
    values: Values
    metadata: Values = field(default_factory=dict)
    children: Mapping[str, Node] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()

    @property
    def is_marked(self) -> bool:
        """Whether this is one of our layers that NIR has no node for."""
        return self.kind == "NIRGraph" and KEY in self.metadata

    def array(self, name: str, default: float | None = None) -> npt.NDArray[np.float64]:
        """A parameter as float64; ``default`` where the file has none."""
        value = self.values.get(name)
        return np.asarray(default if value is None else value, np.float64)


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes by name, in the file's order; ``sources`` of each, in the order of the edges."""

    nodes: Mapping[str, Node]
    sources: Mapping[str, tuple[str, ...]]
    metadata: Values
    notes: tuple[str, ...] = ()

    def readers(self, name: str) -> tuple[str, ...]:
        """Nodes that an edge leads to from ``name``."""
        return tuple(n for n, sources in self.sources.items() if name in sources)


def read_graph(path: Path) -> tuple[Graph, list[str]]:
    """The flat graph in ``path``, and what is wrong with it, one line a problem.

    Raises ``InputError`` for a file that holds no NIR graph at all.
    """
    content = read_hdf5(path, "a NIR graph")
    top = content.get("node")
    if not isinstance(top, Hdf5Group):
        raise InputError(
            f"{path} is not a NIR graph: its HDF5 holds {', '.join(sorted(content)) or 'nothing'}, "
            "NIR has the groups node and version.",
            advice="A stock NetX file is read by `netx import`." if "layer" in content else "",
        )
    problems: list[str] = []
    root = _node("", _plain(top, "", problems), problems)
    if root.kind != "NIRGraph":
        raise InputError(f"{path} holds one {root.kind or 'node without a type'}, not a graph.")
    return _flat(root, problems), problems


def _plain(group: Hdf5Group, where: str, problems: list[str]) -> dict[str, Any]:
    """Groups as dictionaries, datasets as arrays, text as str; a problem for what is neither."""
    found: dict[str, Any] = {}
    for name, member in group.members.items():
        path = f"{where}/{name}"
        if isinstance(member, Hdf5Group):
            found[name] = _plain(member, path, problems)
        elif isinstance(member, Unreadable):
            problems.append(f"{path.replace('/nodes/', '/')[1:]}: {member.problem}")
        elif member.dtype.kind == "S" and member.ndim == 0:
            found[name] = bytes(member[()]).decode("utf-8", "replace")
        else:
            found[name] = member[()] if member.ndim == 0 else member
    return found


def _node(name: str, tree: Mapping[str, Any], problems: list[str]) -> Node:
    """A node; its own problems are told here, once, and not again where it is used."""
    kind = tree.get("type")
    kind = kind if isinstance(kind, str) else ""
    metadata = tree.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if kind == "NIRGraph":
        marked = KEY in metadata
        inner = problems if not marked else []
        prefix = f"{name}." if name else ""
        nodes = tree.get("nodes")
        children = {
            child: _node(prefix + child, value, inner)
            for child, value in (nodes if isinstance(nodes, dict) else {}).items()
            if isinstance(value, dict)
        }
        return Node(kind, {}, metadata, children, tuple(_edges(name, tree.get("edges"), problems)))
    found = list(_node_problems(kind, tree))
    problems += [f"{name}: {problem}" for problem in found]
    values = {k: _value(v) for k, v in tree.items() if k not in ("type", "metadata")}
    return Node("" if found else kind, values, metadata)


def _node_problems(kind: str, tree: Mapping[str, Any]) -> Iterator[str]:
    if kind not in NEEDED:
        yield f"{kind!r} is no type of NIR node" if kind else "the node has no type"
        return
    missing = [key for key in NEEDED[kind] if tree.get(key) is None]
    if missing:
        yield f"a {kind} without {', '.join(missing)}"
    if kind == "Input" and not missing:
        shape = np.asarray(tree["shape"])
        whole = shape.dtype.kind in "iuf" and shape.size and bool((shape == np.round(shape)).all())
        with np.errstate(over="ignore"):  # infinite is too many, too
            values = float(np.prod(shape, dtype=np.float64)) if whole else 0.0
        if not whole or shape.min() < 1 or values > MOST_VALUES:
            yield f"a shape of {shape.reshape(-1)[:4]}; whole, of at most {MOST_VALUES} values"
    axes = {"Linear": 2, "Affine": 2, "Conv1d": 3, "Conv2d": 4}.get(kind)
    if axes and not missing and np.ndim(tree["weight"]) != axes:
        yield f"weight has {np.ndim(tree['weight'])} dimensions, must be {axes}"
    for key, value in tree.items():
        if key in ("type", "metadata", "shape", "input_type", "output_type") or value is None:
            continue
        if isinstance(value, str):
            if key == "padding" and value in ("same", "valid"):
                continue
            yield f"{key} is the text {value[:40]!r}, must be numbers"
        elif isinstance(value, dict) or np.asarray(value).dtype.kind not in "biuf":
            yield f"{key} is no array of numbers"
        elif np.asarray(value).size == 0:
            yield f"{key} is empty"
        elif np.isnan(np.asarray(value, np.float64)).any() or (
            key not in ("tau", "tau_syn", "tau_mem") and np.isinf(value).any()
        ):
            yield f"{key} is not finite"


def _value(value: Any) -> Any:
    if value is None or isinstance(value, str | dict):
        return value
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "biuf" else value


def _edges(name: str, value: Any, problems: list[str]) -> Iterator[Edge]:
    where = f"{name}: " if name else ""
    try:
        rows = [] if value is None else np.asarray(value).reshape(-1, 2).tolist()
    except ValueError:
        problems.append(f"{where}edges of shape {np.shape(value)}, must be [edges, 2]")
        return
    for pair in rows:
        yield tuple(n.decode("utf-8") if isinstance(n, bytes) else str(n) for n in pair)  # type: ignore[misc]


def _flat(root: Node, problems: list[str]) -> Graph:
    nodes: dict[str, Node] = {}
    ends: dict[str, tuple[list[str], list[str]]] = {}  # a subgraph's inputs and outputs
    edges: list[tuple[str, Edge]] = []
    _collect(root, "", nodes, ends, edges)
    sources: dict[str, list[str]] = {name: [] for name in nodes}
    notes: list[str] = []
    for prefix, (source, target) in edges:
        ways = []
        for end, side in ((source, 1), (target, 0)):
            full = next((n for n in (prefix + end, end) if n in nodes or n in ends), None)
            if full is None:
                problems.append(f"the edge {source} -> {target}: there is no node {end}")
            elif full in nodes:
                ways.append(full)
            elif len(ends[full][side]) == 1:
                ways.append(ends[full][side][0])
            else:
                what = "outputs" if side else "inputs"
                problems.append(
                    f"{full}: a subgraph with {len(ends[full][side])} {what}, must be 1"
                )
        if len(ways) < 2:
            continue
        if ways[0] in sources[ways[1]]:
            notes.append(f"the edge {source} -> {target} is there twice; read as one")
        else:
            sources[ways[1]].append(ways[0])
    problems[:] = list(dict.fromkeys(problems))
    _leave_out_passages(nodes, sources)
    return Graph(nodes, {n: tuple(s) for n, s in sources.items()}, root.metadata, tuple(notes))


def _leave_out_passages(nodes: dict[str, Node], sources: dict[str, list[str]]) -> None:
    """Connect what leads to a subgraph's input or output node with what reads it."""
    for name in list(nodes):
        kind, before = nodes[name].kind, sources[name]
        readers = [n for n, s in sources.items() if name in s]
        if (kind == "Input" and before) or (kind == "Output" and readers):
            for reader in readers:
                others = [n for n in sources[reader] if n != name]
                added = [n for n in before if n not in (name, *others)]
                sources[reader] = others + added
            del nodes[name], sources[name]


def _collect(
    graph: Node, prefix: str, nodes: dict[str, Node],
    ends: dict[str, tuple[list[str], list[str]]], edges: list[tuple[str, Edge]],
) -> None:  # fmt: skip
    """Gather the nodes of a graph and of those within it under their whole names."""
    for name, node in graph.children.items():
        full = prefix + name
        if node.kind != "NIRGraph" or node.is_marked:
            nodes[full] = node
            continue
        ends[full] = (
            [f"{full}.{n}" for n, child in node.children.items() if child.kind == "Input"],
            [f"{full}.{n}" for n, child in node.children.items() if child.kind == "Output"],
        )
        _collect(node, f"{full}.", nodes, ends, edges)
    edges += [(prefix, edge) for edge in graph.edges]
