"""The package in a notebook: ``import spikegpt_neuro as sn``.

Every function takes a network (``load``) or a path to one, and plain Python values; what it returns
prints and shows itself. The commands of the same names do the same (docs/python.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spikegpt_neuro.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from spikegpt_neuro.backends import Backend
    from spikegpt_neuro.backends.base import Session
    from spikegpt_neuro.classification import Classification
    from spikegpt_neuro.converters.export_report import ExportReport
    from spikegpt_neuro.energy.mapping_choice import Aim
    from spikegpt_neuro.energy.study import Study
    from spikegpt_neuro.fitting.of_text import TextFit
    from spikegpt_neuro.mapping import Mapping
    from spikegpt_neuro.network import Chain, LanguageModel
    from spikegpt_neuro.scoring import Scoring
    from spikegpt_neuro.verification import Verification
    from spikegpt_neuro.vocabulary import Vocabulary

    AnyNetwork = LanguageModel | Chain
    Source = str | PathLike[str] | AnyNetwork
    Reads = str | Sequence[int] | npt.NDArray[np.integer[Any]]

__all__ = [
    "classify", "energy", "export", "fit", "generate", "load", "map", "open", "score", "trace",
    "verify",
]  # fmt: skip


def load(path: str | PathLike[str]) -> AnyNetwork:
    """The network in a ``model.net`` of ``export``, or the chain in a stock NetX file.

    The whole file is checked, its checksums included. Raises ``InputError`` listing what is wrong.
    """
    from spikegpt_neuro.opening import open_network

    return open_network(Path(path))


def export(
    checkpoint: str | PathLike[str],
    network: str | PathLike[str],
    *,
    vocabulary: str | PathLike[str] | None = None,
    calibration: str | PathLike[str] | None = None,
    adapter: str | PathLike[str] | None = None,
    lora_alpha: float | None = None,
    **options: Any,
) -> ExportReport:
    """Calibrate and quantise a checkpoint and write an integer network.

    ``vocabulary``, ``calibration``: files, the latter a text like that the model was trained on.
    ``adapter``: LoRA adapters to merge, ``lora_alpha`` theirs where no file says it.
    ``options``: fields of ``converters.export_report.ExportOptions`` (``layout``, ``weight_bits``
    ...). ``network`` is replaced only when everything has succeeded. Raises ``InputError``.
    """
    from spikegpt_neuro.converters.checkpoint import read_checkpoint
    from spikegpt_neuro.converters.export import export_checkpoint
    from spikegpt_neuro.converters.export_report import ExportOptions
    from spikegpt_neuro.texts import read_text
    from spikegpt_neuro.vocabulary import parse_vocabulary, read_vocabulary

    read = read_checkpoint(
        Path(checkpoint), adapter=None if adapter is None else Path(adapter), lora_alpha=lora_alpha
    )
    found: Vocabulary | None = None
    if vocabulary is not None:
        found = read_vocabulary(Path(vocabulary))
    elif read.vocabulary:
        found = parse_vocabulary(read.vocabulary, f"the vocabulary in {checkpoint}")
    tokens, characters_per_token = None, 1.0
    if calibration is not None:
        if found is None:
            raise InputError("calibration needs a vocabulary, to turn the text into tokens.")
        encoded = found.encode_text(read_text(Path(calibration)))
        tokens, characters_per_token = encoded.tokens.tolist(), encoded.characters_per_token
    return export_checkpoint(
        read, Path(network), vocabulary="" if found is None else found.text,
        calibration=tokens, options=ExportOptions(**options),
        characters_per_token=characters_per_token,
    )  # fmt: skip


def open(
    network: Source, backend: str = "emulator", *, trace: Iterable[str] = (), threads: int = 1
) -> Session:
    """A session of ``network`` on a backend, to ``step``, ``score``, ``reset``, ``trace``, count.

    Use it in a ``with`` block. ``trace``: names of layers whose values are kept. Raises
    ``Unavailable`` where the machine lacks what the backend needs.
    """
    if isinstance(trace, str):
        raise InputError(f"trace is the text {trace!r}; give a list of layer names: [{trace!r}].")
    return _backend(backend, threads).open(_network(network), trace=tuple(trace))


def generate(
    network: Source,
    prompt: str | Sequence[int],
    tokens: int = 100,
    *,
    backend: str = "emulator",
    vocabulary: str | PathLike[str] | None = None,
    closed_loop: bool = False,
    **sampling: Any,
) -> str:
    """The text that follows ``prompt``: ``tokens`` tokens.

    ``sampling``: fields of ``sampling_settings.SamplingSettings`` (``temperature``, ``top_p``,
    ``top_k``, ``presence_penalty``, ``seed`` ...) that differ from ``FOR_TEXT`` there.
    ``temperature=0`` is greedy: the same tokens on every machine. ``closed_loop``: the network
    chooses these itself and feeds them back; ``lava-fine`` then runs without the host.
    """
    from dataclasses import replace

    from spikegpt_neuro.generation import generate as steps
    from spikegpt_neuro.generation import generate_closed, read_prompt
    from spikegpt_neuro.network.network import as_language_model
    from spikegpt_neuro.network.selection import with_selection
    from spikegpt_neuro.sampling import Sampler
    from spikegpt_neuro.sampling_settings import FOR_TEXT

    value = as_language_model(_network(network))
    known = _vocabulary(value, vocabulary)
    ids = known.encode(prompt).tolist() if isinstance(prompt, str) else [int(t) for t in prompt]
    if closed_loop:
        if sampling not in ({}, {"temperature": 0}):
            raise InputError("closed_loop is greedy: give no sampling but temperature=0.")
        with _backend(backend).open_model(with_selection(value, known.size)) as session:
            return known.decode(generate_closed(session, ids, tokens))
    sampler = Sampler(replace(FOR_TEXT, **sampling), value.logit_scale, known.size)
    with _backend(backend).open_model(value) as session:
        logits = read_prompt(session, ids)
        return known.decode([token for token, _ in steps(session, logits, sampler, tokens)])


def score(
    network: Source,
    text: str | Sequence[int],
    *,
    context: int | None = None,
    tokens: int | None = None,
    backend: str = "emulator",
    vocabulary: str | PathLike[str] | None = None,
) -> Scoring:
    """Bits per character of ``text`` (the text itself, or token ids) under the network.

    ``context``: tokens a window, the state reset at each; None: carried on. ``tokens``: predictions
    at most.
    """
    from spikegpt_neuro.network.network import as_language_model
    from spikegpt_neuro.scoring import score_tokens

    value = as_language_model(_network(network))
    ids: Any = text
    ends = None
    if isinstance(text, str):
        encoded = _vocabulary(value, vocabulary).encode_text(text)
        ids, ends = encoded.tokens, encoded.ends
    with _backend(backend).open_model(value) as session:
        return score_tokens(
            session, ids, logit_scale=value.logit_scale,
            vocabulary_size=value.info.vocabulary_size, context=context, limit=tokens, ends=ends,
        )  # fmt: skip


def trace(
    network: Source, reads: Reads, layer: str, *, backend: str = "emulator",
    vocabulary: str | PathLike[str] | None = None,
) -> npt.NDArray[np.int32]:  # fmt: skip
    """What ``layer`` sends at each token of a text (or time step of a raster): int32 [T, size].

    Of LIF neurons these are the spikes. ``network.spiking_layers`` names them.
    """
    value = _network(network)
    with _backend(backend).open(value, trace=(layer,)) as session:
        session.score(_steps(value, reads, vocabulary))
        return session.trace(layer)


def verify(
    network: Source, reads: Reads, backends: tuple[str, str] = ("emulator", "lava"), *,
    tokens: int = 512, vocabulary: str | PathLike[str] | None = None,
) -> Verification:  # fmt: skip
    """Whether two backends compute the same integers: every layer, every step, every counter."""
    from spikegpt_neuro.verification import verify as compare

    value = _network(network)
    steps = _steps(value, reads, vocabulary)[:tokens]
    return compare(value, steps, *(_backend(name) for name in backends))


def energy(
    network: Source,
    reads: Reads,
    profiles: Sequence[str] = ("loihi2",),
    *,
    tokens: int | None = None,
    batches: Sequence[int] = (1, 8, 64),
    streams: Sequence[int] = (1, 8, 64),
    rates: Sequence[float] = (1.0, 10.0, 100.0),
    backend: str = "emulator",
    vocabulary: str | PathLike[str] | None = None,
    aim: Aim | None = None,
) -> Study:
    """Count every event of a run and price it for hardware targets: estimates, never measurements.

    ``profiles``: names (``hardware_profiles.list_profiles``) or TOML files. ``batches`` of tokens
    that share the reading of weights, ``streams`` that follow each other through a chip and
    ``rates`` in tokens a second: what ``Study.batches``, ``streams`` and ``arrivals`` hold.
    ``aim``: ``time`` or ``energy``, of which each mapping is to take the least. Reports are of
    prefill, of generation, and of generation closed on the chip where the target has that.
    """
    from spikegpt_neuro.energy import build_study, run_text
    from spikegpt_neuro.energy.choosing import wants_choices
    from spikegpt_neuro.energy.study import Rows
    from spikegpt_neuro.energy.timing import EVERY_MODE
    from spikegpt_neuro.hardware_profiles import load_profile

    if isinstance(profiles, str):
        profiles = (profiles,)
    value = _network(network)
    steps = _steps(value, reads, vocabulary)[:tokens]
    rows = Rows(tuple(batches), tuple(streams), tuple(rates))
    listed = [load_profile(name) for name in profiles]
    chooses = wants_choices(EVERY_MODE, listed)
    run = run_text(_backend(backend), value, steps, batches=rows.batches, chooses=chooses)
    return build_study(value, run, listed, text="text", rows=rows, aim=aim)


def classify(
    network: Source,
    texts: str | Sequence[str],
    labels: Sequence[str] = (),
    *,
    backend: str = "emulator",
    threads: int = 1,
    vocabulary: str | PathLike[str] | None = None,
) -> Classification:
    """What a classifier takes texts for, each read from rest.

    ``labels``: what they are, one to each, for ``accuracy`` and ``confusion``. ``run`` holds the
    events counted, which ``energy.build_study`` prices; ``decided(confidence)`` says how soon
    decisions could be taken.
    """
    from spikegpt_neuro.classification import classify_texts
    from spikegpt_neuro.network.network import as_classifier

    value = as_classifier(_network(network))
    if isinstance(texts, str):
        texts = (texts,)
    known = _vocabulary(value, vocabulary)
    return classify_texts(_backend(backend, threads), value, known, texts, truth=labels)


def fit(
    network: Source,
    text: str,
    path: str | PathLike[str] | None = None,
    *,
    cores: int | None = None,
    chips: int | None = None,
    joules: float | None = None,
    profile: str = "loihi2",
    mode: Literal["pipelined", "fall-through"] = "fall-through",
    packing: str = "middle",
    threads: int = 1,
    work: str | PathLike[str] | None = None,
    vocabulary: str | PathLike[str] | None = None,
) -> TextFit:
    """The smaller network that loses least on ``text`` under a number of cores or chips, or joules
    a token: bits of every projection are searched, for joules its pruning and spike levels, too.

    ``network`` may also be the path of a checkpoint, exported first with ``text``. ``path``: write
    the network there, and the front of what could be had beside it. ``work``: folder in which a
    search broken off goes on.
    """
    from spikegpt_neuro.fitting.of_text import fit_on_text
    from spikegpt_neuro.fitting.points import Budget
    from spikegpt_neuro.hardware_profiles import load_profile
    from spikegpt_neuro.network.network import as_language_model
    from spikegpt_neuro.opening import open_or_export

    budget, target = Budget(cores, chips, joules), load_profile(profile)
    given = None if vocabulary is None else Path(vocabulary)
    if isinstance(network, str | PathLike):
        value = open_or_export(Path(network), text, given)
    else:
        value = as_language_model(network)
    found = fit_on_text(
        value, text, _vocabulary(value, vocabulary), budget, target, packing=packing, mode=mode,
        threads=threads, work=None if work is None else Path(work),
    )  # fmt: skip
    if path is not None:
        found.write(Path(path))
    return found


def map(
    network: Source,
    profile: str = "loihi2",
    *,
    packing: str = "middle",
    reads: Reads | None = None,
    aim: Aim | None = None,
    vocabulary: str | PathLike[str] | None = None,
) -> Mapping:
    """Place a network on the cores and chips of a target; ``violations`` lists broken rules.

    ``reads``: what weighs traffic by its events; without it every value is one. ``aim``: ``time``
    or ``energy``, of which the mapping is to take the least; needs ``reads``.
    ``energy.mapping_choice.choose_mapping`` also gives the simple mappings beside it.
    """
    from spikegpt_neuro.backends.emulator import Emulator
    from spikegpt_neuro.energy import run_text
    from spikegpt_neuro.energy.mapping_choice import choose_mapping
    from spikegpt_neuro.hardware_profiles import load_profile
    from spikegpt_neuro.mapping import map_network

    value, target = _network(network), load_profile(profile)
    counters = None
    if reads is not None:
        counters = run_text(Emulator(), value, _steps(value, reads, vocabulary)).counters
    if aim is None:
        return map_network(value, target, packing, counters)
    if counters is None:
        raise InputError("aim needs reads: a mapping is chosen by the events of a run.")
    return choose_mapping(value, target, counters, aim, packing=packing).chosen.mapping


def _network(source: Source) -> AnyNetwork:
    return load(source) if isinstance(source, str | PathLike) else source


def _backend(name: str, threads: int = 1) -> Backend:
    from spikegpt_neuro.opening import backend_of

    return backend_of(name, threads)


def _vocabulary(network: AnyNetwork, path: str | PathLike[str] | None) -> Vocabulary:
    from spikegpt_neuro.opening import vocabulary_of

    return vocabulary_of(network, None if path is None else Path(path))


def _steps(
    network: AnyNetwork, reads: Reads, vocabulary: str | PathLike[str] | None
) -> Sequence[int] | npt.NDArray[np.int32]:
    """What the network reads: tokens of a text or as they are, or a checked raster."""
    from spikegpt_neuro.backends.raster import check_raster
    from spikegpt_neuro.network import Chain

    if isinstance(network, Chain):
        if isinstance(reads, str):
            raise InputError("this network is a chain: it reads a raster [T, inputs], not a text.")
        import numpy as np

        return check_raster(np.asarray(reads), network)
    if isinstance(reads, str):
        return _vocabulary(network, vocabulary).encode(reads).tolist()
    return [int(token) for token in reads]
