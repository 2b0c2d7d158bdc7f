"""``verify``: two executions of a network, integer by integer; or a network and its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.inputs import (
    NetworkArgument,
    RasterOption,
    VocabularyOption,
    check_available,
    open_network,
    read_steps,
    require,
)
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.reports.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from spikegpt_neuro.backends import Backend
    from spikegpt_neuro.backends.base import Steps
    from spikegpt_neuro.network import Network
    from spikegpt_neuro.verification import Verification

Mode = Literal["pipelined", "fall-through"]
FLOAT, NETX = "float", "netx"
"""What can be compared besides backends: the checkpoint, and stock netx."""


def verify(
    network: NetworkArgument,
    text: Annotated[Path | None, typer.Option(metavar="FILE", help="Text to run.")] = None,
    raster: RasterOption = None,
    tokens: Annotated[
        int, typer.Option(metavar="N", help="Tokens of the text, or time steps, to run.")
    ] = 512,
    backends: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="The two to compare: emulator, lava, lava-fine, loihi2 or an installed backend; "
            "float, the checkpoint given by --against; netx, stock netx of lava-dl running a stock "
            "NetX file. Default: emulator,lava; with --against float,emulator.",
            autocompletion=completion.compared,
        ),
    ] = None,
    mode: Annotated[
        Mode,
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
        typer.Option(metavar="CHECKPOINT", help="The float model, for the backend float."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(help="With float: bits per token that the integers may be worse by."),
    ] = 0.02,
    vocab: VocabularyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Verify that two executions compute the same integers: all layers, all steps, all counters.

    Exit code 1 if they do not, naming the first layer, step and index that differ. With float the
    integers are held against the checkpoint: bits per token, where the loss comes from (rounded
    weights, flipped spikes, rounded activations, saturation), and the first spike that differs.
    """
    output = Output(as_json=as_json, quiet=quiet)
    default = "emulator,lava" if against is None else "float,emulator"
    names = [name.strip() for name in (backends or default).split(",")]
    if len(names) != 2:
        raise InputError(f"--backends {backends}: name two, such as emulator,lava.")
    if (FLOAT in names) != (against is not None):
        raise InputError("float and --against CHECKPOINT go together.", [f"--backends {backends}"])
    value = open_network(network)
    from spikegpt_neuro.network import Chain

    is_chain = isinstance(value, Chain)
    if FLOAT in names and is_chain:
        raise InputError("a stock NetX file holds integers; there is no float model of it here.")
    check_available([name for name in names if name not in (FLOAT, NETX)])
    if mode == "fall-through" and (is_chain or FLOAT in names):
        raise InputError("--mode fall-through is for language models on two backends.")
    steps: Steps = read_steps(value, text, raster, vocab, tokens)
    if against is not None:
        if NETX in names or names == [FLOAT, FLOAT]:
            raise InputError(f"--backends {backends}: float is held against a backend.")
        if other is not None:
            raise InputError("--other is for two backends, not for float.")
        assert isinstance(steps, list)  # a chain was refused
        executing = names[1] if names[0] == FLOAT else names[0]
        _against_float(output, value, steps, executing, against, tolerance)
        return
    second = value if other is None else open_network(other)
    if type(second) is not type(value):
        raise InputError(f"{network} and {other}: one reads tokens and the other a raster.")
    left = _backend(names[0], value, network)
    right = _backend(names[1], second, other or network)
    _compare(output, value, second if other is not None else None, steps, left, right, mode)


def _backend(name: str, network: Network, path: Path) -> Backend:
    from spikegpt_neuro.backends import get_backend

    if name != NETX:
        return get_backend(name)
    from spikegpt_neuro.backends.lava.chains.netx import NetxBackend, stock_file

    backend = NetxBackend(stock_file(network, path))
    require(backend)
    return backend


