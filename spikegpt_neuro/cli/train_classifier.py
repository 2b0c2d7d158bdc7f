"""``train --task classify``: what differs from training a language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikegpt_neuro.cli.interrupts import asked_to_stop, finish
from spikegpt_neuro.cli.output import Output
from spikegpt_neuro.errors import InputError

if TYPE_CHECKING:
    from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
    from spikegpt_neuro.training.classifier_loop import ClassificationSettings, Progress
    from spikegpt_neuro.vocabulary import Vocabulary


def train_on_labels(
    output: Output, corpus: Path, valid: Path | None, path: Path, tokens: str,
    source: Path | None,
    configure: Callable[[int, tuple[str, ...]], SpikeGPTConfiguration],
    settings: ClassificationSettings, firing: tuple[float, float], *, resume: bool,
    log_every: float,
) -> None:  # fmt: skip
    """Train a classifier on labelled files; ``configure`` from vocabulary size and labels.

    ``firing``: gain and bias before every LIF at the start. ``tokens``: as of a language model, or
    'bpe:N'; 'characters' with a ``source`` that holds a vocabulary means that one.
    """
    import torch

    from spikegpt_neuro.labelled import read_labelled
    from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
    from spikegpt_neuro.training import classification
    from spikegpt_neuro.training.classifier_loop import ClassifierTrainer
    from spikegpt_neuro.training.start import read_start, transfer

    rows = read_labelled(corpus)
    held_rows = None if valid is None else read_labelled(valid)
    labels = classification.labels_of(rows)
    every_text = [row.text for row in (*rows, *(held_rows or ()))]
    vocabulary = _vocabulary(tokens, source, [row.text for row in rows], every_text)
    train = classification.examples(rows, labels, vocabulary, settings.context)
    held = None
    if held_rows is not None:
        held = classification.examples(held_rows, labels, vocabulary, settings.context)
    torch.manual_seed(settings.seed)
    model = SpikeGPT(configure(vocabulary.size, labels))
    initialise(model, *firing)
    if source is not None:
        start = read_start(source, vocab_size=vocabulary.size)
        if start.configuration.layout != model.configuration.layout:
            raise InputError(
                f"{source} is in the {start.configuration.layout} layout, the classifier in "
                f"{model.configuration.layout}.",
                advice=f"Give --layout {start.configuration.layout}.",
            )
        transfer(start, model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    mean = sum(text.size for text in train.texts) / len(train.texts)
    output.note(
        f"{parameters} parameters, {len(rows)} texts of {mean:.1f} tokens on average "
        f"({train.cut} cut at {settings.context}), classes {', '.join(labels)}"
    )
    trainer = ClassifierTrainer(model, train, held, settings, path, vocabulary.text)
    extended = trainer.resume() if resume else ""
    if extended:
        output.note(extended)
    if trainer.step >= settings.steps:
        output.note(
            f"all {settings.steps} steps are done; {path} stays as it is. More --steps go on from "
            "here."
        )
    with output.steps("training", log_every) as told, asked_to_stop() as stop:

        def report(progress: Progress) -> None:
            told(progress.step, progress.steps, f"{progress.loss:.3f} nats")
            if progress.valid_accuracy is not None:
                output.note(_line(progress))

        last = trainer.run(report, stop)
    result: dict[str, Any] = {
        "output": str(path), "parameters": parameters, "classes": list(labels),
        "seconds": last.seconds, "train_loss_nats": last.loss,
    }  # fmt: skip
    if last.valid_accuracy is not None:
        result["valid_accuracy"] = last.valid_accuracy
    finish(output, result, last.step, last.steps, f"{path}: {_line(last)}")


def _line(progress: Progress) -> str:
    line = (
        f"step {progress.step}/{progress.steps}, training {progress.loss:.3f} nats, "
        f"{progress.seconds:.0f} s"
    )
    if progress.valid_accuracy is not None:
        line += f"; {progress.valid_accuracy:.2%} of the validation texts right"
    return line


def _vocabulary(tokens: str, source: Path | None, train: list[str], every: list[str]) -> Vocabulary:
    from spikegpt_neuro.training.classification import learnt_vocabulary
    from spikegpt_neuro.training.corpus import byte_vocabulary
    from spikegpt_neuro.vocabulary import CharacterVocabulary, parse_vocabulary, read_vocabulary

    kind, _, size = tokens.partition(":")
    if kind == "bpe" and size.isdigit():
        return learnt_vocabulary(train, int(size))
    if tokens == "characters" and source is not None:
        from spikegpt_neuro.converters.checkpoint import read_checkpoint

        stored = read_checkpoint(source).vocabulary
        if stored:
            return parse_vocabulary(stored, f"the vocabulary in {source}")
    if tokens == "characters":
        return CharacterVocabulary(sorted({c for text in every for c in text}))
    return byte_vocabulary() if tokens == "bytes" else read_vocabulary(tokens)
