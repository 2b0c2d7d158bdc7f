"""Opening files of tensors safely: nothing in them is executed, nothing large is allocated.

A torch archive is read by ``torch_archive``; its tensors stay memory mapped. A safetensors file is
a JSON header and raw data. The kind is found by content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from spikegpt_neuro.converters.model_folder import described_by
from spikegpt_neuro.converters.torch_archive import load_torch
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers.guard import input_file, parsing
from spikegpt_neuro.readers.json_file import read_json

FLOAT_TYPES = {
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float64",
}
_SAFETENSORS_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "params", "weights")
_PREFIXES = ("module.", "_forward_module.", "_orig_mod.", "base_model.model.", "model.")
OWN_FORMAT = "spikegpt-neuro"
_FOREIGN = ("format", "config", "vocabulary")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: what it declares, and how to get its values (float32)."""

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], Tensor]


@dataclass(frozen=True)
class TensorFile:
    """What a file holds: tensors by name, other values, and what was unwrapped on the way.

    ``foreign``: of another project's checkpoint, what lies beside its tensors.
    """

    kind: str
    tensors: Mapping[str, StoredTensor]
    configuration: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: str = ""
    quantisation: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    foreign: Mapping[str, Any] = field(default_factory=dict)


def open_tensor_file(path: Path) -> TensorFile:
    """Open a ``.pt``, ``.pth`` or ``.safetensors`` file. Raises InputError for anything else."""
    if path.is_dir():
        return _described(path, open_tensor_file(_in_folder(path)))
    path = input_file(path, "a checkpoint")
    if path.name.endswith(".index.json"):
        return _open_shards(path)
    with path.open("rb") as stream:
        head = stream.read(16)
    if not head:
        raise InputError(f"{path} is empty.", advice="Copy or download the checkpoint again.")
    if head[:4] == b"PK\x03\x04":
        return _open_torch(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return _open_safetensors(path)
    if head[:1] == b"\x80":
        return _open_torch(path)
    raise InputError(
        f"{path} is neither a torch checkpoint nor a safetensors file.",
        [f"it begins with {head[:8]!r}"],
        "Expected a file written by torch.save or by safetensors; it may be damaged.",
    )


def weight_files(path: Path) -> list[Path]:
    """The files that hold a checkpoint's weights: itself, or a folder's, or an index's shards."""
    if path.is_dir():
        return weight_files(_in_folder(path))
    return shard_files(path) if path.name.endswith(".index.json") else [path]


def _in_folder(path: Path) -> Path:
    """The weights of a Hugging Face folder: one file, or the index of its shards."""
    weights = (
        "model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin",
    )  # fmt: skip
    for name in (*weights, *(f"{name}.index.json" for name in weights)):
        if (path / name).is_file():
            return path / name
    raise InputError(
        f"{path} is a folder without weights.",
        advice="Expected model.safetensors, pytorch_model.bin, either's .index.json and "
        "shards, or an adapter_model.",
    )


def shard_files(index: Path) -> list[Path]:
    """The shards an index names, beside it, each once and in order. Raises InputError."""
    content = read_json(index, "an index of shards")
    try:
        names = sorted(set(content["weight_map"].values()))
        problems = [f"{name!r} is not a file's name" for name in names if Path(name).name != name]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{index} is not an index of shards: {error}.",
            advice="Expected a JSON object whose `weight_map` maps names to files beside it.",
        ) from error
    files = [index.with_name(name) for name in names] if not problems else []
    problems += [f"{file.name} is missing" for file in files if not file.is_file()]
    if problems or not files:
        raise InputError(f"{index}: its shards cannot be opened:", problems or ["it names none"])
    return files


def _described(folder: Path, file: TensorFile) -> TensorFile:
    """With what a folder of our own says beside its tensors."""
    described = described_by(folder)
    if described is None:
        return file
    return replace(
        file, configuration=described.configuration, quantisation=described.quantisation,
        vocabulary=described.vocabulary, notes=(*file.notes, "a folder of this project's own"),
    )  # fmt: skip


def _open_shards(index: Path) -> TensorFile:
    found = [open_tensor_file(file) for file in shard_files(index)]
    tensors: dict[str, StoredTensor] = {}
    problems = [problem for part in found for problem in part.problems]
    for part in found:
        problems += [f"{name}: in two shards" for name in part.tensors if name in tensors]
        tensors.update(part.tensors)
    note = f"{len(found)} shards of {index.name}"
    notes = dict.fromkeys(n for part in found for n in part.notes)
    return TensorFile(found[0].kind, tensors, problems=tuple(problems), notes=(note, *notes))


def _open_safetensors(path: Path) -> TensorFile:
    advice = "The file may be truncated; copy or download it again."
    with parsing(path, "a safetensors file", advice):
        handle: Any = safe_open(path, framework="pt", device="cpu")  # its methods are untyped
        names = list(handle.keys())
        slices = {name: handle.get_slice(name) for name in names}
    tensors = {
        name: StoredTensor(
            tuple(part.get_shape()),
            _SAFETENSORS_TYPES.get(part.get_dtype(), str(part.get_dtype())),
            lambda name=name: handle.get_tensor(name).to(torch.float32),  # type: ignore[misc]
        )
        for name, part in slices.items()
    }
    stripped, notes = _without_prefix(tensors)
    return TensorFile("safetensors", stripped, notes=tuple(notes))


