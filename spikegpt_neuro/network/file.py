"""``model.net``: the integer network as an extended NetX HDF5 file (docs/file-format.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.atomic import replaced_file
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.network import (
    Chain,
    ChainInfo,
    LanguageModel,
    ModelInfo,
    Network,
    NetworkInfo,
    info_type,
    make_network,
)
from spikegpt_neuro.network.registry import LAYER_KINDS
from spikegpt_neuro.network.schema import Layer, Port
from spikegpt_neuro.version import __version__

FORMAT = "spikegpt-neuro"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)
LAYERS_GROUP = "spikegpt/layers"
VOCABULARY_DATASET = "spikegpt/vocabulary"
ALIGNMENT = 64
"""Large datasets start at multiples of 64 bytes, so that they can be memory mapped."""
TIME_STEP = "one token a step; every layer of a token in the same step (fall-through)"
RESET_RULE = "LIF: see each layer's soft_reset; states start at zero, WKV exponents at -(2**23 - 1)"

_ROOT_ATTRIBUTES = {
    "format", "format_version", "tool_version", "layout", "time_step", "reset_rule", "source",
    "quantisation",
}  # fmt: skip
_MODEL_ATTRIBUTES = ("n_layer", "n_embd", "vocabulary_size")
"""Root attributes of language models. Version 1 wrote them for chains too, whose layers say it."""
_CLASSIFIER_ATTRIBUTES = ("labels", "pooling")
"""Root attributes of classifiers, beside a language model's."""
_LAYER_ATTRIBUTES = {"kind", "index", "inputs", "output", "scalars"}
_STOCK_DATASETS = ("type", "shape", "inFeatures", "outFeatures")
_DERIVED_IN_VERSION_1 = {"dense": ({"fan_out"}, {"bound"})}
"""Datasets and scalars that version 1 stored though they follow from the weights; never read."""
_PORT_KEYS = {"size", "payload", "bits", "signed", "scale"}
_HOSTILE_FILE_ERRORS = (
    OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError,
    MemoryError,
)  # fmt: skip
"""What HDF5, JSON and numpy raise on malformed content (RuntimeError includes RecursionError)."""
_METADATA_CACHE = 1 << 16
"""Bytes of metadata HDF5 keeps while a file is read; each is read once, and kept memory stays."""
_TEXT, _INDEX = (
    (np.dtype(dtype), h5py.h5t.py_create(np.dtype(dtype)), kind)
    for dtype, kind in (
        (h5py.string_dtype(), h5py.h5t.TypeStringID), (np.int64, h5py.h5t.TypeIntegerID),
    )
)  # fmt: skip
"""The two types of a layer's attributes: in memory, as HDF5 calls that, and its class there."""


class NetworkWriter:
    """Writes layers one at a time, so that a large model never has to be in memory whole."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._count = 0

    def add(self, layer: Layer) -> None:
        """Append a layer; ``InputError`` if its values break its schema."""
        problems = list(layer.problems())
        if problems:
            raise InputError(f"layer {layer.name} cannot be written:", problems)
        group = self._file.create_group(f"{LAYERS_GROUP}/{layer.name.replace('.', '/')}")
        output = layer.output
        group.attrs["kind"] = layer.kind
        group.attrs["index"] = self._count
        group.attrs["inputs"] = json.dumps(list(layer.inputs))
        group.attrs["output"] = json.dumps(
            {key: getattr(output, key) for key in sorted(_PORT_KEYS)}
        )
        group.attrs["scalars"] = json.dumps({n: getattr(layer, n) for n in layer.scalar_ranges()})
        for name in layer.array_specs():
            group.create_dataset(name, data=getattr(layer, name))
        if isinstance(layer, Dense):
            outputs, inputs = layer.weight.shape
            group.create_dataset("type", data=np.array([b"dense"], "S10"))
            group.create_dataset("shape", data=np.array([outputs], np.int64))
            group.create_dataset("inFeatures", data=np.int64(inputs))
            group.create_dataset("outFeatures", data=np.int64(outputs))
        self._count += 1

    def finish(self, info: NetworkInfo, vocabulary: str) -> None:
        """Write what belongs to the whole network."""
        attributes = self._file.attrs
        attributes["format"] = FORMAT
        attributes["format_version"] = FORMAT_VERSION
        attributes["tool_version"] = __version__
        attributes["time_step"] = TIME_STEP
        attributes["reset_rule"] = RESET_RULE
        attributes["layout"] = info.layout
        for name in _MODEL_ATTRIBUTES if isinstance(info, ModelInfo) else ():
            attributes[name] = getattr(info, name)
        if isinstance(info, ModelInfo) and info.labels:
            attributes["labels"] = json.dumps(info.labels)
            attributes["pooling"] = info.pooling
        for name in ("source", "quantisation"):
            attributes[name] = json.dumps(dict(getattr(info, name)), sort_keys=True)
        text = np.frombuffer(vocabulary.encode("utf-8"), np.uint8)
        self._file.create_dataset(VOCABULARY_DATASET, data=text)


@contextmanager
def network_writer(path: Path) -> Iterator[NetworkWriter]:
    """Open ``path`` for writing layer by layer; it is replaced only if everything succeeded.

    The finished file is read back and checked before it takes the old one's place.
    """
    with replaced_file(Path(path)) as stream:
        with h5py.File(
            stream, "w", libver="latest",
            alignment_threshold=1024, alignment_interval=ALIGNMENT,
        ) as file:  # fmt: skip
            _limit_metadata_cache(file)
            yield NetworkWriter(file)
        stream.flush()
        _read_stream(Path(path), stream)


def write_network(network: Network, path: Path) -> None:
    """Write a whole network to ``path`` atomically."""
    with network_writer(path) as writer:
        for layer in network.layers:
            writer.add(layer)
        writer.finish(network.info, network.vocabulary)


def read_network(path: Path) -> LanguageModel | Chain:
    """Read ``path`` strictly; weights and embedding tables are memory mapped, not loaded.

    Raises ``InputError`` listing every problem: unknown groups, keys, kinds or versions, links,
    wrong shapes, dtypes and ranges, arrays beyond the file's end. Nothing in a file is executed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file.", advice="Write one with `spikegpt-neuro export`.")
    with path.open("rb") as stream:
        return _read_stream(path, stream)


