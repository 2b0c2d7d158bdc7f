"""``nir``: exchange networks with other frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikegpt_neuro.cli.inputs import NetworkArgument, check_apart, check_free, open_network
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption
from spikegpt_neuro.reports.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from spikegpt_neuro.exchange.nir_report import ImportReport

app = typer.Typer(
    no_args_is_help=True,
    help="Exchange networks with other frameworks through NIR, the Neuromorphic Intermediate "
    "Representation.",
)

GraphArgument = Annotated[Path, typer.Argument(metavar="IN.nir", help="A NIR graph.")]
BitsOption = Annotated[
    int | None,
    typer.Option(
        "--bits",
        metavar="N",
        help="Quantise weights to N bits signed, 2 to 9. Without, nothing is quantised: what is "
        "not a whole number is an error.",
    ),
]
TimeStepOption = Annotated[
    float,
    typer.Option(
        "--time-step",
        metavar="DT",
        help="Seconds a step of forward Euler: what NIR's differential equations become. The "
        "default is what snnTorch writes and assumes.",
    ),
]


@app.command("export")
def export_graph(
    network: NetworkArgument,
    graph: Annotated[Path, typer.Argument(metavar="OUT.nir")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT.nir.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write NET as a NIR graph; what NIR has no node for becomes a marked subgraph, or an error."""
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.exchange import export_nir

    check_free(graph, force=force)
    check_apart([graph], [network])
    counts = export_nir(open_network(network), graph)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    output.result({"graph": str(graph), "nodes": counts}, f"{graph}: {listed}")


@app.command("import")
def import_graph(
    graph: GraphArgument,
    network: Annotated[Path, typer.Argument(metavar="OUT.net")],
    bits: BitsOption = None,
    time_step: TimeStepOption = 1e-4,
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT.net.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read a NIR graph as a network: exactly, or with --bits quantised; prints every error made."""
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.exchange import import_nir_with_report
    from spikegpt_neuro.network.file import write_network

    check_free(network, force=force)
    check_apart([network], [graph])
    value, report = import_nir_with_report(graph, bits=bits, time_step=time_step)
    write_network(value, network)
    output.result(
        {
            "network": str(network), "layers": len(value.layers), "layout": value.info.layout,
            "import": report.as_dict(),
        },
        f"{network}: {value.info.layout}, {len(value.layers)} layers", *_shown(report),
    )  # fmt: skip


@app.command("check")
def check_graph(
    graph: GraphArgument,
    bits: BitsOption = None,
    time_step: TimeStepOption = 1e-4,
    raster: Annotated[
        Path | None,
        typer.Option(
            "--raster",
            metavar="FILE.npy",
            help="Run the graph on whole numbers, a row a time step, by NIR's equations in "
            "floating point and by the integers of the import, and compare the spikes.",
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what of a NIR graph is exact, what approximate and what cannot be held; writes nothing.

    Exit code 1 where something cannot be held, or a spike differs that the errors do not explain.
    """
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.exchange import check_nir
    from spikegpt_neuro.readers.arrays import read_array

    values = None if raster is None else read_array(raster)
    found = check_nir(graph, bits=bits, time_step=time_step, raster=values)
    parts: list[Any] = [f"{graph}: {found.as_dict()['status']}"]
    parts += [f"  cannot be held: {problem}" for problem in found.problems]
    parts += [found.as_dict()["advice"]] if found.problems else []
    parts += _shown(found.report)
    if found.spikes:
        counts = table(
            "neurons|>spikes, NIR|>spikes, integers|>differing, explained|>of|>unexplained"
        )
        for row in found.spikes:
            counts.add_row(
                row.node, str(row.float_spikes), str(row.integer_spikes), str(row.explained),
                str(row.places), str(len(row.unexplained)),
            )  # fmt: skip
        parts.append(counts)
        parts += [f"  {line}" for row in found.spikes for line in row.unexplained]
    output.result(found.as_dict(), *parts)
    if found.problems or any(row.unexplained for row in found.spikes):
        raise typer.Exit(1)


def _shown(report: ImportReport) -> list[str | Table]:
    """A report for people: errors in parts of the neurons' threshold."""
    if not report.layers:
        return list(report.notes)
    rows = table(
        "node|type|read through|status|>bits|"
        ">threshold|>weight error|>bias error|>threshold error|>decay error|>Euler"
    )
    for layer in report.layers:
        decay = max(layer.voltage_decay_error, layer.current_decay_error)
        numbers = (
            layer.weight_error, layer.bias_error, layer.threshold_error, decay, layer.euler_error
        )  # fmt: skip
        rows.add_row(
            layer.node, layer.kind, ", ".join(layer.synapses),
            "exact" if layer.is_exact else "approximate", str(layer.bits or ""),
            "" if layer.threshold is None else str(layer.threshold),
            *("" if n == 0 else f"{n:.2g}" for n in numbers),
        )  # fmt: skip
    told = [f"  {layer.node}: {note}" for layer in report.layers for note in layer.notes]
    told += [f"  {layer.node}: delays off by up to {layer.delay_error:.2g} time steps"
             for layer in report.layers if layer.delay_error]  # fmt: skip
    return [
        rows,
        f"{report.equation}, {report.time_step:g} s a step. Errors are the largest of the layer, "
        "of weights and bias in thresholds a step, of the threshold as a part of it, of decays "
        "per step; Euler: how far its decay is from exp(-dt / tau).",
        *told,
        *(f"  {note}" for note in report.notes),
    ]
