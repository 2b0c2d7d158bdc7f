"""``inspect``: what a network file holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.inputs import NetworkArgument, check_apart, check_free, open_network
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.reports.tables import table

if TYPE_CHECKING:
    from spikegpt_neuro.network.schema import Layer


def _layer_values(layer: Layer) -> dict[str, Any]:
    """A layer as plain values: ports, arrays with their sizes, scalars."""
    arrays = {
        name: {"shape": list(array.shape), "dtype": str(array.dtype), "bytes": int(array.nbytes)}
        for name in layer.array_specs()
        for array in [getattr(layer, name)]
    }
    return {
        "name": layer.name,
        "kind": layer.kind,
        "stage": layer.stage,
        "inputs": list(layer.inputs),
        "output": asdict(layer.output),
        "arrays": arrays,
        "scalars": {name: getattr(layer, name) for name in layer.scalar_ranges()},
        "bytes": sum(array["bytes"] for array in arrays.values()),
        "state_words": layer.state_words,
    }


def inspect(
    network: NetworkArgument,
    layers: Annotated[bool, typer.Option("--layers", help="List every layer.")] = False,
    graph: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Also draw the layers and their connections."),
    ] = None,
    text: Annotated[
        bool,
        typer.Option(
            "--text",
            help="Print the network as text only: a line a layer with its integers' digests, the "
            "same for the same integers, to compare with diff.",
        ),
    ] = False,
    deployability: Annotated[
        bool,
        typer.Option(
            "--deployability",
            help="Also say what stock Loihi 2 processes hold of the network, what needs neuron "
            "programs and their specification, how weights are passed, and what fits which target.",
        ),
    ] = False,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="With --deployability: a target to judge. Default: all of them.",
            autocompletion=completion.profiles,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the drawing.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what a network file holds: its origin, stages, layers, bits, scales and sizes.

    Reading checks the whole file; anything wrong with it is listed.
    """
    output = Output(as_json=as_json, quiet=quiet)
    if graph is not None:
        check_free(graph, force=force)
        check_apart([graph], [network])
    value = open_network(network)
    if graph is not None:
        from spikegpt_neuro.network.atomic import replaced_file
        from spikegpt_neuro.network.drawing import draw_network

        with replaced_file(graph) as stream:
            stream.write(draw_network(value).encode("utf-8"))
    if text:
        from spikegpt_neuro.network.text import network_text

        output.result({"text": network_text(value)}, network_text(value).rstrip("\n"))
        return
    info = value.info
    found = [_layer_values(layer) for layer in value.layers]
    stages = table("stage|>layers|>weights|>bytes|>state words")
    for name, members in value.stages.items():
        parts = [layer for layer in found if layer["stage"] == name]
        weights = sum(m.weight.size for m in members if "weight" in m.array_specs())  # type: ignore[attr-defined]
        stages.add_row(
            name, str(len(members)), f"{weights:,}", f"{sum(p['bytes'] for p in parts):,}",
            f"{sum(p['state_words'] for p in parts):,}",
        )  # fmt: skip
    every = table("layer|kind|>size|payload|>bits|>scale|inputs")
    for layer in found:
        port = layer["output"]
        every.add_row(
            layer["name"], layer["kind"], str(port["size"]), port["payload"], str(port["bits"]),
            f"{port['scale']:.3g}", ", ".join(layer["inputs"]),
        )  # fmt: skip
    source = [f"{key}: {item}" for key, item in info.source.items() if not isinstance(item, dict)]
    settings = [
        f"{key}: {f'{item:,}' if type(item) is int else item}"
        for key, item in info.quantisation.items()
        if key != "notes"
    ]
    notes = [f"note: {note}" for note in info.quantisation.get("notes", [])]
    chip: list[Any] = []
    deployed = None
    if deployability:
        from spikegpt_neuro.hardware_profiles import list_profiles, load_profile
        from spikegpt_neuro.mapping.deployability import deployability as assess
        from spikegpt_neuro.reports.deployability import deployability_summary

        report = assess(value, [load_profile(name) for name in profile or list_profiles()])
        deployed = report.to_dict()
        chip = deployability_summary(report)
    elif profile:
        raise InputError("--profile goes with --deployability.")
    from spikegpt_neuro.network import LanguageModel

    described = {"layout": info.layout, **asdict(info)}
    if isinstance(value, LanguageModel):
        model = value.info
        headline = (
            f"{network}: {model.layout} layout, {model.n_layer} blocks of width {model.n_embd}, "
            f"vocabulary {model.vocabulary_size}{'' if value.vocabulary else ' (not stored)'}"
            f"{', classes ' + ', '.join(model.labels) if model.labels else ''}"
        )
    else:
        headline = f"{network}: chain, {value.input_size} values in, {value.output_size} out"
        described |= {"inputs": value.input_size, "outputs": value.output_size}
    output.result(
        {
            "path": str(network), "bytes": network.stat().st_size, "info": described,
            "logit_scale": value.logit_scale, "has_vocabulary": bool(value.vocabulary),
            "layers": found, **({} if deployed is None else {"deployability": deployed}),
        },
        headline,
        *source, *settings, *notes, "", every if layers else stages, *chip,
    )  # fmt: skip
