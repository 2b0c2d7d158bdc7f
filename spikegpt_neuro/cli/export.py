"""``export``: a checkpoint becomes model.net."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from spikegpt_neuro.cli.inputs import check_free
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption, Stopwatch
from spikegpt_neuro.errors import InputError


def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A .pt, .pth or .safetensors file.")
    ],
    network: Annotated[Path, typer.Argument(metavar="NET", help="The file to write.")],
    vocab: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The model's vocabulary, stored in NET: SpikeGPT's JSON or a Hugging Face "
            "tokenizer.json.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="TEXT",
            help="Text like that the model was trained on; the ranges of all values are measured "
            "on some thousand tokens of it. Without it: the scales a checkpoint trained in "
            "integers brings along, else random tokens, which serve less well.",
        ),
    ] = None,
    activation_bits: Annotated[
        int | None,
        typer.Option(
            help="Bits of the values that enter projections, 2 to 15. Default: chosen for each "
            "projection so that its accumulators provably fit, 8 to 10."
        ),
    ] = None,
    accumulator_bits: Annotated[
        int, typer.Option(help="Bits of the target's accumulators; 24 on Loihi 2.")
    ] = 24,
    layout: Annotated[
        Literal["auto", "upstream", "rwkv", "spike-driven"],
        typer.Option(
            help="What the checkpoint is. Auto: what it says, else (SpikeGPT and plain RWKV-4 have "
            "the same names) what predicts the calibration text better, else upstream."
        ),
    ] = "auto",
    embedding: Annotated[
        Literal["auto", "binary", "real"],
        typer.Option(
            help="Whether embeddings are reduced to their signs. Auto: what the checkpoint says, "
            "else what predicts the calibration text better."
        ),
    ] = "auto",
    rescale_every: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Halve the residual stream after every N-th block, as the released run-time code "
            "does with N = 6. Default 0: never, as in training.",
        ),
    ] = 0,
    vocab_by_reference: Annotated[
        bool, typer.Option(help="Store the vocabulary's path and hash instead of its text.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Overwrite NET.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read a checkpoint, calibrate and quantise it, and write an integer network.

    Nothing in a checkpoint is executed. NET is replaced only when everything has succeeded.
    """
    output = Output(as_json=as_json, quiet=quiet)
    watch = Stopwatch()
    check_free(network, force=force)
    from spikegpt_neuro.converters.checkpoint import read_checkpoint
    from spikegpt_neuro.converters.export import ExportOptions, export_checkpoint
    from spikegpt_neuro.texts import read_text
    from spikegpt_neuro.vocabulary import parse_vocabulary, read_vocabulary, reference_to

    options = ExportOptions(activation_bits, accumulator_bits, embedding, rescale_every, layout)
    read = read_checkpoint(checkpoint)
    vocabulary = None
    if vocab is not None:
        vocabulary = read_vocabulary(vocab)
    elif read.vocabulary:
        vocabulary = parse_vocabulary(read.vocabulary, f"the vocabulary in {checkpoint}")
    if vocabulary is not None:
        vocabulary.check_size(read.architecture.vocabulary_size)
    tokens, characters_per_token, loss = None, 1.0, ""
    if calibration is not None:
        if vocabulary is None:
            raise InputError("--calibration needs --vocab, to turn the text into tokens.")
        text = read_text(calibration)
        encoded = vocabulary.encode_text(text)
        tokens, characters_per_token = encoded.tokens.tolist(), encoded.characters_per_token
        loss = vocabulary.loss(encoded)
    stored = vocabulary.text if vocabulary is not None else ""
    if vocab_by_reference:
        if vocab is None:
            raise InputError("--vocab-by-reference needs --vocab.")
        stored = reference_to(vocab)
    with output.progress("exporting") as progress:
        report = export_checkpoint(
            checkpoint, network, vocabulary=stored, calibration=tokens, options=options,
            characters_per_token=characters_per_token,
            progress=lambda what, step, steps: progress(step, steps),
        )  # fmt: skip
    size = network.stat().st_size
    info = report.info
    lines = [
        f"{network}: {info.layout} layout, {info.n_layer} blocks of width {info.n_embd}, "
        f"vocabulary {info.vocabulary_size}, {report.layers} layers, {report.weights:,} weights, "
        f"{size / 1e6:.1f} MB, {watch.seconds:.1f} s",
        *(f"note: {note}" for note in report.notes),
    ]
    if loss:
        lines.append(f"note: {loss}")
    if report.unproven:
        lines.append(
            f"note: {len(report.unproven)} projections could overflow {accumulator_bits} bits in "
            "theory; overflows are counted when the network runs"
        )
    if vocabulary is None:
        lines.append("note: no vocabulary is stored; commands that read text need --vocab")
    output.result({**report.to_dict(), "bytes": size, "seconds": watch.seconds}, *lines)
