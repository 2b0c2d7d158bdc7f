"""The training loop: one value of settings in, a trained model out, resumable at any step."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from spikegpt_neuro.converters.builder import QuantisationSettings
from spikegpt_neuro.converters.model_layers import Quantisation
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.readers.guard import parsing
from spikegpt_neuro.training import checkpoint
from spikegpt_neuro.training.data import draw_batch
from spikegpt_neuro.training.evaluation import Evaluation, evaluate, mean_rate
from spikegpt_neuro.training.few_bits import FewBits
from spikegpt_neuro.training.integer_true import IntegerForward, calibrate
from spikegpt_neuro.training.log import Log
from spikegpt_neuro.training.optimiser import make_optimisers, schedule, set_share
from spikegpt_neuro.training.resuming import check_same_run, extension, resume_path
from spikegpt_neuro.training.settings import TrainingSettings
from spikegpt_neuro.training.spike_counts import SpikeCounts

AVERAGE_DECAY = 0.98
"""Of the moving average of the training loss that is reported."""


@dataclass(frozen=True)
class Progress:
    """What the loop reports after a step. ``evaluation`` where one was due.

    ``seconds``: of all sessions of the run, evaluations left out.
    """

    step: int
    steps: int
    tokens: int
    seconds: float
    bits_per_character: float
    events_per_token: float
    additions_per_token: float
    evaluation: Evaluation | None


class Trainer:
    """One run. ``model`` is trained in place; ``output`` and ``output + '.resume'`` are written.

    Multi-device runs pass ``accelerator`` (a Hugging Face ``accelerate.Accelerator``); each process
    then draws its own windows, and the main one writes. ``tensorboard``: folder of event files.
    ``characters_per_token``: of ``train`` and ``valid``, to speak of bits per character.
    """

    def __init__(
        self,
        model: SpikeGPT,
        settings: TrainingSettings,
        train: Tensor,
        valid: Tensor | None,
        output: Path,
        vocabulary: str,
        *,
        teacher: SpikeGPT | None = None,
        accelerator: Any = None,
        tensorboard: Path | None = None,
        characters_per_token: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self.settings, self.train, self.valid = settings, train, valid
        self.output, self.vocabulary, self.teacher = output, vocabulary, teacher
        self.accelerator, self.tensorboard = accelerator, tensorboard
        self.characters_per_token = characters_per_token
        self.model = model
        self.model.dropout.p = settings.dropout
        self.optimisers = make_optimisers(model, settings.rates)
        self.runner: Any = model
        self.device = next(model.parameters()).device
        self.rank, self.processes = 0, 1
        if accelerator is not None:
            prepared = accelerator.prepare(model, *self.optimisers)
            self.runner, self.optimisers = prepared[0], list(prepared[1:])
            self.device, self.rank = accelerator.device, accelerator.process_index
            self.processes = accelerator.num_processes
        if teacher is not None:
            self.teacher = teacher.to(self.device).eval()
        torch.manual_seed(settings.seed + self.rank)
        self.generator = np.random.default_rng([settings.seed, self.rank])
        self.integers: IntegerForward | None = None
        self.few_bits: FewBits | None = None
        self.step = 0
        self.average = math.nan
        self.seconds = 0.0

    @property
    def resume_path(self) -> Path:
        """Where the run's full state is kept."""
        return resume_path(self.output)

    @property
    def log_path(self) -> Path:
        """The CSV log beside the model file."""
        return self.output.with_suffix(".csv")

    @property
    def is_main(self) -> bool:
        """True in the one process that writes."""
        return self.accelerator is None or bool(self.accelerator.is_main_process)

    def run(
        self, report: Callable[[Progress], None] = lambda progress: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Progress:  # fmt: skip
        """Train to the end; ``report`` after every step. The last progress, with its evaluation.

        Where ``stop()`` is true after a step, both files are written and the run ends there; it can
        be resumed. A run that was resumed at its end is evaluated again and changes no file.
        """
        if self.step >= self.settings.steps:
            return self._finished()
        log = Log(self.log_path, self.tensorboard, self.step) if self.is_main else None
        try:
            return self._run(report, log, stop)
        finally:
            if log is not None:
                log.close()

    def _run(
        self, report: Callable[[Progress], None], log: Log | None, stop: Callable[[], bool]
    ) -> Progress:
        settings = self.settings
        self.runner.train(self.integers is None)
        counts = SpikeCounts(self.model.configuration, settings.penalise)
        while True:
            began = time.perf_counter()
            if self.step == settings.steps - settings.integer_steps:
                self._begin_integers()
            self._advance(counts)
            self.seconds += time.perf_counter() - began
            last = self.step >= settings.steps
            evaluation = None
            if log is not None and (last or self.step % settings.evaluate_every == 0):
                if self.valid is not None:
                    evaluation = evaluate(
                        self.model, self.valid, settings.context, self.integers,
                        self.characters_per_token[1],
                    )  # fmt: skip
                self._log(log, counts, evaluation)
            # asked once: a request between two questions would end the run without its files
            stopped = stop()
            if last or stopped or self.step % settings.save_every == 0:
                self._save()
            events, additions, _ = counts.per_token()
            progress = Progress(
                self.step, settings.steps, self.tokens, self.seconds, self.bits_per_character,
                events, additions, evaluation,
            )  # fmt: skip
            report(progress)
            if last or stopped:
                return progress

    def _finished(self) -> Progress:
        """The progress of a run with no steps left."""
        evaluation = None
        if self.valid is not None:
            evaluation = evaluate(
                self.model, self.valid, self.settings.context, self.integers,
                self.characters_per_token[1],
            )  # fmt: skip
        events = 0.0 if evaluation is None else evaluation.events_per_token
        additions = 0.0 if evaluation is None else evaluation.additions_per_token
        return Progress(
            self.step, self.settings.steps, self.tokens, self.seconds, self.bits_per_character,
            events, additions, evaluation,
        )  # fmt: skip

    @property
    def bits_per_character(self) -> float:
        """Moving average over the training text."""
        return self.average / self.characters_per_token[0]

    @property
    def tokens(self) -> int:
        """Tokens trained on so far, by all processes."""
        settings = self.settings
        return self.step * settings.batch * settings.context * self.processes

    @property
    def rate_share(self) -> float:
        """Of the peak learning rates, at this step."""
        settings = self.settings
        return schedule(self.step, settings.steps, settings.warm_up, settings.rates.schedule)

    def _begin_integers(self) -> None:
        """Freeze the scales; from here on the forward pass is the integer network's."""
        settings = self.settings
        bits = QuantisationSettings(settings.activation_bits, settings.accumulator_bits)
        quantisation = calibrate(self.model, self.train, bits)
        if settings.reduces:
            found = FewBits.begin(
                self.model, quantisation, self.train, settings.weight_bits, settings.pruned
            )
            self._learn_steps(found)
        self.integers = IntegerForward(quantisation)
        self.runner.eval()

    def _learn_steps(self, found: FewBits) -> None:
        if self.accelerator is not None:
            raise InputError("weights of few bits are trained in one process.")
        self.few_bits = found
        self.optimisers.append(found.optimiser(self.settings.step_rate))

    def _advance(self, counts: SpikeCounts) -> None:
        """One optimiser step."""
        settings = self.settings
        self.step += 1
        inputs, targets = draw_batch(self.train, settings.batch, settings.context, self.generator)
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        counts.forget()
        due = self.step % settings.evaluate_every == 0 or self.step == settings.steps
        counts.counting = due
        if self.integers is not None and self.few_bits is not None:
            self.integers.take(self.few_bits.trained())
        exact = None if self.integers is None else self.integers(self.model, inputs)
        precise = settings.mixed_precision == "no"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=not precise):
            logits, _ = self._forward(inputs, counts, exact)
        flat = logits.float().flatten(0, 1)
        loss = likelihood = functional.cross_entropy(flat, targets.flatten())
        if self.teacher is not None and settings.distillation:
            with torch.no_grad():
                wanted = torch.softmax(self.teacher(inputs)[0].float().flatten(0, 1), dim=-1)
            share = settings.distillation
            loss = (1 - share) * loss + share * functional.cross_entropy(flat, wanted)
        if settings.rate_penalty:
            loss = loss + settings.rate_penalty * counts.penalised
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        if self.accelerator is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.accelerator.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        set_share(self.optimisers, self.rate_share)
        for optimiser in self.optimisers:
            optimiser.step()
        if self.integers is not None and self.few_bits is not None:
            self.few_bits.keep_zeros(self.model)
            self.integers.take(self.few_bits.trained())  # what is evaluated and saved next
        bits = likelihood.item() / math.log(2.0)
        if not math.isfinite(bits):
            raise InputError(
                f"the loss is not finite at step {self.step}.",
                advice="Lower the learning rates, then resume from the last checkpoint.",
            )
        first = math.isnan(self.average)
        self.average = bits if first else AVERAGE_DECAY * self.average + (1 - AVERAGE_DECAY) * bits

    def _forward(self, inputs: Tensor, counts: SpikeCounts, exact: Any) -> Any:
        if self.few_bits is None:
            return self.runner(inputs, observe=counts, exact=exact)
        weights = self.few_bits.weights(self.model)
        return functional_call(
            self.model, weights, (inputs,), {"observe": counts, "exact": exact}, strict=False
        )

    def _log(self, log: Log, counts: SpikeCounts, evaluation: Evaluation | None) -> None:
        events, additions, _ = counts.per_token()
        rates = counts.firing_rates()
        values = {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "train_bits_per_character": round(self.bits_per_character, 5),
            "learning_rate_share": round(self.rate_share, 5),
        }
        if evaluation is not None:
            events, additions = evaluation.events_per_token, evaluation.additions_per_token
            rates = evaluation.firing_rates
            values["valid_bits_per_character"] = round(evaluation.bits_per_character, 5)
            values["valid_perplexity"] = round(evaluation.perplexity, 4)
        values["events_per_token"], values["additions_per_token"] = round(events), round(additions)
        values["mean_firing_rate"] = round(mean_rate(rates), 4)
        log.write(values, rates)

    def _save(self) -> None:
        """Called in every process; the main one writes."""
        random = [(torch.get_rng_state(), self.generator.bit_generator.state)]
        if self.accelerator is not None:
            gather = importlib.import_module("accelerate.utils").gather_object
            random = gather(random)
        if not self.is_main:
            return
        quantisation = None if self.integers is None else self.integers.quantisation
        content = checkpoint.model_content(self.model, self.vocabulary, quantisation)
        checkpoint.save(self.output, content)
        checkpoint.save(
            self.resume_path,
            {
                **content,
                "step": self.step,
                "average": self.average,
                "seconds": self.seconds,
                "settings": asdict(self.settings),
                "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
                "random": random,
                "few_bits": None if self.few_bits is None else self.few_bits.state(),
            },
        )

    def resume(self) -> str:
        """Go on from the resume file, on a CPU bit for bit as if never interrupted.

        What an extension by more steps does, or ''. Raises ``InputError`` where its settings or
        configuration differ from this run's (``resuming``).
        """
        if not self.resume_path.exists():
            raise InputError(
                f"there is no {self.resume_path} to go on from.",
                advice="Leave out --resume to begin the run, or name the model it wrote.",
            )
        content = checkpoint.load(self.resume_path)
        with parsing(self.resume_path, "a run to go on from"):
            processes = len(content.get("random", ())), self.processes
            check_same_run(
                self.resume_path, content, self.settings, self.model.configuration,
                {"processes": processes},
            )  # fmt: skip
            self._resume(content)
            return extension(content, self.settings)

    def _resume(self, content: dict[str, Any]) -> None:
        self.step, self.average = int(content["step"]), float(content["average"])
        self.seconds = float(content["seconds"])
        if self.step < 0:
            raise InputError(f"{self.resume_path} says step {self.step}.")
        self.model.load_state_dict(content["state_dict"])
        if content.get("few_bits") is not None:
            self._learn_steps(FewBits.from_state(content["few_bits"]))
        for optimiser, state in zip(self.optimisers, content["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        if "quantisation" in content:
            self.integers = IntegerForward(Quantisation.from_dict(content["quantisation"]))
        torch_random, window_random = content["random"][self.rank]
        torch.set_rng_state(torch_random)
        self.generator.bit_generator.state = window_random