def _read_stream(path: Path, stream: BinaryIO) -> LanguageModel | Chain:
    try:
        with h5py.File(stream, "r") as file:
            _limit_metadata_cache(file)
            return _Reader(path, file, stream).network()
    except _HOSTILE_FILE_ERRORS as error:
        raise InputError(
            f"{path} cannot be read as a network: {error}.",
            advice="Expected HDF5 written by `spikegpt-neuro export`; the file may be truncated.",
        ) from error


def _limit_metadata_cache(file: h5py.File) -> None:
    settings = file.id.get_mdc_config()
    settings.initial_size = settings.min_size = settings.max_size = _METADATA_CACHE
    settings.set_initial_size = True
    file.id.set_mdc_config(settings)


class _Reader:
    """Reads one open file and collects every problem on the way.

    It uses HDF5's own functions, not h5py's dictionary-like objects: a large model has thousands of
    small objects, and opening the file must not take longer than the first token.
    """

    def __init__(self, path: Path, file: h5py.File, stream: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._bytes = stream.seek(0, 2)
        # a plain array over the map: its slices are made five times faster than a memmap's
        self._map = np.asarray(np.memmap(stream, np.uint8, mode="r"))
        self._problems: list[str] = []
        self._layers: dict[int, Layer] = {}
        self._groups: set[h5py.h5g.GroupID] = set()

    def network(self) -> LanguageModel | Chain:
        attributes = dict(self._file.attrs)
        if attributes.get("format") != FORMAT:
            raise InputError(
                f"{self._path} is HDF5, but not a {FORMAT} network (its attribute `format` is "
                f"{attributes.get('format')!r}).",
                advice="Give the file that `spikegpt-neuro export` wrote. A stock NetX file "
                "(/layer) is taken by inspect, simulate, verify, map, energy and `netx import`.",
            )
        if attributes.get("format_version") not in READABLE_VERSIONS:
            raise InputError(
                f"{self._path} has format version {attributes.get('format_version')}; this release "
                f"reads versions {', '.join(map(str, READABLE_VERSIONS))}.",
                advice="Export the checkpoint again with this release.",
            )
        self._version = int(attributes["format_version"])
        if self._file.userblock_size:
            self._problems.append("the file has an HDF5 user block; the network must be all of it")
        described = info_type(str(attributes.get("layout")))
        has_facts = described is ModelInfo or self._version == 1
        facts = _MODEL_ATTRIBUTES if has_facts else ()
        classes = (
            _CLASSIFIER_ATTRIBUTES if described is ModelInfo and "labels" in attributes else ()
        )
        names = {*_ROOT_ATTRIBUTES, *facts, *classes}
        self._compare_names("/", set(attributes), names, "attribute")
        top = self._members("/", self._file.id, {"spikegpt"}, "group").get("spikegpt")
        self._stop_if_wrong()
        parts = self._members("/spikegpt", top, {"layers", "vocabulary"}, "member")
        self._stop_if_wrong()
        self._walk(parts["layers"], "")
        vocabulary = self._array("vocabulary", parts["vocabulary"], "uint8", 1)
        self._stop_if_wrong()
        layers = tuple(self._layers[index] for index in sorted(self._layers))
        if sorted(self._layers) != list(range(len(layers))):
            self._problems.append("the layers' indices are not 0, 1, 2, ...")
        numbers = {name: self._whole_number(f"/{name}", attributes[name]) for name in facts}
        texts: dict[str, Any] = {
            name: json.loads(attributes[name]) for name in ("source", "quantisation")
        }
        for name, value in texts.items():
            if not isinstance(value, dict):
                self._problems.append(f"/{name}: must be a JSON object")
        self._stop_if_wrong()
        info: NetworkInfo = ChainInfo(**texts)
        if described is ModelInfo:
            sizes = [numbers[name] for name in _MODEL_ATTRIBUTES]
            if classes:
                texts |= {"labels": self._labels(attributes["labels"])}
                texts |= {"pooling": str(attributes["pooling"])}
                self._stop_if_wrong()
            info = ModelInfo(str(attributes["layout"]), sizes[0], sizes[1], sizes[2], **texts)
        text = np.asarray(vocabulary, np.uint8).tobytes().decode("utf-8")
        return make_network(info, layers, text)

    def _labels(self, text: Any) -> tuple[str, ...]:
        values = json.loads(text)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            self._problems.append("/labels: must be a JSON list of texts")
            return ()
        return tuple(values)

    def _whole_number(self, where: str, value: Any) -> int:
        if not isinstance(value, int | np.integer):
            self._problems.append(f"{where}: {value!r}, must be an integer")
            return 0
        return int(value)

    def _stop_if_wrong(self) -> None:
        if self._problems:
            raise InputError(
                f"{self._path} is not a valid network ({len(self._problems)} problems):",
                self._problems, "Export it again from its checkpoint.",
            )  # fmt: skip

    def _compare_names(self, where: str, found: set[str], allowed: set[str], what: str) -> None:
        self._problems += [f"{where}: unknown {what} {name!r}" for name in sorted(found - allowed)]
        self._problems += [f"{where}: {what} {name!r} missing" for name in sorted(allowed - found)]

    def _members(
        self, where: str, group: Any, expected: set[str] | None = None, what: str = ""
    ) -> dict[str, Any]:
        """Open the group's members. Links are refused: they lead out of the checked content."""
        names = {name.decode("utf-8"): name for name in group}
        if expected is not None:
            self._compare_names(where, set(names), expected, what)
        opened = {}
        for name, encoded in names.items():
            if group.links.get_info(encoded).type != h5py.h5l.TYPE_HARD:
                self._problems.append(f"{where}/{name}: is a link; all must be in this file")
            else:
                opened[name] = h5py.h5o.open(group, encoded)
        return opened

    @staticmethod
    def _attributes(group: Any) -> dict[str, Any]:
        """Attributes of a layer by name: the index an integer, the others text; None if unfit."""
        values: dict[str, Any] = {}
        for i in range(h5py.h5a.get_num_attrs(group)):
            attribute = h5py.h5a.open(group, index=i)
            name = attribute.name.decode("utf-8")
            values[name] = None
            dtype, stored_as, kind = _INDEX if name == "index" else _TEXT
            if not isinstance(attribute.get_type(), kind):
                continue
            value = np.zeros((), dtype)
            attribute.read(value, mtype=stored_as)
            read = value.item()
            values[name] = read.decode("utf-8") if isinstance(read, bytes) else read
        return values

    def _walk(self, group: Any, path: str) -> None:
        """Read ``group`` as a layer, or descend into it."""
        if not isinstance(group, h5py.h5g.GroupID):
            self._problems.append(f"{path or 'layers'}: dataset outside a layer")
            return
        if h5py.h5a.exists(group, b"kind"):
            self._read_layer(group, path)
            return
        if group in self._groups:
            self._problems.append(f"{path or 'layers'}: this group has two names")
            return
        self._groups.add(group)
        members = self._members(path, group)
        if not members:
            self._problems.append(f"{path or 'layers'}: empty group")
        for name, member in members.items():
            inner = f"{path}.{name}" if path else name
            if inner.count(".") > 8:
                self._problems.append(f"{inner}: nested too deeply")
            else:
                self._walk(member, inner)

    def _read_layer(self, group: Any, name: str) -> None:
        before = len(self._problems)
        attributes = self._attributes(group)
        self._compare_names(name, set(attributes), _LAYER_ATTRIBUTES, "attribute")
        kind = LAYER_KINDS.get(str(attributes["kind"]))
        if kind is None:
            self._problems.append(
                f"{name}: unknown kind {attributes['kind']!r}; known: {', '.join(LAYER_KINDS)}"
            )
        if len(self._problems) > before or kind is None:
            return
        specs = kind.array_specs()
        datasets, facts = set[str](), set[str]()
        if self._version == 1:
            datasets, facts = _DERIVED_IN_VERSION_1.get(kind.kind, (datasets, facts))
        expected = {*specs, *datasets, *(_STOCK_DATASETS if kind is Dense else ())}
        members = self._members(name, group, expected, "dataset")
        output = json.loads(attributes["output"])
        scalars = json.loads(attributes["scalars"])
        self._compare_names(f"{name}/output", set(output), _PORT_KEYS, "key")
        self._compare_names(f"{name}/scalars", set(scalars), {*kind.scalar_ranges(), *facts}, "key")
        if len(self._problems) > before:
            return
        scalars = {key: value for key, value in scalars.items() if key not in facts}
        arrays = {}
        for part, spec in specs.items():
            array = self._array(f"{name}/{part}", members[part], spec.dtype, len(spec.shape))
            if array is not None:
                arrays[part] = array
        wrong = [key for key, value in scalars.items() if type(value) is not int]
        self._problems += [f"{name}/{key}: must be an integer" for key in wrong]
        self._problems += [f"{name}/output: {problem}" for problem in _port_problems(output)]
        if kind is Dense and "weight" in arrays:
            self._check_stock(name, members, arrays["weight"].shape)
        index = self._whole_number(f"{name}/index", attributes["index"])
        if len(self._problems) > before:
            return
        if index in self._layers:
            self._problems.append(f"{name}: index {index} is taken by {self._layers[index].name}")
        inputs = tuple(str(source) for source in json.loads(attributes["inputs"]))
        self._layers[index] = kind(name, inputs, Port(**output), **arrays, **scalars)

    def _check_stock(self, name: str, members: dict[str, Any], shape: tuple[int, ...]) -> None:
        """The datasets lava-dl reads must say what ours say."""
        outputs, inputs = shape
        for key, value in (
            ("type", b"dense"), ("shape", outputs), ("inFeatures", inputs),
            ("outFeatures", outputs),
        ):  # fmt: skip
            dataset = members[key]
            if not isinstance(dataset, h5py.h5d.DatasetID) or math.prod(dataset.shape) != 1:
                self._problems.append(f"{name}/{key}: must be a dataset of one value")
                continue
            read = np.empty(dataset.shape, dataset.dtype)
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, read)
            if read.item() != value:
                self._problems.append(f"{name}/{key}: {read.item()!r}, must be {value!r}")

    def _array(
        self, where: str, dataset: Any, dtype: str, dimensions: int
    ) -> npt.NDArray[Any] | None:
        """A dataset's values, memory mapped; checked before anything is allocated."""
        problem = ""
        if not isinstance(dataset, h5py.h5d.DatasetID):
            self._problems.append(f"{where}: must be a dataset")
            return None
        shape, size = dataset.shape, math.prod(dataset.shape) * np.dtype(dtype).itemsize
        if dataset.dtype != dtype:
            problem = f"dtype {dataset.dtype}, must be {dtype}"
        elif len(shape) != dimensions:
            problem = f"{len(shape)} dimensions, must have {dimensions}"
        elif size == 0:
            return np.zeros(shape, dtype)
        elif not _is_contiguous(dataset):
            problem = "must be stored contiguously in this file"
        else:
            offset = dataset.get_offset()
            if offset is None or offset + size > self._bytes:
                problem = "its data lie beyond the end of the file"
        if problem:
            self._problems.append(f"{where}: {problem}")
            return None
        mapped = self._map[offset : offset + size].view(dtype).reshape(shape)
        return mapped if mapped.flags.aligned else mapped.copy()  # small ones may lie anywhere


def _is_contiguous(dataset: Any) -> bool:
    storage = dataset.get_create_plist()
    return storage.get_layout() == h5py.h5d.CONTIGUOUS and storage.get_external_count() == 0


def _port_problems(output: dict[str, Any]) -> Iterator[str]:
    for key, kind in (("size", int), ("payload", str), ("bits", int), ("signed", bool)):
        if type(output[key]) is not kind:
            yield f"{key} is {output[key]!r}, must be {kind.__name__}"
    if type(output["scale"]) not in (int, float):
        yield f"scale is {output['scale']!r}, must be a number"
