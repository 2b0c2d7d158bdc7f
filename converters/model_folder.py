"""What ``config.json`` says of a model of ours in a Hugging Face folder.

``config.json`` is ``{"architectures": ["SpikeGPTForCausalLM"], "model_type": "spikegpt_neuro",
"format_version": 1, "spikegpt": {...}}``: ``spikegpt`` is the ``SpikeGPTConfiguration``, as in a
model file; ``"quantisation"`` is added where training ended in the export's integers. Beside it lie
``model.safetensors``, whose names are upstream's behind ``model.``, and the vocabulary:
``vocab.json`` where it is one of characters or RWKV's, else ``tokenizer.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.readers.json_file import read_json

MODEL_TYPE: Final = "spikegpt_neuro"
ARCHITECTURE: Final = "SpikeGPTForCausalLM"
FORMAT_VERSION: Final = 1
PREFIX: Final = "model."
"""Before every tensor's name: the model is the attribute ``model`` of the transformers class."""
CONFIGURATION, WEIGHTS = "config.json", "model.safetensors"
VOCABULARY, TOKENIZER = "vocab.json", "tokenizer.json"


@dataclass(frozen=True)
class FolderDescription:
    """What a folder says beside its tensors; as in ``converters.checkpoint.Checkpoint``."""

    configuration: Mapping[str, Any]
    quantisation: Mapping[str, Any]
    vocabulary: str


def configuration_content(
    configuration: SpikeGPTConfiguration, quantisation: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The content of ``config.json``. A classifier's names no class of transformers."""
    content: dict[str, Any] = {
        "architectures": [] if configuration.labels else [ARCHITECTURE],
        "model_type": MODEL_TYPE,
        "format_version": FORMAT_VERSION,
        "dtype": "float32",
        "spikegpt": configuration.to_dict(),
    }
    if quantisation:
        content["quantisation"] = dict(quantisation)
    return content


def described_by(path: Path) -> FolderDescription | None:
    """What a folder's ``config.json`` says, if it is of this project; None if it is not.

    Raises InputError for a file that is of this project, but damaged or of a later version.
    """
    file = path / CONFIGURATION
    if not file.is_file():
        return None
    values = read_json(file, "a model's configuration")
    if values.get("model_type") != MODEL_TYPE:
        return None
    if values.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{file}: format_version is {values.get('format_version')!r:.40}; this version of "
            f"spikegpt-neuro reads {FORMAT_VERSION}.",
            advice="Use the version that wrote it, or a later one.",
        )
    # transformers writes null where there is none
    configuration, quantisation = values.get("spikegpt"), values.get("quantisation") or {}
    problems = [
        f"{name} is {type(value).__name__}, must be an object"
        for name, value in (("spikegpt", configuration), ("quantisation", quantisation))
        if not isinstance(value, dict)
    ]
    if problems or not isinstance(configuration, dict):
        raise InputError(f"{file} cannot be used:", problems)
    return FolderDescription(configuration, quantisation, _vocabulary(path))


def _vocabulary(path: Path) -> str:
    """The text of the folder's vocabulary: our own form where it is there; empty without one."""
    from spikegpt_neuro.vocabulary import read_vocabulary

    for name in (VOCABULARY, TOKENIZER):
        if (path / name).is_file():
            return read_vocabulary(path / name).text
    return ""
