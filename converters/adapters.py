"""Low-rank adapters (LoRA), merged into the weights they adapt when a checkpoint is read.

An adapted layer computes ``W x + s B A x``: merged, ``W + s B A``, float32, with ``s = alpha / r``,
or ``alpha / sqrt(r)`` (rsLoRA). Names are PEFT's (``<layer>.lora_A[.<adapter>].weight``, the base's
own under ``base_layer``), or loralib's (``<layer>.lora_A``). ``alpha`` is in PEFT's
``adapter_config.json`` beside the file, or told. Source: PEFT's documentation, "PEFT checkpoint
format".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from spikegpt_neuro.converters.checkpoint_files import StoredTensor, TensorFile
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers.json_file import read_json

CONFIGURATION = "adapter_config.json"
_PART = re.compile(
    r"(?P<layer>.+)\.lora_(?P<table>embedding_)?(?P<side>[AB])(\.(?!weight$)(?P<adapter>[^.]+))?"
    r"(\.weight)?"
)
_OTHERS = re.compile(r".+\.(lora_magnitude_vector|lora_[AB].*\.bias|lora_\w+)(\..+)?")
_SAVED = re.compile(r"(?P<layer>.+)\.modules_to_save\.[^.]+\.(?P<name>weight|bias)")
_KEEPS_THE_BASE = (True, False, "gaussian", "eva", "orthogonal")
"""PEFT's ways to begin that leave the base's weights; PiSSA and others take a part out of them."""
_ASK = (
    "Say it with --lora-alpha, if the layers are plain LoRA; a path that is gated by spikes "
    "(SpikeLoRA has the same names) is no matrix and cannot be merged."
)


@dataclass(frozen=True)
class Scaling:
    """``alpha`` None: not known. ``patterns``: other alphas, by how the layer's name ends."""

    alpha: float | None = None
    rank_stabilised: bool = False
    patterns: Mapping[str, float] | None = None

    def of(self, layer: str, rank: int) -> float | None:
        """The factor of a layer's product, None where it is not known."""
        alpha = self.alpha
        for ending, other in (self.patterns or {}).items():
            if re.fullmatch(rf"(.*\.)?{ending}", layer):
                alpha = other
        if alpha is None:
            return None
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def is_adapted(names: Mapping[str, Any]) -> bool:
    """Whether any tensor is a low-rank part."""
    return any(".lora_" in name for name in names)


def read_scaling(path: Path, alpha: float | None) -> Scaling:
    """The scaling that ``adapter_config.json`` in or beside ``path`` gives, or ``alpha``.

    Raises ``InputError`` for adapters of other kinds.
    """
    file = (path if path.is_dir() else path.parent) / CONFIGURATION
    if not file.is_file():
        return Scaling(alpha)
    values = read_json(file, "an adapter's configuration")
    patterns, told = values.get("alpha_pattern") or {}, values.get("lora_alpha")
    numbers = isinstance(patterns, dict) and all(map(_is_number, patterns.values()))
    problems = [
        f"{key} is {values[key]!r:.60}, must be {wanted}"
        for key, wanted, good in (
            ("peft_type", "'LORA'", values.get("peft_type", "LORA") == "LORA"),
            ("use_dora", "false", not values.get("use_dora")),
            ("fan_in_fan_out", "false", not values.get("fan_in_fan_out")),
            ("use_qalora", "false", not values.get("use_qalora")),
            ("layer_replication", "null", not values.get("layer_replication")),
            ("alora_invocation_tokens", "null", not values.get("alora_invocation_tokens")),
            (
                "init_lora_weights",
                "one that leaves the base as it is",
                values.get("init_lora_weights", True) in _KEEPS_THE_BASE,
            ),
            ("lora_alpha", "a number", told is None or _is_number(told)),
            ("alpha_pattern", "names and numbers", numbers),
        )
        if not good
    ]
    if problems:
        raise InputError(f"{file} describes an adapter that cannot be merged:", problems)
    own = told if alpha is None else alpha
    return Scaling(
        own, bool(values.get("use_rslora")), {re.escape(key): v for key, v in patterns.items()}
    )


