"""Generating text, and setting it aside to go on later with exactly the same integers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import ClosedLoop, TokenSession
from spikegpt_neuro.backends.batch import BatchSession
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.atomic import replaced_file
from spikegpt_neuro.readers.arrays import read_arrays
from spikegpt_neuro.readers.guard import parsing
from spikegpt_neuro.sampling import Sampler

Int32Array = npt.NDArray[np.int32]
_LARGEST_STATE_FILE = 1 << 30


def read_prompt(session: TokenSession, tokens: Sequence[int], piece: int = 64) -> Int32Array:
    """Advance by known tokens, ``piece`` at a time; the logits after the last, int32 [vocabulary].

    A backend gives the logits after every token: a piece of one block keeps them small.
    """
    if not tokens:
        raise InputError(
            "there is nothing to go on from: the prompt has no tokens.",
            advice="Give --prompt or --prompt-tokens, or a --state saved before.",
        )
    for begin in range(0, len(tokens), piece):
        logits = session.score(tokens[begin : begin + piece])
    return logits[-1].copy()


def generate(
    session: TokenSession, logits: Int32Array, sampler: Sampler, count: int
) -> Iterator[tuple[int, Int32Array]]:
    """Choose ``count`` tokens, each fed back; yields a token and the logits after it."""
    for _ in range(count):
        token = sampler.choose(logits)
        logits = session.step(token)
        yield token, logits


def generate_closed(session: TokenSession, prompt: Sequence[int], count: int) -> list[int]:
    """``count`` tokens after ``prompt``, chosen by a network that does so itself.

    A ``ClosedLoop`` is left to itself; on any other session of a ``SelectingModel`` each winner is
    read and fed back here. The tokens are the same: the greedy ones. Raises ``InputError`` without
    a prompt.
    """
    if prompt and isinstance(session, ClosedLoop):
        return [int(token) for token in session.run_loop(prompt, count)]
    chosen: list[int] = []
    winners = read_prompt(session, prompt)
    for _ in range(count):
        chosen.append(int(winners.argmax()))
        winners = session.step(chosen[-1])
    return chosen


@dataclass(frozen=True)
class SavedState:
    """A generation set aside: recurrent state, logits after the last token, sampler's memory."""

    network_sha256: str
    state: Int32Array
    logits: Int32Array
    sampler: dict[str, Any]
    tokens_seen: int


def network_digest(network: Network) -> str:
    """SHA-256 of everything that decides a network's integers: layers, ports, arrays, scalars."""
    digest = hashlib.sha256()
    for layer in network.layers:
        digest.update(repr((layer.name, layer.kind, layer.inputs, layer.output)).encode())
        for name in layer.array_specs():
            array = getattr(layer, name)
            digest.update(repr((name, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).data)
        digest.update(repr([getattr(layer, name) for name in layer.scalar_ranges()]).encode())
    return digest.hexdigest()


def save_state(path: str | Path, saved: SavedState) -> None:
    """Write a state file (numpy .npz) atomically."""
    meta = {
        "network_sha256": saved.network_sha256,
        "sampler": saved.sampler,
        "tokens_seen": saved.tokens_seen,
    }
    text = np.frombuffer(json.dumps(meta).encode("utf-8"), np.uint8)
    with replaced_file(Path(path)) as stream:
        np.savez(stream, state=saved.state, logits=saved.logits, meta=text)


def load_state(path: str | Path, network: Network) -> SavedState:
    """Read what ``save_state`` wrote. Raises InputError if it does not belong to ``network``."""
    path = Path(path)
    found = read_arrays(
        path, ("state", "logits", "meta"), "a state file", largest=_LARGEST_STATE_FILE
    )
    with parsing(path, "a state file"):
        meta = json.loads(found["meta"].tobytes().decode("utf-8"))
        state, logits = found["state"], found["logits"]
        saved = SavedState(
            str(meta["network_sha256"]), state, logits, dict(meta["sampler"]),
            int(meta["tokens_seen"]),
        )  # fmt: skip
    if saved.network_sha256 != network_digest(network):
        raise InputError(
            f"{path} was saved from another network.",
            advice="Use the model.net it was saved with.",
        )
    if logits.shape != (network.info.vocabulary_size,) or logits.dtype != np.int32:
        raise InputError(f"{path} holds logits {logits.dtype} {logits.shape}, which do not fit.")
    if state.dtype != np.int32 or state.ndim != 1:
        raise InputError(f"{path} holds a state {state.dtype} {state.shape}, which does not fit.")
    return saved


def generate_batch(
    session: BatchSession, prompts: Sequence[Sequence[int]], samplers: Sequence[Sampler],
    count: int, progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[int]]:  # fmt: skip
    """``count`` tokens after each prompt, one prompt and sampler a stream of ``session``.

    Every stream's tokens are those that ``read_prompt`` and ``generate`` give it alone.
    """
    session.reset()
    logits = session.read(prompts)
    chosen: list[list[int]] = [[] for _ in prompts]
    for i in range(count):
        tokens = [sampler.choose(row) for sampler, row in zip(samplers, logits, strict=True)]
        for stream, token in zip(chosen, tokens, strict=True):
            stream.append(token)
        progress(i + 1, count)
        if i + 1 < count:
            logits = session.step(tokens)
    return chosen
