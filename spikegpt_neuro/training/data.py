"""Training text as token ids, and the windows drawn from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.texts import read_text


def read_folder(path: Path) -> str:
    """A text, or all ``*.txt`` files below a folder in sorted order, joined by line ends."""
    if not path.is_dir():
        return read_text(path)
    files = sorted(path.rglob("*.txt"))
    if not files:
        raise InputError(f"{path} holds no .txt file.", advice="Name a file or another folder.")
    return "\n".join(read_text(file) for file in files)


def token_tensor(ids: npt.ArrayLike, vocab_size: int, context: int, what: str) -> Tensor:
    """Token ids as int64 [N]; an ``InputError`` where they do not fit vocabulary or context."""
    tokens = torch.as_tensor(np.asarray(ids, dtype=np.int64))
    if tokens.numel() <= context:
        raise InputError(
            f"{what} has {tokens.numel()} tokens; a context of {context} needs {context + 1}.",
            advice="Use more text or a shorter --context.",
        )
    if int(tokens.max()) >= vocab_size or int(tokens.min()) < 0:
        raise InputError(f"{what} holds token {int(tokens.max())}; vocabulary size {vocab_size}.")
    return tokens


def draw_batch(
    tokens: Tensor, batch: int, context: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Inputs and targets [batch, context] from random positions."""
    starts = generator.integers(0, tokens.numel() - context, batch)
    inputs = torch.stack([tokens[s : s + context] for s in starts])
    targets = torch.stack([tokens[s + 1 : s + context + 1] for s in starts])
    return inputs, targets


def windows(tokens: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """All whole windows in order: inputs and targets [N, context]; i starts at i * context."""
    count = (tokens.numel() - 1) // context
    inputs = tokens[: count * context].view(count, context)
    return inputs, tokens[1 : count * context + 1].view(count, context)
