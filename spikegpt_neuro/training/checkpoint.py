"""Checkpoints: what a trained model is stored as, and what a run needs to go on.

A model file is
``{'format': 'spikegpt-neuro', 'version': 1, 'configuration': {...},
'state_dict': {...}, 'vocabulary': '...'}``, plain values and tensors, readable by
``torch.load(weights_only=True)``; ``vocabulary`` is its JSON text. ``'quantisation'`` is added
where training ended in the export's integers: the export then uses these scales. A resume file
beside it (``<name>.resume``) adds optimisers, random states, step and settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from spikegpt_neuro.converters.checkpoint import read_checkpoint
from spikegpt_neuro.converters.export import float_model
from spikegpt_neuro.converters.model_layers import Quantisation
from spikegpt_neuro.converters.torch_archive import load_torch
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network.atomic import replaced_file

FORMAT = "spikegpt-neuro"
VERSION = 1


def save(path: Path, content: dict[str, Any]) -> None:
    """Write atomically: the path holds the old content or the new one, never a third thing."""
    with replaced_file(path) as stream:
        torch.save(content, stream)


def model_content(
    model: SpikeGPT, vocabulary: str, quantisation: Quantisation | None = None
) -> dict[str, Any]:
    """The model file's content."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "configuration": model.configuration.to_dict(),
        "state_dict": {name: value.detach().cpu() for name, value in model.state_dict().items()},
        "vocabulary": vocabulary,
    }
    if quantisation is not None:
        content["quantisation"] = quantisation.to_dict()
    return content


def load(path: Path) -> dict[str, Any]:
    """A file's content; never executes code from it."""
    content, _ = load_torch(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not a checkpoint.")
    return content


def load_model(path: Path) -> SpikeGPT:
    """The model of a model file, or of any checkpoint's folder, in evaluation mode."""
    if path.is_dir():
        return float_model(read_checkpoint(path))
    content = load(path)
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        raise InputError(
            f"{path} is not a {FORMAT} version {VERSION} model file.",
            advice="Released SpikeGPT checkpoints are read by spikegpt_neuro.converters.",
        )
    configuration, tensors = content.get("configuration"), content.get("state_dict")
    if not isinstance(configuration, dict) or not isinstance(tensors, dict):
        raise InputError(f"{path} holds no `configuration` and `state_dict`.")
    model = SpikeGPT(SpikeGPTConfiguration.from_dict(configuration))
    try:
        model.load_state_dict(tensors)
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:
        problems = [line.strip() for line in str(error).splitlines()[1:]]
        raise InputError(f"{path}: tensors do not fit its configuration.", problems) from error
    return model.eval()
