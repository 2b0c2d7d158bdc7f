"""Starting from another checkpoint: the same layout continues, another layout teaches."""

from __future__ import annotations

from pathlib import Path

import torch

from spikegpt_neuro.converters.checkpoint import read_checkpoint
from spikegpt_neuro.converters.export import float_model
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.training import checkpoint


def read_start(path: Path, vocab_size: int) -> SpikeGPT:
    """The model of our own model file or folder or of a released checkpoint, in evaluation mode."""
    model = checkpoint.load_model(path) if _is_ours(path) else float_model(read_checkpoint(path))
    if model.configuration.vocab_size != vocab_size:
        raise InputError(
            f"{path} has a vocabulary of {model.configuration.vocab_size} tokens, the text of "
            f"{vocab_size}.",
            advice="Give the checkpoint's vocabulary file with --tokens.",
        )
    return model


def _is_ours(path: Path) -> bool:
    if path.is_dir() or path.suffix == ".safetensors":
        return False
    return checkpoint.load(path).get("format") == checkpoint.FORMAT


@torch.no_grad()
def transfer(start: SpikeGPT, model: SpikeGPT) -> int:
    """Copy every parameter of ``start`` whose name and shape ``model`` has; how many.

    Between layouts the norms in front of spike-driven LIFs keep ``model``'s initial gains, because
    they set firing rates there.
    """
    same = start.configuration.layout == model.configuration.layout
    mine = model.state_dict()
    taken = {
        name: value
        for name, value in start.state_dict().items()
        if name in mine
        and mine[name].shape == value.shape
        and (same or not name.endswith(("ln1.weight", "ln1.bias", "ln2.weight", "ln2.bias")))
    }
    if not taken:
        raise InputError("the two models share no tensor of equal name and shape.")
    model.load_state_dict({**mine, **taken})
    return len(taken)
