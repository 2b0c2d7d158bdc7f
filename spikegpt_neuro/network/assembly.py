"""From what a file of any version says to a checked network: keys, types, shapes, then values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.container import Contents
from spikegpt_neuro.network.network import (
    Chain,
    ChainInfo,
    LanguageModel,
    ModelInfo,
    make_network,
)
from spikegpt_neuro.network.registry import LAYER_KINDS
from spikegpt_neuro.network.schema import Array, Layer, Port

SIZES = ("n_layer", "n_embd", "vocabulary_size")
"""Of language models. Version 1 wrote them for chains too, whose layers say it."""
_CLASSES: Mapping[str, type] = {"labels": list, "pooling": str}
"""Of classifiers, besides: they have labels."""
_INFO: Mapping[str, type] = {"layout": str, "source": dict, "quantisation": dict}
_PORT_TYPES: Mapping[str, tuple[type, ...]] = {
    "size": (int,), "payload": (str,), "bits": (int,), "signed": (bool,), "scale": (int, float),
}  # fmt: skip
PORT_KEYS = tuple(sorted(_PORT_TYPES))
_LARGEST_SCALE = 1e300


@dataclass
class StoredLayer:
    """What a file says of a layer; ``inputs``, ``output`` and ``scalars`` are unchecked JSON."""

    name: str
    kind: Any
    inputs: Any
    output: Any
    scalars: Any
    arrays: Mapping[str, Array]


@dataclass
class Stored:
    """What a file says of a network; ``problems`` are those that its reader found already."""

    info: Mapping[str, Any]
    layers: Sequence[StoredLayer]
    vocabulary: bytes
    problems: list[str] = field(default_factory=list)


def info_types(layout: Any, *, classifies: bool = False) -> dict[str, type]:
    """What is said of a network of that layout, by key."""
    if layout == ChainInfo.layout:
        return dict(_INFO)
    return {**_INFO, **dict.fromkeys(SIZES, int), **(_CLASSES if classifies else {})}


def assemble(path: Path, stored: Stored, contents: Contents | None) -> LanguageModel | Chain:
    """The network; ``InputError`` lists everything that its file says wrongly."""
    problems = stored.problems
    types = info_types(stored.info.get("layout"), classifies="labels" in stored.info)
    compare_names("/", stored.info, types, "key", problems)
    for key, kind in types.items():
        if key in stored.info and type(stored.info[key]) is not kind:
            problems.append(f"/{key}: {_shown(stored.info[key])}, must be {_TYPE_NAMES[kind]}")
    layers = [layer for part in stored.layers for layer in _layer(part, problems)]
    try:
        vocabulary = stored.vocabulary.decode("utf-8")
    except UnicodeDecodeError as error:
        problems.append(f"vocabulary: is not UTF-8 at byte {error.start}")
    stop_if_wrong(path, problems)
    try:
        info = {key: value for key, value in stored.info.items() if key != "layout"}
        found = (
            ChainInfo(**info)
            if stored.info["layout"] == ChainInfo.layout
            else ModelInfo(stored.info["layout"], **info)
        )
        return make_network(found, tuple(layers), vocabulary, contents)
    except InputError:
        if contents is not None:
            contents.check()  # a value out of its range may just be a damaged one
        raise


def stop_if_wrong(path: Path, problems: Sequence[str]) -> None:
    """``InputError`` with all problems, if there are any."""
    if problems:
        raise InputError(
            f"{path} is not a valid network ({len(problems)} problems):",
            problems,
            "Export it again from its checkpoint.",
        )


def compare_names(where: str, found: Any, allowed: Any, what: str, problems: list[str]) -> bool:
    """Note names that are unknown and names that are missing; True if there are none."""
    if not isinstance(found, Mapping):
        problems.append(f"{where}: {_shown(found)}, must be a JSON object")
        return False
    unknown, missing = sorted(set(found) - set(allowed)), sorted(set(allowed) - set(found))
    problems += [f"{where}: unknown {what} {name!r}" for name in unknown]
    problems += [f"{where}: {what} {name!r} missing" for name in missing]
    return not unknown and not missing


_TYPE_NAMES = {
    str: "text", int: "an integer", dict: "a JSON object", bool: "true or false",
    float: "a number", list: "a list",
}  # fmt: skip


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _layer(stored: StoredLayer, problems: list[str]) -> Iterator[Layer]:
    """The layer, or none and what is wrong with it."""
    name, before = stored.name, len(problems)
    kind = LAYER_KINDS.get(stored.kind) if isinstance(stored.kind, str) else None
    if kind is None:
        problems.append(
            f"{name}: unknown kind {_shown(stored.kind)}; known: {', '.join(LAYER_KINDS)}"
        )
        return
    specs = kind.array_specs()
    compare_names(name, stored.arrays, specs, "dataset", problems)
    for part, array in stored.arrays.items():
        if part not in specs:
            continue
        dtype, dimensions = specs[part].dtype, len(specs[part].shape)
        if str(array.dtype) != dtype:
            problems.append(f"{name}/{part}: dtype {array.dtype}, must be {dtype}")
        elif array.ndim != dimensions:
            problems.append(f"{name}/{part}: {array.ndim} dimensions, must have {dimensions}")
    if compare_names(f"{name}/scalars", stored.scalars, kind.scalar_ranges(), "key", problems):
        wrong = [key for key, value in stored.scalars.items() if type(value) is not int]
        problems += [f"{name}/{key}: must be an integer" for key in wrong]
    port = _port(f"{name}/output", stored.output, problems)
    inputs = stored.inputs
    if not isinstance(inputs, list) or not all(isinstance(source, str) for source in inputs):
        problems.append(f"{name}/inputs: {_shown(inputs)}, must be a list of names")
    if port is not None and len(problems) == before:
        yield kind(name, tuple(inputs), port, **stored.arrays, **stored.scalars)


def _port(where: str, output: Any, problems: list[str]) -> Port | None:
    before = len(problems)
    if not compare_names(where, output, _PORT_TYPES, "key", problems):
        return None
    for key, kinds in _PORT_TYPES.items():
        if type(output[key]) not in kinds:
            problems.append(
                f"{where}: {key} is {_shown(output[key])}, must be {_TYPE_NAMES[kinds[-1]]}"
            )
    if len(problems) > before:
        return None
    if abs(output["scale"]) > _LARGEST_SCALE:  # an integer may be beyond any float
        problems.append(f"{where}: scale is {_shown(output['scale'])}, must be finite and >= 0")
        return None
    port = Port(**output)
    problems += [f"{where}: {problem}" for problem in port.problems()]
    return port if len(problems) == before else None
