"""The float model of a checkpoint, to hold the integer network against."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from spikegpt_neuro.converters.checkpoint import RELEASED_LAYOUTS, read_checkpoint
from spikegpt_neuro.converters.export import float_configuration, float_model
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network import LanguageModel, Network
from spikegpt_neuro.scoring import PIECE, Scoring, characters_of, prediction_windows


def load_float_model(path: str | Path, network: Network) -> SpikeGPT:
    """The checkpoint's model, with the embedding and rescaling that ``network`` was exported with.

    Raises InputError if the checkpoint's sizes are not those of the network.
    """
    checkpoint = read_checkpoint(path)
    if not isinstance(network, LanguageModel):
        raise InputError("a chain has no float model of this kind.")
    found, info = checkpoint.architecture, network.info
    if not checkpoint.configuration and {found.layout, info.layout} <= set(RELEASED_LAYOUTS):
        found = replace(found, layout=info.layout)  # names do not tell these apart
    problems = [
        f"{name} is {ours}, the network's is {theirs}"
        for name, ours, theirs in (
            ("layout", found.layout, info.layout),
            ("n_layer", found.n_layer, info.n_layer),
            ("n_embd", found.n_embd, info.n_embd),
            ("labels", _labels(checkpoint.configuration), info.labels),
            ("vocabulary", found.vocabulary_size, info.vocabulary_size),
        )
        if ours != theirs
    ]
    if problems:
        raise InputError(f"{path} is not the checkpoint of this network:", problems)
    configuration = replace(float_configuration(checkpoint), layout=info.layout)  # type: ignore[arg-type]
    exported = info.source.get("configuration")
    if isinstance(exported, dict):
        used = SpikeGPTConfiguration.from_dict(exported)
        configuration = replace(
            configuration, embedding=used.embedding, rescale_every=used.rescale_every
        )
    return float_model(checkpoint, configuration)


def _labels(configuration: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(configuration.get("labels", ()))


def float_scoring(
    model: SpikeGPT,
    tokens: npt.NDArray[np.int64],
    *,
    context: int | None = None,
    limit: int | None = None,
    ends: npt.NDArray[np.int64] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scoring:
    """As ``scoring.score_tokens``, of the float model."""
    windows = prediction_windows(tokens.size, context, limit)
    total = windows[-1].stop
    text = torch.from_numpy(np.ascontiguousarray(tokens))
    bits = []
    for window in windows:
        state = None
        found = 0.0
        for begin in range(window.start, window.stop, PIECE):
            end = min(begin + PIECE, window.stop)
            with torch.inference_mode():
                logits, state = model(text[None, begin:end], state)
                loss = torch.nn.functional.cross_entropy(
                    logits[0].double(), text[begin + 1 : end + 1], reduction="sum"
                )
            found += float(loss) / math.log(2.0)
            progress(end, total)
        bits.append(found)
    return Scoring(tuple(bits), total, characters_of(ends, total), context)
