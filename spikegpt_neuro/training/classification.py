"""Labelled texts as a classifier reads them, and what it decides: the pooled logits.

    last    softmax of the logits after a text's last token
    mean    softmax of their mean over its tokens

Each text starts from rest. Texts of like length are read together, padded behind their ends: layers
look back only, so that a text never sees its padding. (Only the running statistics of the
spike-driven layout's per-channel norms do, a little.) ``classifier_loop`` trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.labelled import LabelledText
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.vocabulary import TokenizerVocabulary, Vocabulary

TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class Examples:
    """Token ids of texts, int64 [T] each, and their classes as places in the labels."""

    texts: tuple[npt.NDArray[np.int64], ...]
    classes: npt.NDArray[np.int64]
    cut: int

    def batch(self, which: Sequence[int] | npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [B, longest], lengths [B] and classes [B] of some texts."""
        lengths = [self.texts[i].size for i in which]
        tokens = np.zeros((len(lengths), max(lengths)), np.int64)
        for row, i in enumerate(which):
            tokens[row, : lengths[row]] = self.texts[i]
        return (
            torch.from_numpy(tokens),
            torch.tensor(lengths),
            torch.from_numpy(self.classes[np.asarray(which)]),
        )


def labels_of(rows: Sequence[LabelledText]) -> tuple[str, ...]:
    """The classes of a labelled file, sorted. Raises InputError where there is only one."""
    labels = tuple(sorted({row.label for row in rows}))
    if len(labels) < 2:
        raise InputError(f"all texts have the label {labels[0]!r}; nothing can be learnt from it.")
    return labels


def examples(
    rows: Sequence[LabelledText], labels: tuple[str, ...], vocabulary: Vocabulary, context: int
) -> Examples:
    """Encode texts. Raises InputError listing labels that are not among ``labels``."""
    unknown = sorted({row.label for row in rows} - set(labels))
    if unknown:
        raise InputError(
            "some texts have classes that the classifier has not.",
            [f"label {label!r}" for label in unknown[:20]],
            f"Its classes: {', '.join(labels)}.",
        )
    encoded = [vocabulary.encode(row.text) for row in rows]
    place = {label: i for i, label in enumerate(labels)}
    return Examples(
        tuple(ids[:context] for ids in encoded),
        np.array([place[row.label] for row in rows]),
        sum(ids.size > context for ids in encoded),
    )


def learnt_vocabulary(texts: Sequence[str], size: int) -> Vocabulary:
    """A byte-level BPE tokenizer of ``size`` tokens, learnt from lower-cased ``texts``."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if size < len(alphabet):
        raise InputError(f"bpe:{size}: a vocabulary has at least the {len(alphabet)} bytes.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(texts, trainer)
    return TokenizerVocabulary(tokenizer.to_str())


def pooled(logits: Tensor, lengths: Tensor, pooling: str) -> Tensor:
    """Logits [B, T, classes] of padded texts to those decided upon, [B, classes]."""
    if pooling == "last":
        return logits[torch.arange(len(lengths)), lengths - 1]
    inside = torch.arange(logits.shape[1])[None] < lengths[:, None]
    return (logits * inside[..., None]).sum(1) / lengths[:, None]


def pooled_after_each(logits: Tensor, pooling: str) -> Tensor:
    """What would be decided upon after each token of logits [B, T, classes]; the same shape."""
    if pooling == "last":
        return logits
    places = torch.arange(1, logits.shape[1] + 1, dtype=logits.dtype)
    return logits.cumsum(1) / places[None, :, None]


@torch.no_grad()
def accuracy(model: SpikeGPT, held: Examples) -> float:
    """Share of texts classified as labelled, by the float model."""
    order = np.argsort([text.size for text in held.texts], kind="stable")
    training, right = model.training, 0
    model.eval()
    for begin in range(0, len(order), TEXTS_AT_ONCE):
        tokens, lengths, classes = held.batch(order[begin : begin + TEXTS_AT_ONCE])
        found = pooled(model(tokens)[0], lengths, model.configuration.pooling).argmax(-1)
        right += int((found == classes).sum())
    model.train(training)
    return right / len(order)
