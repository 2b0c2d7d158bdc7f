"""``train``: train a SpikeGPT, or a plain RWKV, on text or as a classifier."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.inputs import check_apart, check_free
from spikegpt_neuro.cli.interrupts import asked_to_stop, finish
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption
from spikegpt_neuro.cli.publish import publish_trained
from spikegpt_neuro.errors import InputError, Unavailable

if TYPE_CHECKING:
    from spikegpt_neuro.model.spikegpt import SpikeGPT
    from spikegpt_neuro.training.evaluation import Evaluation
    from spikegpt_neuro.training.loop import Progress

MODEL, SPIKES, RECIPE, INTEGERS = "Model", "Spikes", "Recipe", "Integers"


def _option(panel: str, help_text: str, *names: str) -> Any:
    """An option under the heading ``panel``; Tab offers the words its help has in quotes."""
    offered = completion.words(*re.findall(r"'([^' ]+)'", help_text))
    return typer.Option(*names, help=help_text, rich_help_panel=panel, autocompletion=offered)


def train(
    corpus: Annotated[
        Path,
        typer.Argument(
            help="Text file, or a folder of .txt files. To classify: .tsv, .csv or .jsonl of label "
            "and text."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
    task: Annotated[
        Literal["predict", "classify"],
        typer.Option(help="Predict the next token, or classify labelled texts."),
    ] = "predict",
    pooling: Annotated[
        str,
        typer.Option(help="Classify: by the logits of the 'last' token, or their 'mean' over all."),
    ] = "last",
    valid: Annotated[Path | None, typer.Option(help="Text to judge the model on.")] = None,
    tokens: Annotated[
        str,
        typer.Option(
            help="'characters', 'bytes', or a vocabulary file of any kind that `export` takes. "
            "Classify: also 'bpe:N', learnt from the texts; with --from, that file's own."
        ),
    ] = "characters",
    every_token: Annotated[
        bool,
        typer.Option(
            "--every-token",
            help="Classify: learn to decide after each token, too, not only the last.",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on where OUTPUT.resume is; with more --steps, beyond its end."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite OUTPUT, OUTPUT.resume and the log.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Start from this checkpoint; other layouts by distillation."),
    ] = None,
    distillation: Annotated[
        float | None,
        typer.Option(
            help="Share of the loss from a teacher (0.5 with --teacher or across layouts)."
        ),
    ] = None,
    teacher_file: Annotated[
        Path | None,
        typer.Option("--teacher", help="Distil from this checkpoint, starting afresh."),
    ] = None,
    preset: Annotated[str, _option(MODEL, "'tiny', '46m', '125m', '216m' or '260m'.")] = "tiny",
    layers: Annotated[int | None, _option(MODEL, "Blocks, instead of the preset's.")] = None,
    width: Annotated[int | None, _option(MODEL, "Channels, instead of the preset's.")] = None,
    layout: Annotated[
        str, _option(MODEL, "'spike-driven', 'upstream', or 'rwkv': plain RWKV-4.")
    ] = "spike-driven",
    embedding: Annotated[str, _option(MODEL, "'binary' or 'real'.")] = "binary",
    branches: Annotated[
        str, _option(SPIKES, "'sequential', or 'parallel': SRWKV and SRFFN side by side.")
    ] = "sequential",
    norm: Annotated[str, _option(SPIKES, "'layer', or 'batch', which folds away.")] = "layer",
    levels: Annotated[int, _option(SPIKES, "Largest spike of every LIF; 1: binary.")] = 3,
    levels_hidden: Annotated[int | None, _option(SPIKES, "The same behind the FFN key.")] = None,
    levels_head: Annotated[int, _option(SPIKES, "The same before the head; 0: no LIF there.")] = 0,
    decay: Annotated[int, _option(SPIKES, "Membrane leak in 1/4096; 4096: memoryless.")] = 4096,
    soft_reset: Annotated[bool, _option(SPIKES, "Subtract or zero the membrane.")] = True,
    firing_gain: Annotated[float, _option(SPIKES, "Gain before every LIF at the start.")] = 1.2,
    firing_bias: Annotated[float, _option(SPIKES, "Bias before every LIF at the start.")] = 0.0,
    rate_penalty: Annotated[float, _option(SPIKES, "Nats a token at full spiking.")] = 0.0,
    penalise: Annotated[
        str, _option(SPIKES, "What it counts: 'additions', or 'events' of any level.")
    ] = "additions",
    steps: Annotated[int, _option(RECIPE, "Optimiser steps.")] = 2925,
    batch: Annotated[int, _option(RECIPE, "Windows a step.")] = 8,
    context: Annotated[int, _option(RECIPE, "Tokens a window.")] = 256,
    recipe: Annotated[str, _option(RECIPE, "'adam' (upstream's) or 'muon'.")] = "adam",
    learning_rate: Annotated[float, _option(RECIPE, "Adam's peak learning rate.")] = 6e-4,
    muon_rate: Annotated[float, _option(RECIPE, "Muon's peak learning rate.")] = 2e-3,
    neuron_factor: Annotated[
        float, _option(RECIPE, "Learning-rate factor of gains, biases, shifts, decays.")
    ] = 1.0,
    schedule: Annotated[
        str, _option(RECIPE, "Of the rates: 'cosine' over all steps, or 'constant'.")
    ] = "cosine",
    warm_up: Annotated[int, _option(RECIPE, "Steps of linear warm-up.")] = 0,
    clip: Annotated[float, _option(RECIPE, "Largest gradient norm.")] = 1.0,
    dropout: Annotated[float, _option(RECIPE, "On the stream behind each block.")] = 0.03,
    seed: Annotated[int, _option(RECIPE, "Random seed.")] = 42,
    integer_steps: Annotated[
        int, _option(INTEGERS, "Last steps, run in the export's exact integer arithmetic.")
    ] = 0,
    activation_bits: Annotated[
        int | None, _option(INTEGERS, "As `export`'s, 2 to 15; stored with the model.")
    ] = None,
    accumulator_bits: Annotated[int, _option(INTEGERS, "As `export`'s; stored too.")] = 24,
    weight_bits: Annotated[
        int, _option(INTEGERS, "Of every weight in these steps: 2 (ternary) to 8.")
    ] = 8,
    prune: Annotated[
        float, _option(INTEGERS, "Share of every projection's weights set to 0 in these steps.")
    ] = 0.0,
    mixed_precision: Annotated[str, _option(RECIPE, "'no' or 'bf16'.")] = "no",
    accelerate: Annotated[
        bool, _option(RECIPE, "Under `accelerate launch`: several devices.", "--accelerate")
    ] = False,
    threads: Annotated[int, _option(RECIPE, "CPU threads.")] = 1,
    evaluate_every: Annotated[int, _option(RECIPE, "Steps between evaluations.")] = 500,
    save_every: Annotated[int, _option(RECIPE, "Steps between checkpoints.")] = 200,
    log_every: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.0, help="Time between lines where there is no terminal."
        ),
    ] = 30.0,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write TensorBoard's event files, too.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Also write the trained model as a folder, see `publish`."
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a SpikeGPT on text, or as a classifier on labelled texts.

    Writes OUTPUT, OUTPUT.resume (to go on from) and a CSV log. The defaults are upstream's recipe.
    Ctrl-C finishes the step, writes all three and names the command that goes on; a second one ends
    at once.
    """
    import torch

    from spikegpt_neuro.model.configuration import PRESETS, SpikeGPTConfiguration
    from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
    from spikegpt_neuro.training.corpus import read_corpus
    from spikegpt_neuro.training.loop import Trainer
    from spikegpt_neuro.training.optimiser import Rates
    from spikegpt_neuro.training.resuming import resume_path
    from spikegpt_neuro.training.settings import TrainingSettings
    from spikegpt_neuro.training.start import read_start, transfer

    check_apart(
        [output, resume_path(output), output.with_suffix(".csv")],
        [corpus, valid, Path(tokens), source, teacher_file],
    )
    if threads < 1:
        raise InputError(f"threads is {threads}; must be at least 1.")
    torch.set_num_threads(threads)
    if preset not in PRESETS:
        raise InputError(f"preset {preset!r} is unknown.", advice=f"Known: {', '.join(PRESETS)}.")
    if folder is not None:
        from spikegpt_neuro.publishing.folder import check_folder, save

        check_folder(folder, overwrite=resume or force)
    accelerator = _accelerator(mixed_precision) if accelerate else None
    speaks = accelerator is None or bool(accelerator.is_main_process)
    shown = Output(as_json=as_json, quiet=quiet or not speaks)
    if speaks and not resume:
        for path in (output, resume_path(output), output.with_suffix(".csv")):
            check_free(
                path, force=force,
                advice="Name another file, or give --resume to go on, or --force to begin anew.",
            )  # fmt: skip
    rates = Rates(
        recipe, learning_rate, muon_rate, neuron_factor, schedule  # type: ignore[arg-type]
    )  # fmt: skip

    def configure(vocabulary: int, labels: tuple[str, ...]) -> SpikeGPTConfiguration:
        return SpikeGPTConfiguration(
            layout=layout, embedding=embedding, norm=norm,  # type: ignore[arg-type]
            branches=branches,  # type: ignore[arg-type]
            n_layer=PRESETS[preset]["n_layer"] if layers is None else layers,
            n_embd=PRESETS[preset]["n_embd"] if width is None else width,
            vocab_size=vocabulary, decay_4096=decay, soft_reset=soft_reset,
            levels_input=levels, levels_product=levels,
            levels_hidden=levels if levels_hidden is None else levels_hidden,
            levels_head=levels_head, labels=labels, pooling=pooling,  # type: ignore[arg-type]
        )  # fmt: skip

    if task == "classify":
        from spikegpt_neuro.cli.train_classifier import train_on_labels
        from spikegpt_neuro.training.classifier_loop import ClassificationSettings

        _refuse(
            "language models",
            {"--distillation": distillation, "--teacher": teacher_file,
             "--integer-steps": integer_steps, "--accelerate": accelerate,
             "--tensorboard": tensorboard},
        )  # fmt: skip
        train_on_labels(
            shown, corpus, valid, output, tokens, source, configure,
            ClassificationSettings(
                steps=steps, batch=batch, context=context, warm_up=warm_up, clip=clip,
                dropout=dropout, seed=seed, evaluate_every=evaluate_every,
                save_every=save_every, rate_penalty=rate_penalty, every_token=every_token,
                rates=rates,
            ),
            (firing_gain, firing_bias), resume=resume, log_every=log_every,
        )  # fmt: skip
        if folder is not None:
            save(folder, output)
        return
    _refuse("classifiers", {"--every-token": every_token})
    text = read_corpus(corpus, valid, tokens, context)
    if text.loss:
        shown.note(f"note: {text.loss}")
    configuration = configure(text.vocabulary.size, ())
    torch.manual_seed(seed)
    model = SpikeGPT(configuration)
    initialise(model, firing_gain, firing_bias)
    teacher: SpikeGPT | None = None
    if source is not None:
        start = read_start(source, vocab_size=text.vocabulary.size)
        transfer(start, model)
        same_layout = start.configuration.layout == layout
        if distillation is None:
            distillation = 0.0 if same_layout else 0.5
        teacher = start if distillation else None
    if teacher_file is not None:
        if source is not None:
            raise InputError("--from and --teacher exclude each other.", advice="Give one.")
        teacher = read_start(teacher_file, vocab_size=text.vocabulary.size)
        distillation = 0.5 if distillation is None else distillation
    settings = TrainingSettings(
        steps=steps, batch=batch, context=context, warm_up=warm_up, clip=clip, dropout=dropout,
        seed=seed, rate_penalty=rate_penalty, penalise=penalise,  # type: ignore[arg-type]
        distillation=distillation or 0.0,
        evaluate_every=evaluate_every, save_every=save_every, mixed_precision=mixed_precision,
        integer_steps=integer_steps, activation_bits=activation_bits,
        accumulator_bits=accumulator_bits, weight_bits=weight_bits, pruned=prune,
        rates=rates,
    )  # fmt: skip
    if torch.cuda.is_available() and accelerator is None:
        model = model.to("cuda")
    trainer = Trainer(
        model, settings, text.train, text.valid, output, text.vocabulary.text,
        teacher=teacher, accelerator=accelerator, tensorboard=tensorboard,
        characters_per_token=text.characters_per_token,
    )  # fmt: skip
    extended = trainer.resume() if resume else ""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    shown.note(f"{parameters} parameters, {text.train.numel()} training tokens, {configuration}")
    if extended:
        shown.note(extended)
    if trainer.step >= steps:
        shown.note(
            f"all {steps} steps are done; {output} stays as it is. More --steps go on from here."
        )
    with shown.steps("training", log_every) as told:

        def report(progress: Progress) -> None:
            told(progress.step, progress.steps, f"{progress.bits_per_character:.3f} bits")
            if progress.evaluation is not None:
                shown.note(_line(progress))

        # several processes must end after the same step, and a signal reaches each at its own
        if accelerator is None:
            with asked_to_stop() as stop:
                last = trainer.run(report, stop)
        else:
            last = trainer.run(report)
    if speaks:
        if folder is not None and last.step >= last.steps:
            publish_trained(shown, folder, output, text)
        result = {"output": str(output), "parameters": parameters, **_result(last)}
        finish(shown, result, last.step, last.steps, f"{output}: {_line(last)}")


