"""``fit``: the smaller network that loses least under a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.inputs import (
    PackingOption,
    VocabularyOption,
    check_apart,
    check_free,
    vocabulary_of,
)
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption, Stopwatch, check_inputs
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.reports.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from spikegpt_neuro.fitting.points import Fit


def fit(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="NET_OR_CHECKPOINT", help="A network, or a checkpoint, exported first."
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="NET", help="The network to write.")],
    text: Annotated[
        Path, typer.Option(metavar="FILE", help="Text like that the model was trained on.")
    ],
    profile: Annotated[
        str,
        typer.Option(
            help="Hardware target, by name or as a .toml file; see `profiles`.",
            autocompletion=completion.profiles,
        ),
    ] = "loihi2",
    chips: Annotated[int | None, typer.Option(metavar="N", help="Chips it must fit.")] = None,
    cores: Annotated[int | None, typer.Option(metavar="N", help="Or neuro cores.")] = None,
    joules: Annotated[
        float | None,
        typer.Option(
            metavar="J",
            help="Or joules a token it may take: pruning and spike levels are searched, too.",
        ),
    ] = None,
    mode: Annotated[
        Literal["fall-through", "pipelined"],
        typer.Option(help="What joules and times are of: generation or scoring."),
    ] = "fall-through",
    packing: PackingOption = "middle",
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Keep what is computed there; a search broken off goes on."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite NET and the front beside it.")
    ] = False,
    vocab: VocabularyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search bits and pruning of projections and spike levels for the least loss under a budget.

    Writes NET, and beside it NET.front.csv and NET.front.svg: what could be had for other budgets.
    """
    output = Output(as_json=as_json, quiet=quiet)
    watch = Stopwatch()
    from spikegpt_neuro.fitting.of_text import fit_on_text, front_files
    from spikegpt_neuro.fitting.points import Budget
    from spikegpt_neuro.hardware_profiles import load_profile
    from spikegpt_neuro.opening import open_or_export
    from spikegpt_neuro.texts import read_text

    for path in (target, *front_files(target)):
        check_free(path, force=force)
    check_apart([target, *front_files(target)], [source, text, vocab, Path(profile)])
    if threads < 1:
        raise InputError(f"--threads {threads}; at least 1 is needed.")
    budget = Budget(cores, chips, joules)
    known = load_profile(profile)
    words = read_text(text)
    network = open_or_export(source, words, vocab)
    with output.progress("fitting") as progress:
        fitted = fit_on_text(
            network, words, vocabulary_of(network, vocab), budget, known, packing=packing,
            mode=mode, threads=threads, work=work,
            progress=lambda what, step, steps: progress(step, steps),
        )  # fmt: skip
    check_inputs()
    fitted.write(target)
    found, point, characters = fitted.fit, fitted.fit.point, fitted.characters_per_token
    value: dict[str, Any] = {
        "path": str(target), "bytes": target.stat().st_size, "seconds": watch.seconds,
        "profile": known.name, "packing": packing, "mode": mode, "text_tokens": fitted.tokens,
        "chosen": point.to_dict(), "front": [p.to_dict() for p in found.front],
        "projections": {
            name: {"bits": choice.bits, "pruned": choice.pruned}
            for name, choice in found.choices.items()
        },
        "levels": dict(found.levels),
    }  # fmt: skip
    output.result(
        value,
        _front_table(found, characters),
        f"{target}: {point.bits:.2f} bits a weight, {point.cores} cores on {point.chips} chips, "
        f"{fitted.loss_bits_per_character:+.4f} bits per character, {watch.seconds:.0f} s",
    )


def _front_table(found: Fit, characters: float) -> Table:
    levels = ">levels|" if found.levels else ""
    made = table(
        f">bits a weight|{levels}>cores|>chips|>mJ a token|>ms a token|>bits a character|>loss|"
        "network"
    )
    for point in found.front:
        made.add_row(
            f"{point.bits:.2f}", *([f"{point.levels or 1:.1f}"] if levels else []),
            str(point.cores), str(point.chips),
            "-" if point.joules is None else f"{1e3 * point.joules:.4g}",
            "-" if point.seconds is None else f"{1e3 * point.seconds:.4g}",
            f"{point.bits_per_token / characters:.4f}", f"{point.loss / characters:+.4f}",
            "written" if point.chosen else "",
        )  # fmt: skip
    return made