def _open_torch(path: Path) -> TensorFile:
    content, records = load_torch(path)
    return _from_torch(path, content, Counter(records))


def _from_torch(path: Path, content: Any, records: Counter[int]) -> TensorFile:
    """Take the state dict out of ``content``; ``records`` are the sizes of an archive's records."""
    notes: list[str] = []
    outside = content if isinstance(content, Mapping) else {}
    configuration: Mapping[str, Any] = {}
    quantisation: Mapping[str, Any] = {}
    vocabulary = ""
    if isinstance(content, Mapping) and content.get("format") == OWN_FORMAT:
        configuration = content.get("configuration", {})
        vocabulary = content.get("vocabulary", "")
        quantisation = content.get("quantisation", {})
        content = content.get("state_dict")
        if not isinstance(vocabulary, str) or not all(
            isinstance(part, Mapping) for part in (configuration, quantisation, content)
        ):
            raise InputError(
                f"{path} says it is this project's own format, but does not hold `configuration` "
                "and `state_dict` (mappings) and `vocabulary` (text)."
            )
        notes.append("this project's own format")
    else:
        content = _unwrap(content, notes)
    if not isinstance(content, Mapping) or not content:
        found = "an empty mapping" if isinstance(content, Mapping) else type(content).__name__
        raise InputError(
            f"{path} holds {found}, not a state dict.",
            advice="Save `model.state_dict()` with torch.save.",
        )
    tensors: dict[str, StoredTensor] = {}
    problems: list[str] = []
    for name, value in content.items():
        if not isinstance(name, str):
            problems.append(f"{str(name)[:60]!r}: names must be text")
            continue
        problem = _tensor_problem(value)
        if problem:
            problems.append(f"{name}: {problem}")
        if isinstance(value, Tensor):
            dtype = FLOAT_TYPES.get(value.dtype, str(value.dtype).removeprefix("torch."))
            tensors[name] = StoredTensor(tuple(value.shape), dtype, _loader(value))
    if records:
        problems += _storage_problems(content.values(), records)
    if tensors and "param_shapes" in outside and all(t.shape[:1] == (0,) for t in tensors.values()):
        raise InputError(
            f"{path} is a DeepSpeed ZeRO-3 file of placeholders: the weights are in the files of "
            "the optimiser's partitions beside it.",
            advice="Join them with DeepSpeed's zero_to_fp32.py, then give its output.",
        )
    stripped, prefix_notes = _without_prefix(tensors)
    kind = "torch" if records else "torch-legacy"
    return TensorFile(
        kind, stripped, configuration, vocabulary, quantisation, tuple(problems),
        (*notes, *prefix_notes), {k: v for k, v in outside.items() if k in _FOREIGN},
    )  # fmt: skip


def _unwrap(content: Any, notes: list[str]) -> Any:
    """The state dict inside common wrappers: ``{"state_dict": ...}``, ``{"model": ...}``.

    Tensors may lie beside it (a best loss, a step): a state dict itself holds no mappings.
    """
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        key = next((k for k in _WRAPPERS if isinstance(content.get(k), Mapping)), None)
        if key is None:
            break
        notes.append(f"state dict found under {key!r}")
        content = content[key]
    return content


def _tensor_problem(value: Any) -> str:
    """Why an entry of a state dict is not a plain tensor; empty if it is one."""
    if not isinstance(value, Tensor):
        return f"is {type(value).__name__}, must be a tensor"
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return "is not a plain dense tensor"
    needed = value.numel() * value.element_size()
    if needed > value.untyped_storage().nbytes():
        return f"declares {needed} bytes, the file holds {value.untyped_storage().nbytes()} for it"
    return ""


def _storage_problems(values: Iterable[Any], records: Counter[int]) -> Iterator[str]:
    """Storages whose size no record of the archive has: mapped, they would show other data."""
    storages = [value.untyped_storage() for value in values if not _tensor_problem(value)]
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages if storage.nbytes()}
    for size, count in sorted((Counter(sizes.values()) - records).items()):
        yield f"{count} tensors declare storages of {size} bytes that the archive does not hold"


def _loader(value: Tensor) -> Callable[[], Tensor]:
    return lambda: value.detach().to(torch.float32)


def _without_prefix(
    tensors: dict[str, StoredTensor],
) -> tuple[dict[str, StoredTensor], list[str]]:
    """Names without a prefix that all of them share."""
    notes: list[str] = []
    again = True
    while again and tensors:
        again = False
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in tensors):
                tensors = {name[len(prefix) :]: stored for name, stored in tensors.items()}
                notes.append(f"prefix {prefix!r} removed from all names")
                again = True
    return tensors, notes
