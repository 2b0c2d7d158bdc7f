"""``frontier``: models of any quality against what they cost."""

from __future__ import annotations

import csv
import io
import json
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
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.reports.tables import table

if TYPE_CHECKING:
    from spikegpt_neuro.comparison.frontier import Point

_CHECKPOINTS = (".pt", ".pth", ".safetensors")
_WRITERS = (".json", ".csv", ".svg", ".png")


def frontier(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="Networks written by `export`, or checkpoints, which are exported first.",
        ),
    ],
    text: Annotated[Path, typer.Option(metavar="FILE", help="Text to score and count.")],
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="TEXT", help="Text for the export of checkpoints, see `export`."),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="Tokens of the text. Default: all.")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(metavar="N", help="State starts afresh every N tokens. Default: carried on."),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="Hardware target, by name or as a .toml file; may be repeated.",
            autocompletion=completion.profiles,
        ),
    ] = None,
    mode: Annotated[
        Literal["all", "both", "pipelined", "fall-through", "closed-loop"],
        typer.Option(help="See `energy --help`."),
    ] = "all",
    packing: PackingOption = "middle",
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep exported networks and finished runs there: a command that broke off goes on "
            "with the models it had not done.",
        ),
    ] = None,
    outputs: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Also write .json, .csv, or a plot as .svg or .png; may be repeated.",
        ),
    ] = None,
    vocab: VocabularyOption = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite outputs.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bits a character against joules, chips and time, on every target: which models are beaten.

    Costs are whole bills. Models that no other one beats in both are marked. Spike-driven models
    are compared with plain RWKV at equal quality, by interpolation between its sizes.
    """
    output = Output(as_json=as_json, quiet=quiet)
    for path in outputs or ():
        if path.suffix not in _WRITERS:
            raise InputError(f"{path}: an output ends in {', '.join(_WRITERS)}.")
        check_free(path, force=force)
    check_apart(outputs or (), [*models, text, vocab])
    missing = [f"{path} does not exist" for path in (*models, text) if not path.exists()]
    if missing:
        raise InputError("Some files cannot be read:", missing)
    from spikegpt_neuro.comparison.frontier import answer, compared, evaluate, key_of, points_of
    from spikegpt_neuro.energy.choosing import wants_choices
    from spikegpt_neuro.energy.study import DEFAULT_PROFILES
    from spikegpt_neuro.energy.timing import modes_named
    from spikegpt_neuro.hardware_profiles import load_profile
    from spikegpt_neuro.network.file import read_network
    from spikegpt_neuro.texts import read_text

    profiles = [load_profile(name) for name in profile or DEFAULT_PROFILES]
    modes = modes_named(mode)
    chooses = wants_choices(modes, profiles)
    read = read_text(text)
    points: list[Point] = []
    for path in models:
        file = _exported(path, calibration, vocab, cache, output)
        network = read_network(file)
        vocabulary = vocabulary_of(network, vocab)
        encoded = vocabulary.encode_text(read)
        array = encoded.tokens[:tokens]
        ends = None if encoded.ends is None else encoded.ends[:tokens]
        stored = None
        if cache is not None:
            stored = cache / f"{key_of(file, array, context)}.json"
        with output.progress(path.name) as progress:
            quality = evaluate(
                network, array, context=context, ends=ends, stored=stored, chooses=chooses,
                progress=progress,
            )  # fmt: skip
        points += points_of(str(path), network, quality, profiles, modes, packing)
    found = compared(points)
    answers = answer(found)
    result = {
        "text": text.name,
        "points": [point.to_dict() for point in found],
        "answers": list(answers),
    }
    for path in outputs or ():
        _write(path, found, result)
        output.note(f"written to {path}")
    output.result(result, _table(found), *answers)


def _exported(
    path: Path, calibration: Path | None, vocab: Path | None, cache: Path | None, output: Output
) -> Path:
    """The network of a model: itself, or what its checkpoint exports to, kept in the cache."""
    if path.suffix not in _CHECKPOINTS and not path.is_dir():
        return path
    if cache is None:
        raise InputError(
            f"{path} is a checkpoint, and there is nowhere to keep what it exports to.",
            advice="Give --cache FOLDER.",
        )
    import hashlib

    from spikegpt_neuro.converters.checkpoint import read_checkpoint
    from spikegpt_neuro.converters.export import export_checkpoint
    from spikegpt_neuro.texts import read_text
    from spikegpt_neuro.version import __version__
    from spikegpt_neuro.vocabulary import parse_vocabulary, read_vocabulary

    cache.mkdir(parents=True, exist_ok=True)
    read = read_checkpoint(path)
    digest = hashlib.sha256(read.sha256.encode("ascii"))
    for other in (calibration, vocab):
        digest.update(b"" if other is None else other.read_bytes())
    file = cache / f"{path.stem}-{__version__}-{digest.hexdigest()[:16]}.net"
    if file.exists():
        return file
    vocabulary = None
    if vocab is not None:
        vocabulary = read_vocabulary(vocab)
    elif read.vocabulary:
        vocabulary = parse_vocabulary(read.vocabulary, f"the vocabulary in {path}")
    if vocabulary is None:
        raise InputError(f"{path} brings no vocabulary.", advice="Give --vocab FILE.")
    chosen = None
    share = 1.0
    if calibration is not None:
        words = read_text(calibration)
        chosen = vocabulary.encode(words).tolist()
        share = len(words) / max(1, len(chosen))
    with output.progress(f"exporting {path.name}") as progress:
        export_checkpoint(
            path, file, vocabulary=vocabulary.text, calibration=chosen, characters_per_token=share,
            progress=lambda what, step, steps: progress(step, steps),
        )  # fmt: skip
    return file


def _table(points: tuple[Point, ...]) -> Any:
    from spikegpt_neuro.reports.numbers import count, engineering

    rows = table(
        "model|>bits/char|>weights|target|mode|>energy/token|>time/token|>chips|not beaten in|"
        ">of plain RWKV"
    )
    for p in points:
        joules, seconds, chips = (
            p.cost[name] for name in ("joules_per_token", "seconds_per_token", "chips")
        )
        rows.add_row(
            Path(p.model).name, f"{p.bits_per_character:.4f}", count(p.weights), p.profile,
            p.mode or "-", "-" if joules is None else engineering(joules, "J"),
            "-" if seconds is None else engineering(seconds, "s"),
            "-" if chips is None else f"{chips:.0f}",
            ", ".join(name.split("_")[0] for name in p.frontier),
            "" if p.ratio is None else f"{1 / p.ratio:.2f}",
        )  # fmt: skip
    return rows


def _write(path: Path, points: tuple[Point, ...], result: dict[str, Any]) -> None:
    from spikegpt_neuro.network.atomic import replaced_file

    if path.suffix in (".svg", ".png"):
        from spikegpt_neuro.reports.figures import frontier_figure

        content = frontier_figure(points, path.suffix[1:])
    elif path.suffix == ".json":
        content = json.dumps(result, indent=2, ensure_ascii=False).encode()
    else:
        text = io.StringIO(newline="")
        values = [p.to_dict() for p in points]
        writer = csv.DictWriter(text, list(values[0]), lineterminator="\n")
        writer.writeheader()
        for row in values:
            writer.writerow({k: " ".join(v) if isinstance(v, list) else v for k, v in row.items()})
        content = text.getvalue().encode()
    with replaced_file(path) as stream:
        stream.write(content)
