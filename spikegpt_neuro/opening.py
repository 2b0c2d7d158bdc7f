"""Opening what a user names: a network of either kind of file, its vocabulary, a backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spikegpt_neuro.errors import InputError

if TYPE_CHECKING:
    from spikegpt_neuro.backends import Backend
    from spikegpt_neuro.network import Chain, LanguageModel, Network
    from spikegpt_neuro.vocabulary import Vocabulary


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


def open_or_export(path: Path, text: str, vocabulary: Path | None) -> LanguageModel:
    """The network in a file of ours, or of a checkpoint, exported with ``text`` as calibration."""
    from spikegpt_neuro.network.container import has_header
    from spikegpt_neuro.network.network import as_language_model
    from spikegpt_neuro.readers.guard import input_file
    from spikegpt_neuro.readers.hdf5 import is_hdf5

    own = False
    if not path.is_dir():  # a checkpoint may be a folder
        with input_file(path, "a network or a checkpoint").open("rb") as stream:
            own = has_header(stream)
    if own or (path.is_file() and is_hdf5(path)):
        return as_language_model(open_network(path))
    from spikegpt_neuro.converters.checkpoint import read_checkpoint
    from spikegpt_neuro.converters.export import export_checkpoint
    from spikegpt_neuro.scratch import scratch_folder
    from spikegpt_neuro.vocabulary import parse_vocabulary, read_vocabulary

    read = read_checkpoint(path)
    if vocabulary is None and not read.vocabulary:
        raise InputError(f"{path} brings no vocabulary.", advice="Give one (--vocab FILE).")
    known = (
        read_vocabulary(vocabulary)
        if vocabulary is not None
        else parse_vocabulary(read.vocabulary, f"the vocabulary in {path}")
    )
    known.check_size(read.architecture.vocabulary_size)
    tokens = known.encode(text).tolist()
    with scratch_folder() as folder:
        made = folder / "model.net"
        export_checkpoint(read, made, vocabulary=known.text, calibration=tokens)
        return as_language_model(open_network(made))  # stays mapped when the name is gone


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
            advice="Give a vocabulary (--vocab FILE), or export again with one.",
        )
    vocabulary.check_size(network.info.vocabulary_size)
    return vocabulary


def backend_of(name: str, threads: int) -> Backend:
    """The backend of that name; more than one thread is for the emulator only."""
    from spikegpt_neuro.backends import get_backend
    from spikegpt_neuro.backends.emulator import Emulator

    check_available([name])
    if threads == 1:
        return get_backend(name)
    if name != Emulator.name:
        raise InputError(f"more than one thread (--threads) is for the emulator, not for {name}.")
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
            [*found.probed, *missing],
            found.advice,
        )
