"""``fit``: the smaller network that loses least under a budget."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.inputs import (
    PackingOption,
    VocabularyOption,
    check_apart,
    check_free,
    open_network,
    vocabulary_of,
)
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption, Stopwatch, check_inputs
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.reports.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from spikegpt_neuro.fitting.search import Fit
    from spikegpt_neuro.network import LanguageModel


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
        float | None, typer.Option(metavar="J", help="Or joules a token it may take.")
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
    """Search bits and pruning of every projection for the least loss under a budget.

    Writes NET, and beside it NET.front.csv and NET.front.svg: what could be had for other budgets.
    """
    output = Output(as_json=as_json, quiet=quiet)
    watch = Stopwatch()
    plot, front = (target.with_name(f"{target.name}.front.{end}") for end in ("svg", "csv"))
    for path in (target, plot, front):
        check_free(path, force=force)
    check_apart([target, plot, front], [source, text, vocab, Path(profile)])
    if threads < 1:
        raise InputError(f"--threads {threads}; at least 1 is needed.")
    from spikegpt_neuro.converters.moments import sample_windows
    from spikegpt_neuro.fitting.front import write_plot, write_table
    from spikegpt_neuro.fitting.search import Budget, Fitting
    from spikegpt_neuro.hardware_profiles import load_profile
    from spikegpt_neuro.network.file import write_network
    from spikegpt_neuro.texts import read_text

    budget = Budget(cores, chips, joules)
    known = load_profile(profile)
    network = _network(source, text, vocab)
    words = read_text(text)
    tokens = vocabulary_of(network, vocab).encode(words)
    characters = len(words) / max(1, len(tokens))
    windows = sample_windows(network, tokens)
    with output.progress("fitting") as progress:
        search = Fitting(
            network, windows, known, packing=packing, mode=mode, prune=joules is not None,
            threads=threads, folder=work,
            progress=lambda what, step, steps: progress(step, steps),
        )  # fmt: skip
        found = search.fit(budget)
    check_inputs()
    write_network(found.network, target)
    write_table(found.front, front)
    write_plot(found.front, plot, characters)
    point = found.point
    value: dict[str, Any] = {
        "path": str(target), "bytes": target.stat().st_size, "seconds": watch.seconds,
        "profile": known.name, "packing": packing, "mode": mode, "text_tokens": int(windows.size),
        "chosen": point.to_dict(), "front": [p.to_dict() for p in found.front],
        "projections": {
            name: {"bits": choice.bits, "pruned": choice.pruned}
            for name, choice in found.choices.items()
        },
    }  # fmt: skip
    output.result(
        value,
        _front_table(found, characters),
        f"{target}: {point.bits:.2f} bits a weight, {point.cores} cores on {point.chips} chips, "
        f"{point.loss / characters:+.4f} bits per character, {watch.seconds:.0f} s",
    )


def _network(source: Path, text: Path, vocab: Path | None) -> LanguageModel:
    """The network of a file, or of a checkpoint exported with this text."""
    import h5py

    from spikegpt_neuro.network import Chain

    if source.is_file() and h5py.is_hdf5(source):
        found = open_network(source)
        if isinstance(found, Chain):
            raise InputError("a chain has nothing to fit: give a network that reads tokens.")
        return found
    from spikegpt_neuro.converters.checkpoint import read_checkpoint
    from spikegpt_neuro.converters.export import export_checkpoint
    from spikegpt_neuro.network.file import read_network
    from spikegpt_neuro.texts import read_text
    from spikegpt_neuro.vocabulary import parse_vocabulary, read_vocabulary

    read = read_checkpoint(source)
    if vocab is None and not read.vocabulary:
        raise InputError(f"{source} brings no vocabulary.", advice="Give --vocab FILE.")
    vocabulary = (
        read_vocabulary(vocab)
        if vocab is not None
        else parse_vocabulary(read.vocabulary, f"the vocabulary in {source}")
    )
    vocabulary.check_size(read.architecture.vocabulary_size)
    tokens = vocabulary.encode(read_text(text)).tolist()
    with tempfile.TemporaryDirectory(prefix="spikegpt-neuro-") as folder:
        path = Path(folder) / "model.net"
        export_checkpoint(source, path, vocabulary=vocabulary.text, calibration=tokens)
        made = read_network(path)  # stays mapped when the name is gone
    assert not isinstance(made, Chain)
    return made


def _front_table(found: Fit, characters: float) -> Table:
    made = table(
        ">bits a weight|>cores|>chips|>mJ a token|>ms a token|>bits a character|>loss|network"
    )
    for point in found.front:
        made.add_row(
            f"{point.bits:.2f}", str(point.cores), str(point.chips),
            "-" if point.joules is None else f"{1e3 * point.joules:.4g}",
            "-" if point.seconds is None else f"{1e3 * point.seconds:.4g}",
            f"{point.bits_per_token / characters:.4f}", f"{point.loss / characters:+.4f}",
            "written" if point.chosen else "",
        )  # fmt: skip
    return made
