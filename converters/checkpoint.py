"""Reading SpikeGPT checkpoints: safe, lazy, with the architecture inferred from names and shapes.

Names and shapes are those of the released SpikeGPT code (C = ``n_embd``, V = vocabulary,
H = ``n_hidden``): ``emb.weight`` [V, C]; per block ``ln1``, ``ln2`` (``ln0`` in block 0),
``att`` (or ``ffnPre`` in block 0), ``ffn``; ``ln_out``; ``head.weight`` [V, C].
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikegpt_neuro.converters.adapters import base_beside, is_adapted, merged, read_scaling
from spikegpt_neuro.converters.checkpoint_files import (
    FLOAT_TYPES,
    StoredTensor,
    TensorFile,
    open_tensor_file,
    weight_files,
)
from spikegpt_neuro.converters.checkpoint_hints import other_model
from spikegpt_neuro.converters.checkpoint_names import (
    MYELIN,
    myelins_vocabulary,
    with_myelins_names,
    with_released_names,
)
from spikegpt_neuro.converters.folder_configuration import (
    folder_configuration,
    folder_problems,
    with_tied_head,
)
from spikegpt_neuro.converters.neuron_tensors import with_released_neurons
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import configuration_problems
from spikegpt_neuro.vocabulary import IN_FOLDER, read_vocabulary

Shapes = dict[str, tuple[int, ...]]
UPSTREAM, RWKV = "upstream", "rwkv"
RELEASED_LAYOUTS = (UPSTREAM, RWKV)
"""Layouts whose tensors have the same names and shapes: SpikeGPT's neurons have no parameters."""
_COUNTER = ".num_batches_tracked"
"""An integer that torch's batch normalisation keeps; nothing depends on it."""


@dataclass(frozen=True)
class Architecture:
    """What a checkpoint's names and shapes say about its model.

    ``layout``: of a file without a configuration, ``upstream``, unless its names are those of plain
    RWKV-4 only; which of the two a file with the released names is, only its predictions tell.

    ``ffn_pre``: block 0 begins with an FFN (``ffnPre``) in place of its SRWKV. ``known``: fields of
    the configuration that a file of another project says, its layout among them only if it does.
    """

    layout: str
    n_layer: int
    n_embd: int
    vocabulary_size: int
    n_hidden: int
    ffn_pre: bool = False
    known: Mapping[str, Any] = field(default_factory=dict)

    def shapes(self) -> Shapes:
        """Name and shape of every tensor of the released layout."""
        size, hidden = self.n_embd, self.n_hidden
        mix = (1, 1, size)
        shapes: Shapes = {"emb.weight": (self.vocabulary_size, size)}

        def norm(name: str) -> None:
            shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (size,)

        def ffn(name: str) -> None:
            shapes[f"{name}.time_mix_k"] = shapes[f"{name}.time_mix_r"] = mix
            shapes[f"{name}.key.weight"] = (hidden, size)
            shapes[f"{name}.receptance.weight"] = (size, size)
            shapes[f"{name}.value.weight"] = (size, hidden)

        for block in range(self.n_layer):
            path = f"blocks.{block}"
            for name in ("ln0", "ln1", "ln2") if block == 0 else ("ln1", "ln2"):
                norm(f"{path}.{name}")
            if block == 0 and self.ffn_pre:
                ffn(f"{path}.ffnPre")
            else:
                shapes[f"{path}.att.time_decay"] = shapes[f"{path}.att.time_first"] = (size,)
                for part in "kvr":
                    shapes[f"{path}.att.time_mix_{part}"] = mix
                for part in ("key", "value", "receptance", "output"):
                    shapes[f"{path}.att.{part}.weight"] = (size, size)
            ffn(f"{path}.ffn")
        norm("ln_out")
        shapes["head.weight"] = (self.vocabulary_size, size)
        return shapes

    @property
    def parameters(self) -> int:
        """Number of parameters of the released layout."""
        return sum(int(np.prod(shape)) for shape in self.shapes().values())


