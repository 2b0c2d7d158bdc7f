"""Training a classifier: cross-entropy of what it decides upon, resumable at any step.

Writes what language models' training does: the model file, ``<name>.resume`` and a CSV log.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.readers.guard import parsing
from spikegpt_neuro.training import checkpoint
from spikegpt_neuro.training.classification import Examples, accuracy, pooled, pooled_after_each
from spikegpt_neuro.training.log import begin_table
from spikegpt_neuro.training.optimiser import Rates, make_optimisers, schedule, set_share
from spikegpt_neuro.training.resuming import check_same_run, extension, resume_path
from spikegpt_neuro.training.spike_counts import SpikeCounts

COLUMNS = ("step", "epoch", "seconds", "train_loss_nats", "valid_accuracy", "learning_rate_share")
SORTED_BATCHES = 16
"""Batches whose texts are sorted by length together; more would make batches too much alike."""
AVERAGE_DECAY = 0.98


@dataclass(frozen=True)
class ClassificationSettings:
    """``steps`` of ``batch`` texts, each cut after ``context`` tokens; the rest as in language
    model training. ``rate_penalty``: nats at full spiking (spike-driven).

    ``every_token``: half of the loss is the mean over all tokens of what would be decided after
    each, so that a decision taken early, and its probability, can be relied upon.
    """

    steps: int
    batch: int = 32
    context: int = 256
    warm_up: int = 0
    clip: float = 1.0
    dropout: float = 0.1
    seed: int = 42
    evaluate_every: int = 250
    save_every: int = 200
    rate_penalty: float = 0.0
    every_token: bool = False
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}; must be at least 1"
            for name in ("steps", "batch", "context", "evaluate_every", "save_every")
            if getattr(self, name) < 1
        ]
        problems += self.rates.problems()
        if problems:
            raise InputError("These training settings cannot be used.", problems)


@dataclass(frozen=True)
class Progress:
    """Where training stands. ``loss``: moving average, nats. ``valid_accuracy``: if just judged."""

    step: int
    steps: int
    seconds: float
    loss: float
    valid_accuracy: float | None


class ClassifierTrainer:
    """One run. ``model`` is trained in place; ``output``, its resume file and log are written."""

    def __init__(
        self, model: SpikeGPT, train: Examples, valid: Examples | None,
        settings: ClassificationSettings, output: Path, vocabulary: str,
    ) -> None:  # fmt: skip
        self.model, self.train, self.valid = model, train, valid
        self.settings, self.output, self.vocabulary = settings, output, vocabulary
        model.dropout.p = settings.dropout
        self.optimisers = make_optimisers(model, settings.rates)
        torch.manual_seed(settings.seed)
        self.batches = _Batches(train, settings.batch, np.random.default_rng(settings.seed))
        self.step, self.seconds, self.average = 0, 0.0, math.nan

    @property
    def log_path(self) -> Path:
        """The CSV log beside the model file."""
        return self.output.with_suffix(".csv")

    def run(
        self, report: Callable[[Progress], None] = lambda progress: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Progress:  # fmt: skip
        """Train to the end, or until ``stop()`` is true after a step; both leave all files."""
        settings = self.settings
        if self.step >= settings.steps:
            return self._progress(self._judge())
        begin_table(self.log_path, COLUMNS, self.step)
        each = max(1, -(-len(self.train.texts) // settings.batch))
        counts = SpikeCounts(self.model.configuration, counting=False)
        self.model.train()
        while True:
            began = time.perf_counter()
            self._advance(counts)
            self.seconds += time.perf_counter() - began
            last = self.step >= settings.steps
            found = None
            if last or self.step % settings.evaluate_every == 0:
                found = self._judge()
                self._log(found, self.step // each)
            stopped = stop()
            if last or stopped or self.step % settings.save_every == 0:
                self._save()
            progress = self._progress(found)
            report(progress)
            if last or stopped:
                self.model.eval()
                return progress

    def resume(self) -> str:
        """Go on from the resume file, bit for bit; what an extension by more steps does, or ''."""
        path = resume_path(self.output)
        if not path.exists():
            raise InputError(
                f"there is no {path} to go on from.",
                advice="Leave out --resume to begin the run, or name the model it wrote.",
            )
        content = checkpoint.load(path)
        with parsing(path, "a run to go on from"):
            texts = content.get("texts"), len(self.train.texts)
            check_same_run(
                path, content, self.settings, self.model.configuration, {"training texts": texts}
            )
            self.step, self.average = int(content["step"]), float(content["average"])
            self.seconds = float(content["seconds"])
            self.model.load_state_dict(content["state_dict"])
            for optimiser, state in zip(self.optimisers, content["optimisers"], strict=True):
                optimiser.load_state_dict(state)
            torch.set_rng_state(content["random"][0])
            self.batches.go_to(content["random"][1], int(content["place"]))
            return extension(content, self.settings)

    def _progress(self, found: float | None) -> Progress:
        return Progress(self.step, self.settings.steps, self.seconds, self.average, found)

    def _judge(self) -> float | None:
        return None if self.valid is None else accuracy(self.model, self.valid)

    def _advance(self, counts: SpikeCounts) -> None:
        """One optimiser step."""
        settings = self.settings
        self.step += 1
        tokens, lengths, classes = self.train.batch(self.batches.next())
        counts.forget()
        logits, _ = self.model(tokens, observe=counts)
        likelihood = self._likelihood(logits, lengths, classes)
        loss = likelihood + settings.rate_penalty * counts.penalised
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        set_share(self.optimisers, self._rate_share)
        for optimiser in self.optimisers:
            optimiser.step()
        value = likelihood.item()
        if not math.isfinite(value):
            raise InputError(
                f"the loss is not finite at step {self.step}.", advice="Lower the learning rates."
            )
        first = math.isnan(self.average)
        self.average = (
            value if first else AVERAGE_DECAY * self.average + (1 - AVERAGE_DECAY) * value
        )

    def _likelihood(self, logits: Tensor, lengths: Tensor, classes: Tensor) -> Tensor:
        pooling = self.model.configuration.pooling
        end = functional.cross_entropy(pooled(logits, lengths, pooling), classes)
        if not self.settings.every_token:
            return end
        after = pooled_after_each(logits, pooling).transpose(1, 2)
        each = functional.cross_entropy(
            after, classes[:, None].expand(-1, logits.shape[1]), reduction="none"
        )
        inside = torch.arange(logits.shape[1])[None] < lengths[:, None]
        return (end + ((each * inside).sum(1) / lengths).mean()) / 2

    @property
    def _rate_share(self) -> float:
        settings = self.settings
        return schedule(self.step, settings.steps, settings.warm_up, settings.rates.schedule)

    def _log(self, found: float | None, epoch: int) -> None:
        row = (
            self.step, epoch, round(self.seconds, 1), round(self.average, 5),
            "" if found is None else round(found, 5), round(self._rate_share, 5),
        )  # fmt: skip
        with self.log_path.open("a", newline="") as stream:
            csv.writer(stream).writerow(row)

    def _save(self) -> None:
        content: dict[str, Any] = checkpoint.model_content(self.model, self.vocabulary)
        checkpoint.save(self.output, content)
        random, place = self.batches.state
        content |= {
            "step": self.step, "average": self.average, "seconds": self.seconds,
            "settings": asdict(self.settings), "texts": len(self.train.texts),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "random": (torch.get_rng_state(), random), "place": place,
        }  # fmt: skip
        checkpoint.save(resume_path(self.output), content)


class _Batches:
    """Endless epochs of batches of like length, in random order, that can be gone on with."""

    def __init__(self, train: Examples, batch: int, generator: np.random.Generator) -> None:
        self._lengths = np.array([text.size for text in train.texts])
        self._batch, self._generator = batch, generator
        self._begin()

    def next(self) -> npt.NDArray[np.int64]:
        """The places of the next batch's texts."""
        if self._place == len(self._epoch):
            self._begin()
        self._place += 1
        return self._epoch[self._place - 1]

    @property
    def state(self) -> tuple[Any, int]:
        """The generator's state where this epoch began, and the batches taken from it."""
        return self._began, self._place

    def go_to(self, began: Any, place: int) -> None:
        """Return to a ``state``."""
        self._generator.bit_generator.state = began
        self._begin()
        self._place = place

    def _begin(self) -> None:
        self._began = self._generator.bit_generator.state
        order = self._generator.permutation(len(self._lengths))
        found = []
        for begin in range(0, len(order), self._batch * SORTED_BATCHES):
            near = order[begin : begin + self._batch * SORTED_BATCHES]
            near = near[np.argsort(self._lengths[near], kind="stable")]
            found += [near[i : i + self._batch] for i in range(0, len(near), self._batch)]
        self._epoch = [found[i] for i in self._generator.permutation(len(found))]
        self._place = 0