def _result(last: Progress) -> dict[str, Any]:
    """Plain JSON values of a run."""
    result: dict[str, Any] = {
        "tokens": last.tokens, "seconds": last.seconds,
        "train_bits_per_character": last.bits_per_character,
        "tokens_per_second": last.tokens / max(last.seconds, 1e-9),
    }  # fmt: skip
    found: Evaluation | None = last.evaluation
    if found is not None:
        result |= {
            "valid_bits_per_character": found.bits_per_character,
            "valid_perplexity": found.perplexity,
            "synaptic_events_per_token": found.events_per_token,
            "unit_additions_per_token": found.additions_per_token,
            "firing_rates": found.firing_rates,
        }
    return result


def _refuse(whose: str, given: dict[str, Any]) -> None:
    """Options of another task."""
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise InputError(f"these options are for {whose} only:", wrong)


def _line(progress: Progress) -> str:
    """One line about how training goes."""
    line = (
        f"step {progress.step}/{progress.steps}, training {progress.bits_per_character:.3f} bits "
        f"per character, {progress.seconds:.0f} s"
    )
    if progress.evaluation is not None:
        found = progress.evaluation
        line += (
            f"; valid {found.bits_per_character:.4f} (perplexity {found.perplexity:.3f}), "
            f"{found.events_per_token:.0f} synaptic events and {found.additions_per_token:.0f} "
            f"additions a token, mean firing rate {found.mean_rate:.3f}"
        )
    return line


def _accelerator(mixed_precision: str) -> Any:
    try:
        accelerate = importlib.import_module("accelerate")
    except ImportError as error:
        raise Unavailable(
            "Several devices need Hugging Face Accelerate.",
            ["import accelerate"],
            "pip install accelerate; `accelerate launch -m spikegpt_neuro.cli.main train ...`.",
        ) from error
    return accelerate.Accelerator(mixed_precision=mixed_precision)