class LazyTensors(Mapping[str, Tensor]):
    """Tensors by name; read from the file and made float32 each time one is asked for.

    float32 tensors of torch archives stay memory mapped: asking costs no memory.
    """

    def __init__(self, stored: Mapping[str, StoredTensor], shapes: Shapes) -> None:
        self._stored = stored
        self._shapes = shapes

    def __getitem__(self, name: str) -> Tensor:
        stored = self._stored[name]
        return stored.load().reshape(self._shapes.get(name, stored.shape))

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose names, shapes and types were checked; its values are read on demand.

    ``configuration`` and ``quantisation`` (where training ran the export's integers) are those in
    files of our own format; ``vocabulary`` (text of a vocabulary file) is in those of others, too.
    ``files``: those the weights were read from.
    """

    path: Path
    format: str
    architecture: Architecture
    tensors: LazyTensors
    dtypes: tuple[str, ...]
    configuration: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: str = ""
    quantisation: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def array(self, name: str) -> npt.NDArray[np.float32]:
        """A tensor's values as a numpy array, float32."""
        return self.tensors[name].numpy()

    def check_values(self, names: Iterable[str] | None = None) -> None:
        """Check that all values of the tensors named (all tensors by default) are finite.

        Reads one tensor at a time, so that a caller that streams can check on the way. Raises
        InputError listing every tensor with NaN or infinite values (in float32).
        """
        names = self.tensors if names is None else names
        problems = [p for name in names for p in _value_problems(name, self.tensors[name])]
        if problems:
            raise InputError(
                f"{self.path} holds values that are not finite in float32:",
                problems,
                "The training run that wrote it diverged, or the file is damaged.",
            )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, hexadecimal; of several, of their contents one after another."""
        digest = hashlib.sha256()
        for file in self.files:
            with file.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
        return digest.hexdigest()


def read_checkpoint(
    path: str | Path, *, adapter: str | Path | None = None, lora_alpha: float | None = None
) -> Checkpoint:
    """Read a checkpoint's names, shapes and types; its values later, tensor by tensor.

    Accepts what docs/checkpoints.md lists. ``adapter``: a file or folder of LoRA adapters to merge;
    ``lora_alpha``: their alpha, where no file says it. Raises InputError with every problem.
    """
    path = Path(path)
    file, files = _open_with_adapters(path, adapter, lora_alpha)
    file, neurons, known = with_myelins_names(file, _mapping(file.foreign.get("config")))
    if file.foreign.get("format") == MYELIN:
        file = replace(file, vocabulary=myelins_vocabulary(file.foreign.get("vocabulary")))
    elif path.is_dir() and not file.vocabulary:
        file = _with_folders_vocabulary(path, file)
    described = folder_configuration(path)
    file, plain = with_released_names(_without_mask(file))
    file = with_tied_head(file, described)
    if (other := other_model(file.tensors)) is not None:
        what, advice = other
        raise InputError(f"{path} is not a SpikeGPT checkpoint: {what}.", advice=advice)
    if not file.configuration:
        file, found = with_released_neurons(file, neurons)
        known = {**found, **known}
    layout = str(file.configuration.get("layout", known.get("layout", RWKV if plain else UPSTREAM)))
    architecture, problems = _architecture(path, file, layout)
    architecture = replace(architecture, known=known)
    problems += folder_problems(described, architecture)
    shapes = architecture.shapes()
    if file.configuration:
        problems += configuration_problems(file.configuration, partial=True)
    own_shapes = layout not in RELEASED_LAYOUTS or bool(file.configuration.get("labels"))
    if own_shapes and not problems:
        shapes = _configured_shapes(file)
    problems += _schema_problems(file, shapes)
    if problems:
        # values are checked while streaming, which will not happen: tell of them here, unless the
        # file lies about what it stores
        for name in [] if file.problems else sorted(file.tensors, key=_natural):
            if file.tensors[name].dtype in FLOAT_TYPES.values():
                problems += _value_problems(name, file.tensors[name].load())
        raise InputError(
            f"{path} is not a SpikeGPT checkpoint that can be used ({len(problems)} problems):",
            problems,
            _advice(file),
        )
    dtypes = tuple(sorted({stored.dtype for stored in file.tensors.values()}))
    return Checkpoint(
        path, file.kind, architecture, LazyTensors(file.tensors, shapes), dtypes,
        dict(file.configuration), file.vocabulary, dict(file.quantisation), file.notes, files,
    )  # fmt: skip


def _open_with_adapters(
    path: Path, adapter: str | Path | None, alpha: float | None
) -> tuple[TensorFile, tuple[Path, ...]]:
    """The tensors of ``path`` with adapters merged, and the files they are from.

    Adapters are those in ``adapter``, or in ``path`` itself: beside their base's weights, or alone
    and with a base that their configuration names.
    """
    file, files = open_tensor_file(path), weight_files(path)
    beside = path if adapter is None else Path(adapter)
    parts = file if adapter is None else open_tensor_file(beside)
    if adapter is not None:
        files = [*files, *weight_files(beside)]
        if not is_adapted(parts.tensors):
            raise InputError(f"{adapter} holds no LoRA adapters.")
    elif not is_adapted(parts.tensors):
        return file, tuple(files)
    elif not any(name.endswith("emb.weight") for name in parts.tensors):
        base = base_beside(beside)
        if base is None:
            raise InputError(
                f"{path} holds LoRA adapters without the weights they adapt.",
                advice="Give the base checkpoint, and this as --adapter.",
            )
        file, files = open_tensor_file(base), [*weight_files(base), *files]
    return merged(file, parts, read_scaling(beside, alpha)), tuple(files)


def _with_folders_vocabulary(path: Path, file: TensorFile) -> TensorFile:
    """With the vocabulary of a Hugging Face folder, and a note of what it is or why it is not."""
    found = next((path / name for name in IN_FOLDER if (path / name).is_file()), None)
    if found is None:
        return file
    try:
        text, note = read_vocabulary(path).text, f"vocabulary: {found.name}"
    except InputError as error:
        text, note = "", f"{found.name} is not read as the vocabulary: {error.summary}"
    return replace(file, vocabulary=text, notes=(*file.notes, note))


def _without_mask(file: TensorFile) -> TensorFile:
    """Without the copy head's mask where there is no copy head: nothing then depends on it."""
    if "copy_mask" not in file.tensors or "head_q.weight" in file.tensors:
        return file
    return replace(file, tensors={k: v for k, v in file.tensors.items() if k != "copy_mask"})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _architecture(path: Path, file: TensorFile, layout: str) -> tuple[Architecture, list[str]]:
    """The architecture that names and shapes tell, and what they leave open."""
    tensors = file.tensors
    problems = list(file.problems)
    numbers = {
        int(found.group(1)) for name in tensors if (found := re.match(r"blocks\.(\d{1,6})\.", name))
    }
    if not numbers and "emb.weight" not in tensors:
        names = ", ".join(sorted(tensors)[:5]) or "none"
        raise InputError(
            f"{path} is not a SpikeGPT checkpoint: it has neither `emb.weight` nor blocks.",
            [*problems, f"its tensors: {names}{', ...' if len(tensors) > 5 else ''}"],
        )
    n_layer = max(numbers, default=-1) + 1
    if len(numbers) < n_layer:
        gaps = [str(number) for number in range(min(n_layer, 1000)) if number not in numbers]
        problems.append(f"blocks {', '.join(gaps[:20])} are missing, block {n_layer - 1} is there")
        n_layer = len(numbers)
    if not numbers:
        problems.append("it has no blocks")

    def size(axis: int, *patterns: str) -> int:
        for pattern in patterns:
            for name, stored in tensors.items():
                if re.fullmatch(pattern, name) and len(stored.shape) > axis:
                    return stored.shape[axis]
        return 0

    architecture = Architecture(
        layout=layout,
        n_layer=n_layer,
        n_embd=size(1, r"emb\.weight", r"head\.weight") or size(0, r"ln_out\.weight"),
        vocabulary_size=size(0, r"emb\.weight", r"head\.weight"),
        n_hidden=size(0, r"blocks\.\d+\.ffn\.key\.weight"),
        ffn_pre=any(name.startswith("blocks.0.ffnPre.") for name in tensors),
    )
    problems += [
        f"the configuration says {key} = {file.configuration[key]!r}, the tensors {value}"
        for key, value in (
            ("n_layer", architecture.n_layer),
            ("n_embd", architecture.n_embd),
            ("vocab_size", architecture.vocabulary_size),
        )
        if key in file.configuration and file.configuration[key] != value
    ]
    return architecture, problems


def _configured_shapes(file: TensorFile) -> Shapes:
    """Names and shapes of the model that this project's own configuration describes."""
    from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
    from spikegpt_neuro.model.spikegpt import SpikeGPT

    with torch.device("meta"):  # shapes only, nothing is allocated
        model = SpikeGPT(SpikeGPTConfiguration.from_dict(file.configuration))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _schema_problems(file: TensorFile, shapes: Shapes) -> list[str]:
    """Missing, unexpected, wrongly shaped and wrongly typed tensors, each list sorted."""
    tensors = file.tensors
    found, expected = set(tensors), set(shapes)
    problems = [f"{name}: missing" for name in sorted(expected - found, key=_natural)]
    problems += [f"{name}: unexpected" for name in sorted(found - expected, key=_natural)]
    problems += [
        f"{name}: shape {list(tensors[name].shape)}, must be {list(shapes[name])}"
        for name in sorted(expected & found, key=_natural)
        if not _same_shape(tensors[name].shape, shapes[name])
    ]
    problems += [
        f"{name}: type {stored.dtype}, must be {', '.join(FLOAT_TYPES.values())}"
        for name, stored in sorted(tensors.items(), key=lambda item: _natural(item[0]))
        if stored.dtype not in FLOAT_TYPES.values() and not name.endswith(_COUNTER)
    ]
    if any(0 in shape for shape in shapes.values()):
        problems.append("a size is 0 or could not be inferred")
    return problems


def _value_problems(name: str, values: Tensor) -> Iterator[str]:
    """What is not finite in a tensor, float32."""
    if values.numel() and not all(map(torch.isfinite, torch.aminmax(values))):
        nan, infinite = int(torch.isnan(values).sum()), int(torch.isinf(values).sum())
        yield f"{name}: {nan} NaN and {infinite} infinite values"


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorting key in which block 10 follows block 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _same_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Equal, or equal but for axes of length 1 (mix factors are stored as [C] or [1, 1, C])."""
    squeezed = tuple(n for n in found if n != 1)
    return found == expected or squeezed == tuple(n for n in expected if n != 1)


def _advice(file: TensorFile) -> str:
    if {"head_q.weight", "head_k.weight"} & set(file.tensors):
        return "Checkpoints with a copy head (RWKV_HEAD_QK_DIM > 0) are not supported."
    return "Expected the tensors of the released SpikeGPT code; docs/checkpoints.md lists them."
