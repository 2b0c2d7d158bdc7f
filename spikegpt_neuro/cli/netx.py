"""``netx``: stock NetX files (chains made with SLAYER), imported with choices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikegpt_neuro.cli.inputs import check_apart, check_free
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption
from spikegpt_neuro.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    help="Stock NetX chains (lava-dl, SLAYER). Every command takes their files as they are; "
    "import one to choose its timing, its layers or the width of its input.",
)


@app.command("import")
def import_chain(
    stock: Annotated[Path, typer.Argument(metavar="STOCK.net", help="A file SLAYER exported.")],
    network: Annotated[Path, typer.Argument(metavar="OUT.net")],
    layers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Read only the first N layers.")
    ] = None,
    input_message_bits: Annotated[
        int, typer.Option(metavar="B", min=0, max=24, help="Width of a graded input; 0: spikes.")
    ] = 0,
    input_shape: Annotated[
        str | None,
        typer.Option(
            metavar="W,H,C",
            help="Shape of the raster, as stock NetX's input_shape, where the chain begins with a "
            "convolution: width, height, channels. A raster's rows are the channels' images, row "
            "by row.",
        ),
    ] = None,
    slayer_timing: Annotated[
        bool,
        typer.Option(
            "--slayer-timing", help="Without the one-step delay stock NetX gives every synapse."
        ),
    ] = False,
    output_voltages: Annotated[
        bool,
        typer.Option(
            "--output-voltages",
            help="Send the voltages of the last layer, whose neurons never fire, as the outputs.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT.net.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn STOCK.net into a network file that every other command takes."""
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.converters.netx import read_netx
    from spikegpt_neuro.network.file import write_network

    check_free(network, force=force)
    check_apart([network], [stock])
    value = read_netx(
        stock, layers=layers, input_message_bits=input_message_bits,
        synapse_delay=not slayer_timing, input_shape=_shape(input_shape),
        output_voltages=output_voltages,
    )  # fmt: skip
    write_network(value, network)
    not_read = value.info.quantisation.get("not_read", [])
    sizes = (value.layers[0].output.size, value.layers[-1].output.size)
    output.result(
        {"network": str(network), "layers": len(value.layers), "inputs": sizes[0],
         "outputs": sizes[1], "not_read": not_read},
        f"{network}: {len(value.layers)} layers, {sizes[0]} inputs, {sizes[1]} outputs",
        *(f"note: {key}: stock NetX reads past it, and so is it here" for key in not_read),
    )  # fmt: skip


def _shape(given: str | None) -> tuple[int, int, int] | None:
    """``W,H,C`` as three sizes."""
    if given is None:
        return None
    sizes = [int(part) if part.strip().isdigit() else 0 for part in given.split(",")]
    if len(sizes) != 3 or min(sizes) < 1:
        raise InputError(f"--input-shape {given}: must be three sizes W,H,C, such as 34,34,2.")
    return sizes[0], sizes[1], sizes[2]
