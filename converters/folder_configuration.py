"""``config.json`` of a Hugging Face folder: what it says of the weights beside it, checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from spikegpt_neuro.converters.checkpoint_files import TensorFile
from spikegpt_neuro.readers.json_file import read_json

EPSILON = 1e-5
"""What every LayerNorm of the released code adds to a variance."""
_SIZES = {
    "num_hidden_layers": "n_layer", "n_layer": "n_layer", "hidden_size": "n_embd",
    "n_embd": "n_embd", "vocab_size": "vocabulary_size", "intermediate_size": "n_hidden",
}  # fmt: skip
"""Keys of ``config.json``, and the ``Architecture``'s names of the same."""


def folder_configuration(path: Path) -> Mapping[str, Any]:
    """The configuration in a folder; empty of a file, or where there is none."""
    file = path / "config.json"
    return read_json(file, "a model's configuration") if file.is_file() else {}


def with_tied_head(file: TensorFile, configuration: Mapping[str, Any]) -> TensorFile:
    """With the embedding as the head, where the configuration ties them: one is stored then."""
    tied = configuration.get("tie_word_embeddings") is True
    if not tied or "head.weight" in file.tensors or "emb.weight" not in file.tensors:
        return file
    tensors = {**file.tensors, "head.weight": file.tensors["emb.weight"]}
    note = "head.weight is emb.weight (config.json: tie_word_embeddings)"
    return replace(file, tensors=tensors, notes=(*file.notes, note))


def folder_problems(configuration: Mapping[str, Any], architecture: Any) -> Iterator[str]:
    """Where the configuration says another model than the ``Architecture`` of the tensors."""
    for key, name in _SIZES.items():
        said, found = configuration.get(key), getattr(architecture, name)
        if said is not None and said != found:
            yield f"config.json says {key} = {said!r:.40}, the tensors {found}"
    epsilon = configuration.get("layer_norm_epsilon", EPSILON)
    if epsilon != EPSILON:
        yield f"config.json: layer_norm_epsilon is {epsilon!r:.40}, must be {EPSILON}"
