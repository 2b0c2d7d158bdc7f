"""``export``: a checkpoint becomes model.net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikegpt_neuro.cli.inputs import check_apart, check_free
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption, Stopwatch
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.reports.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from spikegpt_neuro.converters.reduction import ReducedLayer


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="A .pt, .pth or .safetensors file, or a folder of them."
        ),
    ],
    network: Annotated[Path, typer.Argument(metavar="NET", help="The file to write.")],
    vocab: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The model's vocabulary, stored in NET: SpikeGPT's JSON, tokenizer.json, GPT-2's "
            "vocab.json beside merges.txt, a SentencePiece .model, RWKV's World file, or a folder "
            "with one of them.",
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
    weight_bits: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Bits of every weight, 2 (ternary) to 8, rounded such that what projections give "
            "on the calibration text changes least. auto: for each projection the fewest that "
            "together lose at most --max-loss.",
        ),
    ] = "8",
    max_loss: Annotated[
        float,
        typer.Option(metavar="BITS", help="What --weight-bits auto may lose, bits per character."),
    ] = 0.02,
    prune: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of every projection's weights set to 0.")
    ] = 0.0,
    prune_pattern: Annotated[
        str | None,
        typer.Option(
            metavar="N:M", help="Keep at most N of every M weights in a row, in place of --prune."
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report", help="Show what rounding and pruning changed in each projection."),
    ] = False,
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
    adapter: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="LoRA adapters to merge: a file, or PEFT's folder."),
    ] = None,
    lora_alpha: Annotated[
        float | None,
        typer.Option(
            metavar="ALPHA", help="The adapters' alpha, where no adapter_config.json says it."
        ),
    ] = None,
    vocab_by_reference: Annotated[
        bool,
        typer.Option(
            "--vocab-by-reference", help="Store the vocabulary's path and hash instead of its text."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite NET.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read a checkpoint, calibrate and quantise it, and write an integer network.

    Nothing in a checkpoint is executed. NET is replaced only when everything has succeeded.
    """
    output = Output(as_json=as_json, quiet=quiet)
    watch = Stopwatch()
    check_free(network, force=force)
    check_apart([network], [checkpoint, vocab, calibration])
    from spikegpt_neuro.converters.checkpoint import read_checkpoint
    from spikegpt_neuro.converters.export import export_checkpoint
    from spikegpt_neuro.converters.export_report import ExportOptions
    from spikegpt_neuro.texts import read_text
    from spikegpt_neuro.vocabulary import parse_vocabulary, read_vocabulary, reference_to

    read = read_checkpoint(checkpoint, adapter=adapter, lora_alpha=lora_alpha)
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
    options = ExportOptions(
        activation_bits, accumulator_bits, embedding, rescale_every, layout,
        weight_bits=_weight_bits(weight_bits), max_loss=max_loss,
        pruned=prune, pattern=_pattern(prune_pattern), losses=report,
    )  # fmt: skip
    stored = vocabulary.text if vocabulary is not None else ""
    if vocab_by_reference:
        if vocab is None:
            raise InputError("--vocab-by-reference needs --vocab.")
        stored = reference_to(vocab)
    with output.progress("exporting") as progress:
        done = export_checkpoint(
            read, network, vocabulary=stored, calibration=tokens, options=options,
            characters_per_token=characters_per_token,
            progress=lambda what, step, steps: progress(step, steps),
        )  # fmt: skip
    size = network.stat().st_size
    info = done.info
    lines: list[Any] = [
        f"{network}: {info.layout} layout, {info.n_layer} blocks of width {info.n_embd}, "
        f"vocabulary {info.vocabulary_size}, {done.layers} layers, {done.weights:,} weights, "
        f"{size / 1e6:.1f} MB, {watch.seconds:.1f} s",
        *(f"note: {note}" for note in done.notes),
    ]
    if loss:
        lines.append(f"note: {loss}")
    if done.unproven:
        lines.append(
            f"note: {len(done.unproven)} projections could overflow {accumulator_bits} bits in "
            "theory; overflows are counted when the network runs"
        )
    if done.reduced:
        bits = 8 * sum(layer.bytes for layer in done.reduced)
        held = sum(layer.weights for layer in done.reduced)
        lines.append(f"{bits / held:.2f} bits a weight in memory and in the file")
    if report:
        lines.append(_table(done.reduced))
    if vocabulary is None:
        lines.append("note: no vocabulary is stored; commands that read text need --vocab")
    output.result({**done.to_dict(), "bytes": size, "seconds": watch.seconds}, *lines)


def _weight_bits(text: str) -> int | Literal["auto"]:
    """The option's value; ``InputError`` where it is neither."""
    if text == "auto":
        return "auto"
    if not text.isascii() or not text.isdecimal():
        raise InputError(f"--weight-bits {text!r}; allowed: 2 to 8, or auto.")
    return int(text)


def _pattern(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.split(":")
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() for part in parts):
        raise InputError(f"--prune-pattern {text!r}; allowed: two numbers, as 2:4.")
    return int(parts[0]), int(parts[1])


def _table(layers: Sequence[ReducedLayer]) -> Table | str:
    """One row a projection: what rounding and pruning changed in what it gives.

    The last column is what reducing this projection alone changes in the predictions, in bits a
    token (Kullback-Leibler): an upper bound of the loss in practice.
    """
    if not layers:
        return "no projection was rounded below 8 bits or pruned"
    made = table(
        "projection|>bits|>zeros|>bytes|>output changed|>rounded to nearest|>outlier rows|"
        ">worst row|>divergence alone"
    )
    for layer in layers:
        made.add_row(
            layer.name, str(layer.bits), f"{1 - layer.non_zero / layer.weights:.0%}",
            f"{layer.bytes:,}", f"{layer.error:.3%}", f"{layer.nearest_error:.3%}",
            str(layer.outlier_rows), f"{layer.worst_row} ({layer.worst_error:.2%})",
            "-" if layer.divergence is None else f"{layer.divergence:.4f}",
        )  # fmt: skip
    return made
