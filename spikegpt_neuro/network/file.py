"""``model.net``: the integer network as an extended NetX HDF5 file (docs/file-format.md)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from spikegpt_neuro.arithmetic.packed import (
    FEWEST_BITS,
    MOST_BITS,
    PackedWeights,
    row_words,
    stored,
)
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.assembly import (
    PORT_KEYS,
    Stored,
    StoredLayer,
    assemble,
    compare_names,
    info_types,
    stop_if_wrong,
)
from spikegpt_neuro.network.atomic import replaced_file
from spikegpt_neuro.network.container import (
    HEADER_BYTES,
    Container,
    Contents,
    Region,
    damaged,
    has_header,
    seal,
)
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.network import (
    Chain,
    LanguageModel,
    ModelInfo,
    Network,
    NetworkInfo,
)
from spikegpt_neuro.network.schema import Array, Layer
from spikegpt_neuro.network.selection import SelectingModel
from spikegpt_neuro.network.version_1 import FORMAT, read_version_1
from spikegpt_neuro.readers.guard import input_file
from spikegpt_neuro.readers.hdf5 import is_hdf5
from spikegpt_neuro.readers.mapped import Bytes
from spikegpt_neuro.version import __version__

FORMAT_VERSION = 2
LAYERS_GROUP = "spikegpt/layers"
INDEX_DATASET = "spikegpt/index"
VOCABULARY_DATASET = "spikegpt/vocabulary"
ALIGNMENT = 64
"""Large datasets start at multiples of 64 bytes, so that they can be memory mapped."""
TIME_STEP = "one token a step; every layer of a token in the same step (fall-through)"
RESET_RULE = "LIF: see each layer's soft_reset; states start at zero, WKV exponents at -(2**23 - 1)"

_ABOUT = {"format", "format_version", "tool_version", "time_step", "reset_rule"}
_PARTS = {"vocabulary", "layers"}
_LAYER_KEYS = {"name", "kind", "inputs", "output", "scalars", "arrays"}
_ARRAY_TYPES = {"dtype": str, "shape": list, "offset": int, "sha256": str}
PACKED = "packed"
"""With the bits after it, the type of an int8 matrix whose rows are packed."""
_PACKED_TYPES = {f"{PACKED}{bits}": bits for bits in range(FEWEST_BITS, MOST_BITS)}
_METADATA_CACHE = 1 << 16
"""Bytes of metadata HDF5 keeps while a file is written; kept memory stays."""


class NetworkWriter:
    """Writes layers one at a time, so that a large model never has to be in memory whole."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._layers: list[dict[str, Any]] = []
        self.regions: list[Region] = []
        self.index: tuple[int, int] | None = None
        """(offset, length) of the index, once ``finish`` has written it."""

    def add(self, layer: Layer) -> None:
        """Append a layer; ``InputError`` if its values break its schema."""
        problems = list(layer.problems())
        if problems:
            raise InputError(f"layer {layer.name} cannot be written:", problems)
        group = self._file.create_group(f"{LAYERS_GROUP}/{layer.name.replace('.', '/')}")
        group.attrs["kind"] = np.bytes_(layer.kind)
        group.attrs["index"] = len(self._layers)
        self._layers.append(
            {
                "name": layer.name,
                "kind": layer.kind,
                "inputs": list(layer.inputs),
                "output": {key: getattr(layer.output, key) for key in PORT_KEYS},
                "scalars": {name: getattr(layer, name) for name in layer.scalar_ranges()},
                "arrays": {
                    name: self._write(group, name, getattr(layer, name), layer.name)
                    for name in layer.array_specs()
                },
            }
        )
        if isinstance(layer, Dense):
            outputs, inputs = layer.weight.shape
            group.create_dataset("type", data=np.array([b"dense"], "S10"))
            group.create_dataset("shape", data=np.array([outputs], np.int64))
            group.create_dataset("inFeatures", data=np.int64(inputs))
            group.create_dataset("outFeatures", data=np.int64(outputs))

    def _write(self, group: h5py.Group, name: str, values: Array, owner: str) -> dict[str, Any]:
        """Store an array, packed as it is in memory; its entry of the index."""
        shape, dtype = list(values.shape), str(values.dtype)
        values, bits = stored(values)
        if bits != MOST_BITS:
            dtype = f"{PACKED}{bits}"
        values = np.ascontiguousarray(values)
        dataset = group.create_dataset(name, data=values)
        offset = dataset.id.get_offset() if values.size else HEADER_BYTES
        digest = hashlib.sha256(values.reshape(-1).view(np.uint8).data).hexdigest()
        where = f"{owner}/{name}" if owner else name
        self.regions.append(Region(where, offset, values.nbytes, digest))
        return {
            "dtype": dtype, "shape": shape, "offset": offset, "sha256": digest,
        }  # fmt: skip

    def finish(self, info: NetworkInfo, vocabulary: str) -> None:
        """Write what belongs to the whole network, and the index of it all."""
        text = np.frombuffer(vocabulary.encode("utf-8"), np.uint8)
        about = {
            "format": FORMAT, "format_version": FORMAT_VERSION, "tool_version": __version__,
            "time_step": TIME_STEP, "reset_rule": RESET_RULE,
        }  # fmt: skip
        types = info_types(
            info.layout, classifies=isinstance(info, ModelInfo) and bool(info.labels)
        )
        plain = {name: getattr(info, name) for name in types}
        plain |= {name: dict(plain[name]) for name, kind in types.items() if kind is dict}
        entry = self._write(self._file["/"], VOCABULARY_DATASET, text, "")
        content = {**about, **plain, "vocabulary": entry, "layers": self._layers}
        for name in ("format", "layout", "tool_version"):
            self._file.attrs[name] = np.bytes_(content[name])
        for name in ("format_version", *(name for name in types if types[name] is int)):
            self._file.attrs[name] = content[name]
        # a text of fixed length: other programs show it, and no heap of HDF5's holds it
        index = np.bytes_(json.dumps(content, sort_keys=True, separators=(",", ":")))
        dataset = self._file.create_dataset(INDEX_DATASET, data=index)
        self.index = (dataset.id.get_offset(), len(index))


