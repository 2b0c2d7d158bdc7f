"""Files of format version 1: read through the door for foreign HDF5, derived facts left out.

Version 1 had no checksum and kept its metadata in HDF5 attributes, and beside the weights of a
dense layer its ``fan_out`` and ``bound``. Those follow from the weights and are computed instead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.assembly import (
    SIZES,
    Stored,
    StoredLayer,
    assemble,
    compare_names,
    stop_if_wrong,
)
from spikegpt_neuro.network.container import ADVICE
from spikegpt_neuro.network.network import Chain, ChainInfo, LanguageModel
from spikegpt_neuro.readers.hdf5 import Hdf5Group, Unreadable, read_hdf5

FORMAT = "spikegpt-neuro"
VERSION = 1
_ROOT = {
    *SIZES,
    "layout",
    "source",
    "quantisation",
    "format",
    "format_version",
    "tool_version",
    "time_step",
    "reset_rule",
}
_TEXTS = ("kind", "inputs", "output", "scalars")
_DERIVED_DATASETS, _DERIVED_SCALARS = {"fan_out"}, {"bound"}
_STOCK = {"type", "shape", "inFeatures", "outFeatures"}
_DEEPEST = 10


def is_own(root: Hdf5Group) -> bool:
    """Whether HDF5 says of itself that it is a network of this project, of any version."""
    return _text(root.attributes.get("format")) == FORMAT


def read_version_1(path: Path, root: Hdf5Group | None = None) -> LanguageModel | Chain:
    """The network in a file of version 1. ``root``: what ``read_hdf5`` gave, if it was read."""
    root = read_hdf5(path, "a network") if root is None else root
    if not is_own(root):
        raise InputError(
            f"{path} is HDF5, but not a {FORMAT} network (its attribute `format` is "
            f"{_text(root.attributes.get('format'))!r}).",
            advice="Give the file that `spikegpt-neuro export` wrote. A stock NetX file "
            "(/layer) is taken by inspect, simulate, verify, map, energy and `netx import`.",
        )
    version = _number(root.attributes.get("format_version"))
    if version != VERSION:
        raise InputError(
            f"{path} says format version {version}, but does not begin with the header that files "
            f"have from version {VERSION + 1} on; it is damaged, or was changed.",
            advice=ADVICE,
        )
    return assemble(path, _stored(path, root), None)


def _stored(path: Path, root: Hdf5Group) -> Stored:
    problems: list[str] = []
    compare_names("/", root.attributes, _ROOT, "attribute", problems)
    compare_names("/", root.members, {"spikegpt"}, "group", problems)
    stop_if_wrong(path, problems)
    parts = root.members["spikegpt"]
    if isinstance(parts, Unreadable):
        problems.append(f"/spikegpt: {parts.problem}")
    stop_if_wrong(path, problems)
    members = parts.members if isinstance(parts, Hdf5Group) else {}
    compare_names("/spikegpt", members, {"layers", "vocabulary"}, "member", problems)
    stop_if_wrong(path, problems)
    values = root.attributes
    info: dict[str, Any] = {"layout": _text(values["layout"])}
    if info["layout"] != ChainInfo.layout:
        info |= {name: _number(values[name]) for name in SIZES}
    info |= {name: _json(f"/{name}", values[name], problems) for name in ("source", "quantisation")}
    layers: dict[int, StoredLayer] = {}
    _walk(members["layers"], "", layers, problems)
    if not problems and sorted(layers) != list(range(len(layers))):
        problems.append("the layers' indices are not 0, 1, 2, ...")
    vocabulary = members["vocabulary"]
    if not isinstance(vocabulary, np.ndarray) or vocabulary.dtype != np.uint8:
        why = vocabulary.problem if isinstance(vocabulary, Unreadable) else "must be bytes"
        problems.append(f"vocabulary: {why}")
        vocabulary = np.zeros(0, np.uint8)
    ordered = [layers[index] for index in sorted(layers)]
    return Stored(info, ordered, vocabulary.tobytes(), problems)


def _walk(group: Any, path: str, layers: dict[int, StoredLayer], problems: list[str]) -> None:
    where = path or "layers"
    if isinstance(group, Unreadable):
        problems.append(f"{where}: {group.problem}")
    elif not isinstance(group, Hdf5Group):
        problems.append(f"{where}: dataset outside a layer")
    elif "kind" in group.attributes:
        _layer(group, path, layers, problems)
    elif path.count(".") > _DEEPEST:
        problems.append(f"{where}: nested too deeply")
    elif not group.members:
        problems.append(f"{where}: empty group")
    else:
        for name, member in group.members.items():
            _walk(member, f"{path}.{name}" if path else name, layers, problems)


def _layer(
    group: Hdf5Group, name: str, layers: dict[int, StoredLayer], problems: list[str]
) -> None:
    if not compare_names(name, group.attributes, {*_TEXTS, "index"}, "attribute", problems):
        return
    index = _number(group.attributes["index"])
    if index is None:
        problems.append(f"{name}/index: must be an integer")
        return
    if index in layers:
        problems.append(f"{name}: index {index} is taken by {layers[index].name}")
        return
    kind = _text(group.attributes["kind"])
    inputs, output, scalars = (
        _json(f"{name}/{part}", group.attributes[part], problems) for part in _TEXTS[1:]
    )
    members = dict(group.members)
    if kind == "dense":
        missing = sorted((_DERIVED_DATASETS | _STOCK) - set(members))
        problems += [f"{name}: dataset {part!r} missing" for part in missing]
        members = {
            part: member
            for part, member in members.items()
            if part not in _DERIVED_DATASETS | _STOCK
        }
        if isinstance(scalars, dict):
            scalars = {key: v for key, v in scalars.items() if key not in _DERIVED_SCALARS}
    arrays = {}
    for part, member in members.items():
        if isinstance(member, np.ndarray):
            arrays[part] = member
        else:
            problem = member.problem if isinstance(member, Unreadable) else "must be a dataset"
            problems.append(f"{name}/{part}: {problem}")
    if len(arrays) == len(members):
        layers[index] = StoredLayer(name, kind, inputs, output, scalars, arrays)


def _text(value: Any) -> str | None:
    """An attribute that is one text; None for anything else."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "S" or value.shape != ():
        return None
    return bytes(value[()]).decode("utf-8", "replace")


def _number(value: Any) -> int | None:
    """An attribute that is one integer; None for anything else."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or value.shape != ():
        return None
    return int(value[()])


def _json(where: str, value: Any, problems: list[str]) -> Any:
    text = _text(value)
    try:
        return json.loads(text if text is not None else "")
    except (ValueError, RecursionError) as error:
        problems.append(f"{where}: is not JSON ({str(error)[:60]})")
        return None
