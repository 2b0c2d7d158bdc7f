"""``netx``: chains made with SLAYER, read from stock NetX files and run on rasters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikegpt_neuro.cli.inputs import NetworkArgument, check_free
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption

app = typer.Typer(
    no_args_is_help=True, help="Read stock NetX chains (lava-dl, SLAYER) and run them on rasters."
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
    slayer_timing: Annotated[
        bool,
        typer.Option(help="Without the one-step delay stock NetX gives every synapse."),
    ] = False,
    force: Annotated[bool, typer.Option(help="Overwrite OUT.net.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn STOCK.net into a network `inspect`, `netx run` and `nir export` read."""
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.converters.netx import read_netx
    from spikegpt_neuro.network.file import write_network

    check_free(network, force=force)
    value = read_netx(
        stock, layers=layers, input_message_bits=input_message_bits,
        synapse_delay=not slayer_timing,
    )  # fmt: skip
    write_network(value, network)
    sizes = (value.layers[0].output.size, value.layers[-1].output.size)
    output.result(
        {"network": str(network), "layers": len(value.layers), "inputs": sizes[0],
         "outputs": sizes[1]},
        f"{network}: {len(value.layers)} layers, {sizes[0]} inputs, {sizes[1]} outputs",
    )  # fmt: skip


@app.command("run")
def run_chain(
    network: NetworkArgument,
    raster: Annotated[Path, typer.Argument(metavar="RASTER.npy", help="[time steps, ...inputs]")],
    result: Annotated[Path, typer.Argument(metavar="OUT.npy")],
    force: Annotated[bool, typer.Option(help="Overwrite OUT.npy.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the chain on the emulator; writes the outputs, int32 [time steps, outputs]."""
    output = Output(as_json=as_json, quiet=quiet)
    import numpy as np

    from spikegpt_neuro.backends.raster import RasterSession
    from spikegpt_neuro.errors import InputError
    from spikegpt_neuro.network.atomic import replaced_file
    from spikegpt_neuro.network.file import read_network

    check_free(result, force=force)
    try:
        values = np.load(raster, allow_pickle=False)
    except ValueError as error:
        raise InputError(f"{raster} is not a .npy array: {error}.") from error
    with RasterSession(read_network(network)) as session:
        spikes = session.present(values)
        counters = session.counters
    with replaced_file(result) as stream:
        np.save(stream, spikes)
    operations = counters.total("synaptic_operations")
    output.result(
        {"output": str(result), "time_steps": len(spikes), "counters": counters.to_dict()},
        f"{result}: {len(spikes)} time steps, {operations:,} synaptic operations",
    )
