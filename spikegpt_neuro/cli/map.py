"""``map``: a network on cores and chips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.inputs import (
    NetworkArgument,
    RasterOption,
    VocabularyOption,
    open_network,
    read_steps,
)
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption


def map_network(
    network: NetworkArgument,
    profile: Annotated[
        str,
        typer.Option(
            help="Hardware target, by name or as a .toml file; see `profiles`.",
            autocompletion=completion.profiles,
        ),
    ] = "loihi2",
    packing: Annotated[
        str,
        typer.Option(
            help="How densely cores are filled: the summary compares all packings.",
            autocompletion=completion.packings,
        ),
    ] = "middle",
    text: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Weigh traffic by the events of this text. Default: every value is an event.",
        ),
    ] = None,
    raster: RasterOption = None,
    tokens: Annotated[
        int, typer.Option(metavar="N", help="Tokens of the text, or time steps, to run.")
    ] = 1024,
    aim: Annotated[
        Literal["time", "energy"] | None,
        typer.Option(
            "--for",
            help="Search the division of cores of least time or energy a token; compared with "
            "simple ones. Needs the events of --text or --raster.",
        ),
    ] = None,
    mode: Annotated[
        Literal["both", "pipelined", "fall-through"],
        typer.Option(help="With --for: of prefill (pipelined), generation (fall-through) or both."),
    ] = "both",
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 if a design rule is broken.")
    ] = False,
    vocab: VocabularyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Map a network onto the cores and chips of a target; check its design rules.

    Shows cores, chips, how full they are, which design rules are broken, and the traffic between
    cores. With --for also time and energy a token, beside those of simple mappings.
    """
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.errors import InputError
    from spikegpt_neuro.hardware_profiles import load_profile
    from spikegpt_neuro.mapping import check_capacity, describes_cores, sizes
    from spikegpt_neuro.mapping import map_network as place
    from spikegpt_neuro.reports.mapping_tables import (
        capacity_summary,
        choice_summary,
        mapping_summary,
    )
    from spikegpt_neuro.reports.tabular import mapping_dict

    target = load_profile(profile)
    value = open_network(network)
    counters = None
    if aim is not None and text is None and raster is None:
        raise InputError(
            "--for needs the events of a run.", advice="Give --text FILE, or --raster FILE."
        )
    if text is not None or raster is not None:
        from spikegpt_neuro.backends.emulator import Emulator
        from spikegpt_neuro.energy import run_text

        steps = read_steps(value, text, raster, vocab, tokens)
        with output.progress("counting") as progress:
            counters = run_text(Emulator(), value, steps, progress=progress).counters
    if not describes_cores(target) and aim is None:
        capacity = check_capacity(value, target, counters)
        output.result(capacity.to_dict(), *capacity_summary(capacity))
        if strict and capacity.violations:
            raise typer.Exit(1)
        return
    choice = None
    if aim is not None and counters is not None:
        from spikegpt_neuro.energy.mapping_choice import choose_mapping
        from spikegpt_neuro.energy.timing import MODES

        with output.progress("mapping") as progress:
            choice = choose_mapping(
                value, target, counters, aim, packing=packing,
                modes=MODES if mode == "both" else (mode,), progress=progress,
            )  # fmt: skip
        mapping = choice.chosen.mapping
    else:
        mapping = place(value, target, packing, counters)
    compared = sizes(value, target)
    chosen = [] if choice is None else choice_summary(choice)
    output.result(
        mapping_dict(mapping, compared, choice), *mapping_summary(mapping, compared), *chosen
    )
    if strict and mapping.violations:
        raise typer.Exit(1)