@contextmanager
def network_writer(path: Path) -> Iterator[NetworkWriter]:
    """Open ``path`` for writing layer by layer; it is replaced only if everything succeeded.

    The finished file is read back and checked before it takes the old one's place.
    """
    with replaced_file(Path(path)) as stream:
        with h5py.File(
            stream, "w", libver="latest", userblock_size=HEADER_BYTES,
            alignment_threshold=1024, alignment_interval=ALIGNMENT,
        ) as file:  # fmt: skip
            _limit_metadata_cache(file)
            writer = NetworkWriter(file)
            yield writer
        if writer.index is None:
            raise InputError("This network is not finished: its writer's `finish` was not called.")
        stream.flush()
        seal(stream, FORMAT_VERSION, writer.index, writer.regions)
        _read_container(Path(path), stream).check_contents()


def write_network(network: Network, path: Path) -> None:
    """Write a whole network to ``path`` atomically.

    Raises ``InputError`` for one that chooses its tokens itself: every reader makes it anew.
    """
    if isinstance(network, SelectingModel):
        raise InputError(
            "a network that chooses its tokens itself is made in memory (`with_selection`).",
            advice="Write the network it was made of.",
        )
    network.check_contents()
    with network_writer(path) as writer:
        for layer in network.layers:
            writer.add(layer)
        writer.finish(network.info, network.vocabulary)


def read_network(path: str | Path) -> LanguageModel | Chain:
    """Read ``path`` strictly; weights and embedding tables are memory mapped, not loaded.

    Raises ``InputError`` listing every problem: damage in header, index or structure; unknown
    keys, kinds or versions; wrong shapes, dtypes and ranges; arrays beyond the file's end. Damage
    in arrays is found by ``Network.check_contents``, which backends call before a first answer.
    Nothing in a file is executed.
    """
    path = input_file(path, "a network")
    with path.open("rb") as stream:
        if has_header(stream):
            return _read_container(path, stream)
    if not is_hdf5(path):
        raise InputError(
            f"{path} cannot be read as a network: it is not HDF5.",
            advice="Expected a file written by `spikegpt-neuro export`; it may be truncated.",
        )
    return read_version_1(path)