def base_beside(path: Path) -> Path | None:
    """The base model that an adapter's configuration names, if it is on this machine."""
    file = (path if path.is_dir() else path.parent) / CONFIGURATION
    if not file.is_file():
        return None
    named = read_json(file, "an adapter's configuration").get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        return None
    places = (file.parent / named, Path(named))
    return next((place for place in places if place.exists()), None)


def merged(base: TensorFile, adapter: TensorFile, scaling: Scaling) -> TensorFile:
    """``base`` with the low-rank parts of ``adapter`` in its weights; both may be one file.

    Raises ``InputError`` listing what does not fit.
    """
    tensors = dict(_plain_names(base.tensors)) if adapter is not base else {}
    parts: dict[str, dict[str, StoredTensor]] = {}
    adapters: set[str] = set()
    problems: list[str] = []
    for name, stored in _plain_names(adapter.tensors):
        if found := _PART.fullmatch(name):
            adapters.add(found["adapter"] or "")
            key = found["layer"] + (".table" if found["table"] else "")
            parts.setdefault(key, {})[found["side"]] = stored
        elif _OTHERS.fullmatch(name):
            problems.append(f"{name}: no part of a plain LoRA")
        else:
            tensors[name] = stored
    if len(adapters) > 1:
        problems.append(f"it holds {len(adapters)} adapters: {', '.join(sorted(adapters))[:80]}")
    unknown = 0
    for key, sides in sorted(parts.items()):
        layer = key.removesuffix(".table")
        name = f"{layer}.weight"
        if set(sides) != {"A", "B"} or name not in tensors:
            missing = name if name not in tensors else f"{layer}.lora_{'AB'['A' in sides]}"
            problems.append(f"{missing}: missing")
            continue
        a, b, weight = sides["A"], sides["B"], tensors[name]
        shape = (*b.shape[:1], *a.shape[1:])
        fits = a.shape[:1] == b.shape[1:] and len(a.shape) == len(b.shape) == 2
        if not fits or (shape[::-1] if key != layer else shape) != weight.shape:
            problems.append(f"{layer}: A {list(a.shape)} and B {list(b.shape)} do not fit {name}")
            continue
        factor = scaling.of(layer, a.shape[0])
        if factor is None:
            unknown += bool(b.load().any() and a.load().any())
            continue
        tensors[name] = _adapted(weight, a, b, factor, transposed=key != layer)
    if unknown:
        problems.append(f"alpha, by which {unknown} products are scaled, is not in the file")
    if problems:
        raise InputError(
            f"LoRA adapters cannot be merged ({len(problems)} problems):",
            problems,
            _ASK if unknown else "Merge them where they were trained (`merge_and_unload()`).",
        )
    note = f"LoRA adapters of {len(parts)} layers merged"
    return replace(base, tensors=tensors, notes=(*base.notes, note))


def _plain_names(tensors: Mapping[str, StoredTensor]) -> Iterator[tuple[str, StoredTensor]]:
    """Names as they were before the adapters: PEFT wraps layers, and keeps trained ones beside."""
    saved = {f"{m['layer']}.{m['name']}" for n in tensors if (m := _SAVED.fullmatch(n))}
    for name, stored in tensors.items():
        if found := _SAVED.fullmatch(name):
            yield f"{found['layer']}.{found['name']}", stored
            continue
        plain = name.replace(".base_layer.", ".").replace(".original_module.", ".")
        if plain not in saved:
            yield plain, stored


def _adapted(
    weight: StoredTensor, a: StoredTensor, b: StoredTensor, factor: float, *, transposed: bool
) -> StoredTensor:
    def load() -> Tensor:
        product = b.load() @ a.load()
        return weight.load() + factor * (product.T if transposed else product)

    return replace(weight, load=load)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
