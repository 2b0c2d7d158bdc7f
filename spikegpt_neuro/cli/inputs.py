"""Options and inputs that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikegpt_neuro.errors import InputError

if TYPE_CHECKING:
    from spikegpt_neuro.backends import Backend
    from spikegpt_neuro.backends.base import Int32Array
    from spikegpt_neuro.network import Chain, LanguageModel, Network
    from spikegpt_neuro.vocabulary import Vocabulary

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
        help="What a stock NetX chain reads: whole numbers [time steps, ...inputs].",
    ),
]
VocabularyOption = Annotated[
    Path | None,
    typer.Option(
        "--vocab",
        metavar="FILE",
        help="Vocabulary file, if NET holds none: SpikeGPT's JSON, or a Hugging Face "
        "tokenizer.json.",
    ),
]
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend",
        help="What executes the network: emulator, lava (a process a stage), lava-fine (stock "
        "Lava processes, as a chip gets them), loihi2, or an installed one.",
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
PackingOption = Annotated[
    str, typer.Option("--packing", help="How densely cores are filled, see `map --help`.")
]


def open_network(path: Path) -> LanguageModel | Chain:
    """The network in a file of ours, or the chain in a stock NetX file; its contents are checked.

    A stock file is read as strictly as ``netx import`` does, with that command's defaults: all of
    its layers, stock timing, spikes where a dense layer reads the raster.
    """
    network = _opened(path)
    network.check_contents()
    return network


def _opened(path: Path) -> LanguageModel | Chain:
    from spikegpt_neuro.network.container import has_header
    from spikegpt_neuro.network.file import read_network
    from spikegpt_neuro.network.version_1 import is_own, read_version_1
    from spikegpt_neuro.readers.guard import input_file
    from spikegpt_neuro.readers.hdf5 import is_hdf5, read_hdf5

    with input_file(path, "a network").open("rb") as stream:
        own = has_header(stream)
    if own or not is_hdf5(path):
        return read_network(path)
    root = read_hdf5(path, "a network")
    if "layer" in root and not is_own(root):
        from spikegpt_neuro.converters.netx import read_netx

        return read_netx(path, root=root)
    return read_version_1(path, root)


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
        raise InputError(
            "this network reads a text, not a raster.", advice="Give --text FILE."
        )  # fmt: skip
    return text_tokens(network, vocabulary, text, limit)


def vocabulary_of(network: Network, path: Path | None) -> Vocabulary:
    """The vocabulary given, or the one the network holds; checked against its size."""
    from spikegpt_neuro.vocabulary import parse_vocabulary, read_vocabulary

    if path is not None:
        vocabulary = read_vocabulary(path)
    elif network.vocabulary:
        vocabulary = parse_vocabulary(network.vocabulary, "the network's vocabulary")
    else:
        raise InputError(
            "The network holds no vocabulary, so text means nothing to it.",
            advice="Give --vocab FILE, or export again with --vocab.",
        )
    vocabulary.check_size(network.info.vocabulary_size)
    return vocabulary


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


def check_free(path: Path, *, force: bool) -> None:
    """Refuse to overwrite a file unless told to."""
    if path.exists() and not force:
        raise InputError(f"{path} exists.", advice="Name another file, or use --force.")


def backend_of(name: str, threads: int) -> Backend:
    """The backend of that name; more than one thread is for the emulator only."""
    from spikegpt_neuro.backends import get_backend
    from spikegpt_neuro.backends.emulator import Emulator

    check_available([name])
    if threads == 1:
        return get_backend(name)
    if name != Emulator.name:
        raise InputError(f"--threads is for the emulator, not for {name}.")
    return Emulator(threads)


def check_available(names: Sequence[str]) -> None:
    """Raise Unavailable, with everything probed, if a backend cannot run here."""
    from spikegpt_neuro.backends import get_backend

    for name in names:
        require(get_backend(name))


def require(backend: Backend) -> None:
    """Raise Unavailable, with everything probed, if the backend cannot run here."""
    from spikegpt_neuro.errors import Unavailable

    found = backend.available()
    if not found.ok:
        missing = [f"missing: {item}" for item in found.missing]
        raise Unavailable(
            f"The backend {backend.name} cannot run on this machine.",
            [*found.probed, *missing], found.advice,
        )  # fmt: skip
