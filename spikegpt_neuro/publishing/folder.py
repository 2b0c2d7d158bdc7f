"""A model as a folder: config.json, model.safetensors, the vocabulary, README.md (the model card).

The folder is made beside its place and put there when it is whole (``network.atomic``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from spikegpt_neuro.converters.checkpoint import Checkpoint, read_checkpoint
from spikegpt_neuro.converters.export import export_checkpoint, float_configuration, float_model
from spikegpt_neuro.converters.model_folder import (
    CONFIGURATION,
    PREFIX,
    TOKENIZER,
    VOCABULARY,
    WEIGHTS,
    configuration_content,
)
from spikegpt_neuro.energy.study import DEFAULT_PROFILES
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.atomic import check_replaceable, replaced_folder
from spikegpt_neuro.publishing.card import CARD, Findings, find, model_card
from spikegpt_neuro.publishing.tokenizer_files import TOKENIZER_SETTINGS, tokenizer_files
from spikegpt_neuro.scratch import scratch_folder
from spikegpt_neuro.vocabulary import Vocabulary, parse_vocabulary, read_vocabulary

FILES: Final = (CONFIGURATION, WEIGHTS, VOCABULARY, TOKENIZER, TOKENIZER_SETTINGS, CARD)
"""Every file of a folder; one that holds any other is not replaced."""
CALIBRATION_TOKENS: Final = 8192
"""Tokens of a text that ranges are measured on, where the integers are made for the card."""
Progress = Callable[[int, int], None]


def save(
    folder: str | PathLike[str],
    model: str | PathLike[str],
    *,
    vocabulary: str | PathLike[str] | None = None,
    network: LanguageModel | None = None,
    text: str | None = None,
    calibration: str | None = None,
    tokens: int = 512,
    profiles: Sequence[str] = DEFAULT_PROFILES,
    layout: str | None = None,
    embedding: str | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the checkpoint ``model`` as a folder for ``AutoModelForCausalLM.from_pretrained``.

    ``vocabulary``: its file, where the checkpoint holds none. ``text``: what the model card's
    figures are counted on, its first ``tokens`` predictions: bits per character of the floats and
    of the integers, energy and time a token on ``profiles``. The integers are those of ``network``
    (``sn.load`` of an export of this checkpoint), or of an export made for it with ``calibration``
    (a text; default ``text``). ``layout``, ``embedding``: where neither checkpoint nor network say
    them. Raises InputError; ``folder`` then stays as it was. Gives back the folder.
    """
    path = Path(folder)
    check_folder(path, overwrite=overwrite)
    checkpoint = read_checkpoint(Path(model))
    configuration = _configuration(checkpoint, network, layout, embedding)
    known = _vocabulary(checkpoint, vocabulary)
    if text is not None and known is None:
        raise InputError("a text needs a vocabulary, to turn it into tokens.")
    if text is not None and configuration.labels:
        raise InputError("the figures of a card are of language models; this is a classifier.")
    floats = float_model(checkpoint, configuration)
    with replaced_folder(path, known=FILES, overwrite=overwrite) as made:
        tensors = {name: value.contiguous() for name, value in floats.state_dict().items()}
        write_model(made, configuration, tensors, checkpoint.quantisation)
        for name, content in tokenizer_files(known).items():
            (made / name).write_bytes(content)
        findings: Findings | None = None
        if text is not None and known is not None:
            if network is None:
                network = _exported(made, known, text if calibration is None else calibration)
            findings = find(floats, network, known, text, tokens, profiles, progress)
        card = model_card(path.resolve().name, configuration, floats, known, findings)
        (made / CARD).write_text(card, encoding="utf-8")
    return path


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise InputError unless ``save`` may write ``folder``."""
    check_replaceable(folder, known=FILES, overwrite=overwrite)


def write_model(
    folder: Path, configuration: SpikeGPTConfiguration, tensors: Mapping[str, Tensor],
    quantisation: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write config.json and model.safetensors; ``tensors`` as ``SpikeGPT.state_dict``."""
    content = configuration_content(configuration, quantisation)
    text = json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    (folder / CONFIGURATION).write_text(text, encoding="utf-8")
    stored = {f"{PREFIX}{name}": tensor for name, tensor in tensors.items()}
    save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})


def _configuration(
    checkpoint: Checkpoint, network: LanguageModel | None, layout: str | None, embedding: str | None
) -> SpikeGPTConfiguration:
    """The model's configuration: the checkpoint's, with what the export or the caller knew."""
    found = float_configuration(checkpoint)
    told: dict[str, Any] = {"layout": layout, "embedding": embedding}
    if network is not None and isinstance(network.info.source.get("configuration"), dict):
        used = SpikeGPTConfiguration.from_dict(network.info.source["configuration"])
        problems = [
            f"{name}: the checkpoint's is {getattr(found, name)}, the network's "
            f"{getattr(used, name)}"
            for name in ("n_layer", "n_embd", "vocab_size", "hidden_size", "labels")
            if getattr(found, name) != getattr(used, name)
        ]
        if problems:
            raise InputError("the network is not an export of this checkpoint:", problems)
        for name in ("layout", "embedding", "rescale_every"):
            if told.get(name) is None:
                told[name] = getattr(used, name)
    return replace(found, **{name: value for name, value in told.items() if value is not None})


def _vocabulary(checkpoint: Checkpoint, path: str | PathLike[str] | None) -> Vocabulary | None:
    found: Vocabulary | None = None
    if path is not None:
        found = read_vocabulary(Path(path))
    elif checkpoint.vocabulary:
        found = parse_vocabulary(checkpoint.vocabulary, f"the vocabulary in {checkpoint.path}")
    if found is not None:
        found.check_size(checkpoint.architecture.vocabulary_size)
    return found


def _exported(folder: Path, vocabulary: Vocabulary, calibration: str) -> LanguageModel:
    """The integers of the model in a folder that is being made."""
    from spikegpt_neuro.network.file import read_network

    encoded = vocabulary.encode_text(calibration)
    with scratch_folder() as temporary, torch.inference_mode():
        file = temporary / "model.net"
        export_checkpoint(
            read_checkpoint(folder), file, vocabulary=vocabulary.text,
            calibration=encoded.tokens[:CALIBRATION_TOKENS].tolist(),
            characters_per_token=encoded.characters_per_token,
        )  # fmt: skip
        network = read_network(file)
    if not isinstance(network, LanguageModel):
        raise InputError("the figures of a card are of language models.")
    return network