def _limit_metadata_cache(file: h5py.File) -> None:
    settings = file.id.get_mdc_config()
    settings.initial_size = settings.min_size = settings.max_size = _METADATA_CACHE
    settings.set_initial_size = True
    file.id.set_mdc_config(settings)


def _read_container(path: Path, stream: BinaryIO) -> LanguageModel | Chain:
    container = Container(path, stream, [FORMAT_VERSION])
    try:
        index = json.loads(container.index)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its index is not JSON: {error}.") from error
    problems: list[str] = []
    said = index if isinstance(index, dict) else {}
    types = info_types(said.get("layout"), classifies="labels" in said)
    if compare_names("/", index, {*_ABOUT, *types, *_PARTS}, "key", problems):
        for key, value in (("format", FORMAT), ("format_version", FORMAT_VERSION)):
            if index[key] != value:
                problems.append(f"/{key}: {index[key]!r}, must be {value!r}")
        if not isinstance(index["layers"], list):
            problems.append("/layers: must be a list")
    stop_if_wrong(path, problems)
    arrays = _Arrays(container.mapped, problems)
    layers = [
        StoredLayer(
            str(part["name"]), part["kind"], part["inputs"], part["output"], part["scalars"],
            arrays.named(str(part["name"]), part["arrays"]),
        )
        for i, part in enumerate(index["layers"])
        if compare_names(f"layer {i}", part, _LAYER_KEYS, "key", problems)
    ]  # fmt: skip
    vocabulary = arrays.named("", {"vocabulary": index["vocabulary"]}).get("vocabulary")
    if vocabulary is not None and (vocabulary.dtype != np.uint8 or vocabulary.ndim != 1):
        problems.append("vocabulary: must be bytes")
    stop_if_wrong(path, problems)
    container.check_structure(arrays.regions)
    contents = Contents(path, container.mapped, arrays.regions)
    info = {name: index[name] for name in types}
    text = b"" if vocabulary is None else vocabulary.tobytes()
    return assemble(path, Stored(info, layers, text, problems), contents)


class _Arrays:
    """Arrays of a mapped file from their entries in the index; ``regions`` of all given so far."""

    def __init__(self, mapped: Bytes, problems: list[str]) -> None:
        self._mapped, self._problems = mapped, problems
        self.regions: list[Region] = []

    def named(self, owner: str, entries: Any) -> dict[str, Array]:
        """Arrays by name, views of the file."""
        if not isinstance(entries, dict):
            self._problems.append(f"{owner}/arrays: must be a JSON object")
            return {}
        found = {}
        for name, entry in entries.items():
            where = f"{owner}/{name}" if owner else name
            array = self._array(where, entry)
            if array is not None:
                found[name] = array
        return found

    def _array(self, where: str, entry: Any) -> Array | None:
        if not compare_names(where, entry, _ARRAY_TYPES, "key", self._problems):
            return None
        wrong = [key for key, kind in _ARRAY_TYPES.items() if type(entry[key]) is not kind]
        shape = entry["shape"]
        if wrong or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 4:
            self._problems.append(f"{where}: {', '.join(wrong) or 'shape'} of a wrong type")
            return None
        name, offset, bits = entry["dtype"], entry["offset"], MOST_BITS
        if name in _PACKED_TYPES and len(shape) == 2 and max(shape) <= self._mapped.size * 8:
            bits, inputs = _PACKED_TYPES[name], shape[1]
            name, shape = "uint16", [shape[0], int(row_words(inputs, bits))]
        if name not in ("int8", "uint8", "int16", "int32", "uint16") or (
            name == "uint16" and bits == MOST_BITS
        ):
            self._problems.append(f"{where}: unknown dtype {entry['dtype']!r:.40}")
            return None
        dtype = np.dtype(name).newbyteorder("<")
        length = math.prod(shape) * dtype.itemsize
        if offset < HEADER_BYTES or offset + length > self._mapped.size:
            self._problems.append(f"{where}: its data lie beyond the end of the file")
            return None
        self.regions.append(Region(where, offset, length, entry["sha256"]))
        mapped = self._mapped[offset : offset + length]
        if offset % dtype.itemsize:  # small ones may lie anywhere
            mapped = mapped.copy()
        array = mapped.view(dtype).reshape(shape)
        return array if bits == MOST_BITS else PackedWeights(array, inputs, bits)  # type: ignore[return-value]
