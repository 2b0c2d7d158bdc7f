"""``energy``: joules and seconds a token, from counted events."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.inputs import (
    AimOption,
    BackendOption,
    NetworkArgument,
    PackingOption,
    RasterOption,
    VocabularyOption,
    check_apart,
    check_available,
    check_free,
    open_network,
    read_steps,
    vocabulary_of,
)
from spikegpt_neuro.cli.output import (
    JsonOption,
    Output,
    ProgressCallback,
    QuietOption,
    check_inputs,
)
from spikegpt_neuro.errors import InputError

if TYPE_CHECKING:
    from spikegpt_neuro.backends import Backend
    from spikegpt_neuro.classification import Classification
    from spikegpt_neuro.energy import Study
    from spikegpt_neuro.network import Network

_WRITERS = (".html", ".json", ".parts.csv", ".csv")


def energy(
    network: NetworkArgument,
    text: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text to run while counting.")
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Of a classifier: labelled texts instead (.tsv, .csv, .jsonl), for figures a "
            "decision.",
        ),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0.0,
            max=1.0,
            help="With --labelled: also of a decision where a class first has probability P.",
        ),
    ] = None,
    raster: RasterOption = None,
    counters: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Price the counts of a corpus instead: the JSON that `score --json` printed.",
        ),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Show beside the estimates what a board measured: the .json report of a run with "
            "--backend loihi2.",
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(metavar="N", help="Tokens of the text, or time steps, to run. Default: all."),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="Hardware target, by name or as a .toml file; may be repeated. The first one with "
            "energies gives the single figure. See `profiles`.",
            autocompletion=completion.profiles,
        ),
    ] = None,
    mode: Annotated[
        Literal["all", "both", "pipelined", "fall-through", "closed-loop"],
        typer.Option(
            help="Pipelined: a token enters every step, as in scoring. Fall-through: one token "
            "passes all layers before the next, as in generation. Closed-loop: the same, and the "
            "chip chooses the next token itself, the most probable one, where it can. Both: the "
            "first two."
        ),
    ] = "all",
    packing: PackingOption = "middle",
    aim: AimOption = None,
    reports: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Also write a report: .html, .json, .csv (a row a layer) or .parts.csv (every "
            "count and price); may be repeated.",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also write figures for papers there, SVG and PNG."),
    ] = None,
    date: Annotated[
        str | None,
        typer.Option(
            help="Date printed in the HTML report. Default: today. The rest is the same "
            "bytes every time."
        ),
    ] = None,
    context: Annotated[
        int, typer.Option(metavar="N", min=1, help="Tokens the transformer opponent attends to.")
    ] = 1024,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Show what N tokens cost that share the reading of weights, on arithmetic "
            "targets; may be repeated. In reports and --json: 1, 8 and 64.",
        ),
    ] = None,
    streams: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Show what N generations cost that follow each other through a chip's layers; may "
            "be repeated. In reports and --json: 1, 8 and 64.",
        ),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option(
            metavar="R",
            help="Show what a token costs of which R arrive a second, on a chip that stays on and "
            "on one that is switched off between them; may be repeated. In reports and --json: 1, "
            "10 and 100.",
        ),
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Show every part, coefficient and source.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite reports.")] = False,
    vocab: VocabularyOption = None,
    backend: BackendOption = "emulator",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Count every event of a run and price it for hardware targets.

    Figures are estimates from exact counts and published coefficients, never measurements; each
    coefficient has a source and a status, and what is not counted is listed.
    """
    output = Output(as_json=as_json, quiet=quiet)
    for report in reports or ():
        if not report.name.endswith(_WRITERS):
            raise InputError(f"{report}: a report ends in {', '.join(_WRITERS)}.")
        check_free(report, force=force)
    check_apart(reports or (), [network, text, labelled, raster, counters, measured, vocab])
    from spikegpt_neuro.backends import get_backend
    from spikegpt_neuro.energy import build_study, run_text
    from spikegpt_neuro.energy.choosing import wants_choices
    from spikegpt_neuro.energy.study import DEFAULT_PROFILES, Rows, read_counted_run
    from spikegpt_neuro.energy.timing import modes_named
    from spikegpt_neuro.events.measurement import read_measurements
    from spikegpt_neuro.hardware_profiles import load_profile
    from spikegpt_neuro.reports.terminal import study_summary

    profiles = [load_profile(name) for name in profile or DEFAULT_PROFILES]
    beside = () if measured is None else read_measurements(measured)
    check_available([backend])
    value = open_network(network)
    given = [path for path in (text, labelled, raster, counters) if path is not None]
    if len(given) != 1:
        raise InputError("give one of --text, --labelled, --raster and --counters.")
    if confidence is not None and labelled is None:
        raise InputError("--confidence goes with --labelled.")
    if tokens is not None and labelled is not None:
        raise InputError("--tokens is for one text; --labelled reads all texts of its file.")
    (source,) = given
    wanted = Rows().only(batch, streams, rate)
    asked = {"batches": batch, "streams": streams, "arrivals": rate}
    modes = modes_named(mode)
    decisions = None
    if source is counters:
        run = read_counted_run(source, value)
    elif source is labelled:
        with output.progress("counting") as progress:
            found = _classified(value, source, vocab, get_backend(backend), progress)
        run, decisions = found.run, found.decided(confidence)
    else:
        steps = read_steps(value, text, raster, vocab, tokens)
        with output.progress("counting") as progress:
            run = run_text(
                get_backend(backend), value, steps, progress=progress,
                batches=wanted.batches if batch or details or as_json or reports else (),
                chooses=wants_choices(modes, profiles),
            )  # fmt: skip
    study = build_study(
        value, run, profiles, text=source.name, modes=modes, packing=packing,
        context=context, measured=beside,
        decisions=decisions, rows=wanted, aim=aim,
    )  # fmt: skip
    check_inputs()
    for report in reports or ():
        from spikegpt_neuro.network.atomic import replaced_file

        content = _report(study, report, date)
        with replaced_file(report) as stream:
            stream.write(content.encode("utf-8"))
        output.note(f"report written to {report}")
    if figures is not None:
        from spikegpt_neuro.reports.figures import write_figures

        written = write_figures(study, figures)
        output.note(f"{len(written)} figures written to {figures}")
    rows = [name for name, given in asked.items() if given]
    output.result(
        study.to_dict() if as_json else None, *study_summary(study, details=details, also=rows)
    )


def _classified(
    network: Network, path: Path, vocab: Path | None, backend: Backend, progress: ProgressCallback
) -> Classification:
    """The labelled texts of a file, each decided upon."""
    from spikegpt_neuro.classification import classify_texts
    from spikegpt_neuro.labelled import read_labelled
    from spikegpt_neuro.network.network import as_classifier

    classifier = as_classifier(network)
    rows = read_labelled(path)
    return classify_texts(
        backend, classifier, vocabulary_of(classifier, vocab), [row.text for row in rows],
        truth=[row.label for row in rows], spikes=True, progress=progress,
    )  # fmt: skip


def _report(study: Study, path: Path, date: str | None) -> str:
    """What a file of this name holds."""
    from spikegpt_neuro.reports import tabular
    from spikegpt_neuro.reports.html import html_page
    from spikegpt_neuro.version import __version__

    if path.suffix == ".html":
        today = datetime.date.today().isoformat()
        return html_page(study, date=today if date is None else date, version=__version__)
    if path.suffix == ".json":
        return tabular.as_json(study.to_dict())
    write = tabular.parts_csv if path.name.endswith(".parts.csv") else tabular.layers_csv
    return write(study)
