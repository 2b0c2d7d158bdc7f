"""``nir``: exchange networks with other frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikegpt_neuro.cli.inputs import NetworkArgument, check_free, open_network
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption

app = typer.Typer(
    no_args_is_help=True,
    help="Exchange networks with other frameworks through NIR, the Neuromorphic Intermediate "
    "Representation.",
)


@app.command("export")
def export_graph(
    network: NetworkArgument,
    graph: Annotated[Path, typer.Argument(metavar="OUT.nir")],
    force: Annotated[bool, typer.Option(help="Overwrite OUT.nir.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write NET as a NIR graph; what NIR has no node for becomes a marked subgraph, or an error."""
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.exchange import export_nir

    check_free(graph, force=force)
    counts = export_nir(open_network(network), graph)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    output.result({"graph": str(graph), "nodes": counts}, f"{graph}: {listed}")


@app.command("import")
def import_graph(
    graph: Annotated[Path, typer.Argument(metavar="IN.nir")],
    network: Annotated[Path, typer.Argument(metavar="OUT.net")],
    force: Annotated[bool, typer.Option(help="Overwrite OUT.net.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read a NIR graph: one of ours exactly, or another tool's chain of LIF neurons."""
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.exchange import import_nir
    from spikegpt_neuro.network.file import write_network

    check_free(network, force=force)
    value = import_nir(graph)
    write_network(value, network)
    output.result(
        {"network": str(network), "layers": len(value.layers), "layout": value.info.layout},
        f"{network}: {value.info.layout}, {len(value.layers)} layers",
    )