def _compare(
    output: Output, network: Network, second: Network | None, steps: Steps, left: Backend,
    right: Backend, mode: Mode,
) -> None:  # fmt: skip
    from spikegpt_neuro.verification import verify as compare

    with output.progress("verifying") as progress:
        found = compare(
            network, steps, left, right, right_network=second,
            fall_through=mode == "fall-through",
            progress=lambda done: progress(done, len(steps)),
        )  # fmt: skip
    from spikegpt_neuro.network import Chain

    unit = "time steps" if isinstance(network, Chain) else "tokens"
    counters = "and all counters, " if found.counters_compared else ""
    if found.equal:
        message = (
            f"equal: {found.values_compared:,} integers of {len(found.layers)} layers over "
            f"{found.tokens} {unit}, {counters}on {found.left} and {found.right}"
        )
    elif found.difference is not None:
        message = f"different on {found.left} and {found.right}: first at {found.difference}"
    else:
        message = f"the same integers, but different counters: {found.counter_difference}"
    if found.equal and not found.counters_compared:
        message += "; counters were not compared: one of the two does not count"
    output.result(found.to_dict(), _stages(network, found), message)
    if not found.equal:
        raise typer.Exit(1)


def _stages(network: Network, found: Verification) -> Table:
    """Stage by stage: layers compared, layers not visible on both sides, layers that differ."""
    rows = table("stage|>layers|>compared|different")
    for stage, layers in network.stages.items():
        names = [layer.name for layer in layers]
        compared = [name for name in names if name in found.layers]
        differing = [name for name in compared if name in found.differing]
        what = ", ".join(name.removeprefix(f"{stage}.") for name in differing) or "none"
        rows.add_row(stage, str(len(names)), str(len(compared)), what if compared else "-")
    return rows


def _against_float(
    output: Output, network: Network, ids: list[int], backend: str, against: Path, tolerance: float
) -> None:
    from spikegpt_neuro.backends import get_backend
    from spikegpt_neuro.comparison.float_comparison import STAGES, compare_with_float
    from spikegpt_neuro.comparison.float_model import load_float_model

    with output.progress("verifying") as progress:
        found = compare_with_float(
            load_float_model(against, network), network, ids, backend=get_backend(backend),
            progress=progress,
        )  # fmt: skip
    # one-sided: a rounded network that predicts a text better has lost nothing of its model
    holds = found.difference_bits_per_token <= tolerance
    rows = table("layer|>spikes float|>spikes integer|>disagreeing")
    for layer in found.layers:
        rows.add_row(
            layer.name,
            f"{layer.float_rate:.2%}",
            f"{layer.integer_rate:.2%}",
            f"{layer.disagreement:.2%}",
        )
    losses = table("loss from|>bits per token|>change")
    for stage in STAGES:
        change = f"{found.losses[stage]:+.5f}" if stage in found.losses else ""
        losses.add_row(_STAGE_NAMES[stage], f"{found.bits_per_token[stage]:.5f}", change)
    first = "no spike differs"
    if found.difference is not None:
        first = f"the first spike that differs: {found.difference} (float against {backend})"
    output.result(
        {**found.to_dict(), "tolerance_bits_per_token": tolerance, "holds": holds},
        rows, "", losses, "",
        f"{found.saturations:,} saturations, {found.overflows:,} overflows; {first}",
        f"float and {backend} over {found.tokens} tokens: "
        f"{found.difference_bits_per_token:+.4f} bits per token, "
        f"{_judged(found.difference_bits_per_token, tolerance)}",
    )  # fmt: skip
    if not holds:
        raise typer.Exit(1)


def _judged(difference: float, tolerance: float) -> str:
    """What a difference means. Rounding flips spikes, and a flip helps a prediction or harms it."""
    if difference > tolerance:
        return f"worse by more than {tolerance}"
    if difference >= -tolerance:
        return f"within {tolerance}"
    return (
        f"better by more than {tolerance}: rounding happens to suit this text, which is no fault; "
        "was this the checkpoint that was exported?"
    )


_STAGE_NAMES = {
    "float": "float model",
    "weights": "weights: rounded to 8 bits",
    "spikes": "spikes: those of the integers",
    "activations": "activations: integers",
    "saturation": "saturation: operands clipped",
}
"""Stages as people read them."""
