"""Training a classifier on labelled texts: cross-entropy of the pooled logits.

    last    softmax of the logits after a text's last token
    mean    softmax of their mean over its tokens

Each text starts from rest. Texts of like length are trained together, padded behind their ends:
layers look back only, so that a text never sees its padding. (Only the running statistics of the
spike-driven layout's per-channel norms do, a little.)
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.labelled import LabelledText
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.training import checkpoint
from spikegpt_neuro.training.optimiser import Rates, make_optimisers, schedule, set_share
from spikegpt_neuro.training.spike_counts import SpikeCounts
from spikegpt_neuro.vocabulary import TokenizerVocabulary, Vocabulary

COLUMNS = ("step", "epoch", "seconds", "train_loss_nats", "valid_accuracy", "learning_rate_share")
TEXTS_AT_ONCE = 64
SORTED_BATCHES = 16
"""Batches whose texts are sorted by length together; more would make batches too much alike."""


@dataclass(frozen=True)
class ClassificationSettings:
    """``steps`` of ``batch`` texts, each cut after ``context`` tokens; the rest as in language
    model training. ``rate_penalty``: nats at full spiking (spike-driven)."""

    steps: int
    batch: int = 32
    context: int = 256
    warm_up: int = 0
    clip: float = 1.0
    dropout: float = 0.1
    seed: int = 42
    evaluate_every: int = 250
    rate_penalty: float = 0.0
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}; must be at least 1"
            for name in ("steps", "batch", "context", "evaluate_every")
            if getattr(self, name) < 1
        ]
        if problems:
            raise InputError("These training settings cannot be used.", problems)


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


@dataclass(frozen=True)
class Progress:
    """Where training stands. ``loss``: moving average, nats. ``valid_accuracy``: if just judged."""

    step: int
    steps: int
    seconds: float
    loss: float
    valid_accuracy: float | None


def train_classifier(
    model: SpikeGPT, train: Examples, valid: Examples | None, settings: ClassificationSettings,
    output: Path, vocabulary: str, report: Callable[[Progress], None] = lambda progress: None,
) -> Progress:  # fmt: skip
    """Train in place; writes ``output`` at the end and a CSV log beside it. The last progress."""
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    model.dropout.p = settings.dropout
    optimisers = make_optimisers(model, settings.rates)
    batches = _batches(train, settings.batch, generator)
    each = max(1, -(-len(train.texts) // settings.batch))
    counts = SpikeCounts(model.configuration, counting=False)
    loss_average, began = math.nan, time.perf_counter()
    with output.with_suffix(".csv").open("w", newline="") as stream:
        log = csv.writer(stream)
        log.writerow(COLUMNS)
        model.train()
        for step in range(1, settings.steps + 1):
            tokens, lengths, classes = train.batch(next(batches))
            counts.forget()
            logits, _ = model(tokens, observe=counts)
            likelihood = functional.cross_entropy(
                pooled(logits, lengths, model.configuration.pooling), classes
            )
            loss = likelihood + settings.rate_penalty * counts.penalised
            for optimiser in optimisers:
                optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            share = schedule(step, settings.steps, settings.warm_up)
            set_share(optimisers, share)
            for optimiser in optimisers:
                optimiser.step()
            value = likelihood.item()
            if not math.isfinite(value):
                raise InputError(
                    f"the loss is not finite at step {step}.", advice="Lower the learning rates."
                )
            first = math.isnan(loss_average)
            loss_average = value if first else 0.98 * loss_average + 0.02 * value
            found = None
            if step % settings.evaluate_every == 0 or step == settings.steps:
                found = accuracy(model, valid) if valid is not None else None
                log.writerow(
                    (step, step // each, round(time.perf_counter() - began, 1),
                     round(loss_average, 5), "" if found is None else round(found, 5),
                     round(share, 5))
                )  # fmt: skip
                stream.flush()
            progress = Progress(
                step, settings.steps, time.perf_counter() - began, loss_average, found
            )
            report(progress)
    model.eval()
    checkpoint.save(output, checkpoint.model_content(model, vocabulary))
    return progress


def _batches(
    train: Examples, batch: int, generator: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Endless epochs of batches of like length, in random order."""
    lengths = np.array([text.size for text in train.texts])
    while True:
        order = generator.permutation(len(lengths))
        found = []
        for begin in range(0, len(order), batch * SORTED_BATCHES):
            near = order[begin : begin + batch * SORTED_BATCHES]
            near = near[np.argsort(lengths[near], kind="stable")]
            found += [near[i : i + batch] for i in range(0, len(near), batch)]
        for i in generator.permutation(len(found)):
            yield found[i]
