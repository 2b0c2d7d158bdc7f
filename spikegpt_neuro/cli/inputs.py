"""Options and inputs that several commands share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.opening import backend_of, check_available, open_network, require, vocabulary_of

if TYPE_CHECKING:
    from spikegpt_neuro.backends.base import Int32Array
    from spikegpt_neuro.network import Chain, Network

__all__ = ["backend_of", "check_available", "open_network", "require", "vocabulary_of"]
"""What commands take from here although it is the library's: see ``spikegpt_neuro.opening``."""

NetworkArgument = Annotated[
    Path,
    typer.Argument(
        metavar="NET", help="A network written by `export`, or a stock NetX file (lava-dl's .net)."
    ),
]
RasterOption = Annotated[
    Path | None,
    typer.Option(
        "--raster",
        metavar="FILE.npy",
        help="What a stock NetX chain reads: whole numbers, a row (or an image) a time step.",
    ),
]
VocabularyOption = Annotated[
    Path | None,
    typer.Option(
        "--vocab",
        metavar="FILE",
        help="Vocabulary, if NET holds none: a file of any kind that `export` takes, or a "
        "folder with one.",
    ),
]
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend",
        help="What executes the network: emulator, lava (a process a stage), lava-fine (stock "
        "Lava processes, as a chip gets them), loihi2, or an installed one.",
        autocompletion=completion.backends,
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads",
        metavar="N",
        help="Threads of the emulator: the same integers; pays only where N cores are idle.",
    ),
]
AimOption = Annotated[
    Literal["time", "energy"] | None,
    typer.Option(
        "--for",
        help="Divide cores so that time or energy a token is least, see `map`.",
    ),
]
PackingOption = Annotated[
    str,
    typer.Option(
        "--packing",
        help="How densely cores are filled, see `map --help`.",
        autocompletion=completion.packings,
    ),
]


def read_raster(network: Chain, path: Path) -> Int32Array:
    """The raster in a .npy file, checked against the chain: int32 [time steps, inputs]."""
    from spikegpt_neuro.backends.raster import check_raster
    from spikegpt_neuro.readers.arrays import read_array

    return check_raster(read_array(path), network)


def read_steps(
    network: Network, text: Path | None, raster: Path | None, vocabulary: Path | None,
    limit: int | None = None,
) -> list[int] | Int32Array:  # fmt: skip
    """What a network reads, from the option for it: tokens of a text, or a chain's raster.

    ``limit``: tokens or time steps at most.
    """
    from spikegpt_neuro.network import Chain

    if isinstance(network, Chain):
        if raster is None or text is not None:
            raise InputError(
                "this network is a chain: it reads a raster, not a text.",
                advice="Give --raster FILE.npy.",
            )
        if limit is not None and limit < 1:
            raise InputError(f"--tokens {limit}: use at least 1.")
        return read_raster(network, raster)[:limit]
    if raster is not None or text is None:
        raise InputError("this network reads a text, not a raster.", advice="Give --text FILE.")
    return text_tokens(network, vocabulary, text, limit)


def text_tokens(
    network: Network, vocabulary: Path | None, text: Path, limit: int | None = None
) -> list[int]:
    """Tokens of a text file, the first ``limit`` of them."""
    from spikegpt_neuro.texts import read_text

    if limit is not None and limit < 1:
        raise InputError(f"--tokens {limit}: use at least 1.")
    tokens = vocabulary_of(network, vocabulary).encode(read_text(text))
    return tokens[:limit].tolist()


def listed_tokens(text: str) -> list[int]:
    """Token ids of ``1,2,3``."""
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise InputError(f"--prompt-tokens {text!r}: token ids must be numbers: {error}") from error


def check_free(
    path: Path, *, force: bool, advice: str = "Name another file, or use --force."
) -> None:
    """Refuse to overwrite a file unless told to."""
    if path.exists() and not force:
        raise InputError(f"{path} exists.", advice=advice)


def check_apart(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuse to write into what is read, whatever it is called there, and two results into one."""
    written = [path for path in outputs if path is not None]
    read = [path for path in inputs if path is not None]
    problems = [f"{one} is read, too: it is {two}" for one in written for two in read
                if _same(one, two)]  # fmt: skip
    problems += [f"{one} and {two}" for one, two in combinations(written, 2) if _same(one, two)]
    if problems:
        raise InputError(
            "one file cannot be two:", problems, "Name another file to write; nothing was changed."
        )


def _same(one: Path, two: Path) -> bool:
    try:
        return one.samefile(two)
    except (OSError, ValueError):  # not there yet
        return os.path.abspath(one) == os.path.abspath(two)
