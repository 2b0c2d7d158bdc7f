"""Scoring one shard: plain functions and values, so that any worker can do it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.corpus.documents import Shard, sha256_of
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.readers.mapped import check_unchanged
from spikegpt_neuro.scoring import score_tokens
from spikegpt_neuro.texts import read_text
from spikegpt_neuro.version import __version__
from spikegpt_neuro.vocabulary import Vocabulary, parse_vocabulary


@dataclass(frozen=True)
class Settings:
    """What every shard of a run shares. Paths must mean the same on all workers.

    ``vocabulary``: the vocabulary's JSON text. ``context``: see ``scoring.score_tokens``.
    """

    network: str
    network_sha256: str
    vocabulary: str
    context: int | None
    backend: str = "emulator"


def shard_key(shard: Shard, settings: Settings) -> str:
    """Identifies a shard's result: release, network, vocabulary, settings, documents' contents."""
    described = asdict(settings)
    described.pop("network")  # its hash says what it is, wherever it lies
    described["version"] = __version__  # of what counted the events
    described["documents"] = [
        (document.name, sha256_of(document.path)) for document in shard.documents
    ]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode("utf-8")).hexdigest()


@lru_cache(maxsize=1)
def _opened(path: str, sha256: str, vocabulary: str) -> tuple[Network, Vocabulary]:
    """The network, memory mapped once a process, after checking that it is the one meant."""
    found = sha256_of(Path(path))
    if found != sha256:
        raise InputError(
            f"{path} on this worker is another file (SHA-256 {found[:16]}..., expected "
            f"{sha256[:16]}...).",
            advice="Workers must see the same files under the same paths.",
        )
    return read_network(Path(path)), parse_vocabulary(vocabulary)


def score_shard(shard: Shard, settings: Settings) -> dict[str, Any]:
    """Score a shard's documents one after the other, each from a fresh state.

    Result: ``documents`` (name, ``bits`` in total, ``tokens``, ``characters``, ``counters``), and
    ``problems``, a sentence for each document that cannot be scored.
    """
    network, vocabulary = _opened(settings.network, settings.network_sha256, settings.vocabulary)
    documents, problems = [], []
    for document in shard.documents:
        try:
            encoded = vocabulary.encode_text(read_text(document.path))
            with get_backend(settings.backend).open(network) as session:
                scoring = score_tokens(
                    session, encoded.tokens, logit_scale=network.logit_scale,
                    vocabulary_size=network.info.vocabulary_size, context=settings.context,
                    ends=encoded.ends,
                )  # fmt: skip
                counters = session.counters
        except InputError as error:
            problems.append(f"{document.name}: {error.summary}")
            continue
        documents.append(
            {
                "name": document.name,
                "bits": math.fsum(scoring.window_bits),
                "tokens": scoring.tokens,
                "characters": scoring.characters,
                "counters": counters.to_dict(),
            }
        )
    check_unchanged()
    return {"documents": documents, "problems": problems}
