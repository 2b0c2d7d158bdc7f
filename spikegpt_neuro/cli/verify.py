"""``verify``: two executions of a network, integer by integer; or a network and its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from spikegpt_neuro.cli.inputs import (
    NetworkArgument,
    VocabularyOption,
    check_available,
    text_tokens,
)
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption, table
from spikegpt_neuro.errors import InputError


def verify(
    network: NetworkArgument,
    text: Annotated[Path, typer.Option(metavar="FILE", help="Text to run.")],
    tokens: Annotated[int, typer.Option(metavar="N", help="Tokens of the text to run.")] = 512,
    backends: Annotated[
        str, typer.Option(metavar="A,B", help="The two backends to compare.")
    ] = "emulator,lava",
    mode: Annotated[
        Literal["pipelined", "fall-through"],
        typer.Option(
            help="How the second backend runs: pipelined scores the text, fall-through takes it "
            "token by token, as generation does."
        ),
    ] = "pipelined",
    other: Annotated[
        Path | None,
        typer.Option(metavar="NET", help="What the second backend executes, if not NET."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Compare the emulator with this float checkpoint instead of another backend.",
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(help="With --against: bits per token that the two may differ by."),
    ] = 0.02,
    vocab: VocabularyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Verify that two backends compute the same integers: all logits, all spikes, all counters.

    Exit code 1 if they do not, naming the first layer, step and index that differ. With --against,
    the integers are held against the float checkpoint: bits per token and disagreeing spikes.
    """
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.network.file import read_network

    value = read_network(network)
    ids = text_tokens(value, vocab, text, tokens)
    if against is not None:
        _against_float(output, value, ids, against, tolerance)
        return
    names = [name.strip() for name in backends.split(",")]
    if len(names) != 2:
        raise InputError(f"--backends {backends}: name two, such as emulator,lava.")
    check_available(names)
    from spikegpt_neuro.backends import get_backend
    from spikegpt_neuro.verification import verify as compare

    with output.progress("verifying") as progress:
        found = compare(
            value, ids, get_backend(names[0]), get_backend(names[1]),
            right_network=read_network(other) if other is not None else None,
            fall_through=mode == "fall-through",
            progress=lambda done: progress(done, len(ids)),
        )  # fmt: skip
    if found.equal:
        message = (
            f"equal: {found.values_compared:,} integers of {len(found.layers)} layers over "
            f"{found.tokens} tokens, and all counters, on {found.left} and {found.right}"
        )
    elif found.difference is not None:
        message = f"different on {found.left} and {found.right}: first at {found.difference}"
    else:
        message = f"the same integers, but different counters: {found.counter_difference}"
    output.result(found.to_dict(), message)
    if not found.equal:
        raise typer.Exit(1)


def _against_float(
    output: Output, network: Any, ids: list[int], against: Path, tolerance: float
) -> None:
    from spikegpt_neuro.converters.float_model import compare_with_float, load_float_model

    with output.progress("verifying") as progress:
        found = compare_with_float(
            load_float_model(against, network), network, ids, progress=progress
        )
    holds = abs(found.difference_bits_per_token) <= tolerance
    rows = table("layer", ">spikes float", ">spikes integer", ">disagreeing")
    for layer in found.layers:
        rows.add_row(
            layer.name, f"{layer.float_rate:.2%}", f"{layer.integer_rate:.2%}",
            f"{layer.disagreement:.2%}",
        )  # fmt: skip
    output.result(
        {**found.to_dict(), "tolerance_bits_per_token": tolerance, "holds": holds},
        rows,
        f"float {found.float_bits_per_token:.4f}, integer {found.integer_bits_per_token:.4f} bits "
        f"per token over {found.tokens} tokens: {found.difference_bits_per_token:+.4f}, "
        f"{'within' if holds else 'beyond'} {tolerance}",
        f"of this, rounding the weights: {found.weights_bits_per_token:+.4f}; integer activations "
        f"and the spikes they flip: {found.activations_bits_per_token:+.4f} "
        f"({found.saturations:,} saturations, {found.overflows:,} overflows)",
    )
    if not holds:
        raise typer.Exit(1)
