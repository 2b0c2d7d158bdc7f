"""``publish``: a checkpoint becomes a folder that Hugging Face's tools read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.inputs import open_network
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption
from spikegpt_neuro.errors import InputError

if TYPE_CHECKING:
    from spikegpt_neuro.training.corpus import Corpus


def publish(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="As `export` reads: a file or a folder.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write.")],
    vocab: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The model's vocabulary, if CHECKPOINT holds none."),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Text that the model card's figures are counted on: bits per character of floats "
            "and integers, energy and time a token.",
        ),
    ] = None,
    tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Predictions of the text to count.")
    ] = 512,
    network: Annotated[
        Path | None,
        typer.Option(
            metavar="NET",
            help="The export of CHECKPOINT that is counted. Default: one made for the card.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="TEXT", help="What that export is calibrated on, see `export`. Default: --text."
        ),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="Hardware target of the table, by name or as a .toml file; may be repeated.",
            autocompletion=completion.profiles,
        ),
    ] = None,
    layout: Annotated[
        Literal["auto", "upstream", "rwkv", "spike-driven"],
        typer.Option(help="What CHECKPOINT is, where neither it nor --network says so."),
    ] = "auto",
    embedding: Annotated[
        Literal["auto", "binary", "real"], typer.Option(help="The same of its embedding.")
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace FOLDER.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a model as a folder: config.json, model.safetensors, its vocabulary, a model card.

    Every command reads it in place of a checkpoint, and so does Hugging Face's
    AutoModelForCausalLM after `import spikegpt_neuro.hugging_face`. FOLDER is replaced only when
    everything has succeeded, and never where it holds other files.
    """
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.energy.study import DEFAULT_PROFILES
    from spikegpt_neuro.network import LanguageModel
    from spikegpt_neuro.publishing import save
    from spikegpt_neuro.texts import read_text

    counted = None if network is None else open_network(network)
    if counted is not None and not isinstance(counted, LanguageModel):
        raise InputError(f"{network} is a chain, not the export of a checkpoint.")
    if text is None and (network is not None or calibration is not None or profile):
        output.note("note: without --text nothing is counted; the card has no table")
    with output.progress("counting") as progress:
        written = save(
            folder, checkpoint, vocabulary=vocab, network=counted,
            text=None if text is None else read_text(text),
            calibration=None if calibration is None else read_text(calibration),
            tokens=tokens, profiles=profile or DEFAULT_PROFILES,
            layout=None if layout == "auto" else layout,
            embedding=None if embedding == "auto" else embedding,
            overwrite=force, progress=progress,
        )  # fmt: skip
    files = {file.name: file.stat().st_size for file in sorted(written.iterdir())}
    output.result(
        {"path": str(written), "files": files},
        f"{folder}: {', '.join(files)}, {sum(files.values()) / 1e6:.1f} MB",
    )


def publish_trained(output: Output, folder: Path, model: Path, corpus: Corpus) -> None:
    """Write what ``train`` wrote as a folder; the card's figures are of the text to judge it on, or
    without one of the text it was trained on.
    """
    from spikegpt_neuro.publishing import save
    from spikegpt_neuro.publishing.folder import CALIBRATION_TOKENS

    vocabulary = corpus.vocabulary
    judged = corpus.train if corpus.valid is None else corpus.valid
    with output.progress("counting for the model card") as progress:
        save(
            folder, model, text=vocabulary.decode(judged[:CALIBRATION_TOKENS].tolist()),
            calibration=vocabulary.decode(corpus.train[:CALIBRATION_TOKENS].tolist()),
            overwrite=True, progress=progress,
        )  # fmt: skip
    output.note(f"folder written to {folder}")
