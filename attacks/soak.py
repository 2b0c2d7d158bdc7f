"""``python -m attacks soak``: long runs and many sessions, each equal to what it is alone.

Long: ``--tokens`` generated in one session, whose memory must stay flat, and once more in slices by
``simulate --state``, each a process of its own: the same tokens. Many: ``--sessions`` on one mapped
network, their steps mixed and then in threads: each generates what it does alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.generation import generate, read_prompt
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.network.network import as_language_model
from spikegpt_neuro.sampling import Sampler
from spikegpt_neuro.sampling_settings import SamplingSettings

FLAT = 16 << 20
"""Bytes that memory may grow from the first tenth of a long run to its end."""


def resident() -> int:
    """Bytes of memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _settings(seed: int) -> SamplingSettings:
    return SamplingSettings(temperature=1.0, seed=seed)


def _sampler(network: LanguageModel, seed: int) -> Sampler:
    return Sampler(_settings(seed), network.logit_scale, network.info.vocabulary_size)


def long_run(network: LanguageModel, tokens: int) -> dict[str, Any]:
    """One session: its tokens, seconds, and memory after a tenth and at the end."""
    made, early = [], 0
    began = time.monotonic()
    with Emulator().open(network) as session:
        logits = read_prompt(session, [0])
        for token, _ in generate(session, logits, _sampler(network, 0), tokens):
            made.append(token)
            if len(made) == max(1, tokens // 10):
                early = resident()
        late = resident()
    # the list itself grows by a pointer a token; small whole numbers are shared
    grown = late - early - 8 * len(made)
    return {"made": made, "seconds": time.monotonic() - began, "grown_bytes": grown}


def in_slices(path: Path, tokens: int, slices: int) -> list[int]:
    """The same tokens by ``simulate --state``, in ``slices`` processes of different lengths."""
    made: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.npz"
        for number in range(slices):
            count = tokens - len(made) if number == slices - 1 else tokens // slices + number
            begin = ["--prompt-tokens", "0", "--seed", "0"] if number == 0 else []
            done = subprocess.run(
                [sys.executable, "-m", "spikegpt_neuro.cli.main", "simulate", str(path),
                 "--tokens", str(count), "--temperature", "1", "--top-p", "1", "--state",
                 str(state), "--json", *begin],
                check=True, capture_output=True,
            )  # fmt: skip
            made += json.loads(done.stdout)["token_ids"]
    return made


def alone(network: LanguageModel, seed: int, tokens: int) -> list[int]:
    """What a session generates with nobody beside it."""
    with Emulator().open(network) as session:
        logits = read_prompt(session, [seed % network.info.vocabulary_size])
        return [token for token, _ in generate(session, logits, _sampler(network, seed), tokens)]


def together(network: LanguageModel, seeds: Sequence[int], tokens: int) -> list[list[int]]:
    """The same of many sessions of one network, a token of each in turn."""
    sessions = [Emulator().open(network) for _ in seeds]
    try:
        running = [
            generate(
                session, read_prompt(session, [seed % network.info.vocabulary_size]),
                _sampler(network, seed), tokens,
            )
            for session, seed in zip(sessions, seeds, strict=True)
        ]  # fmt: skip
        made: list[list[int]] = [[] for _ in seeds]
        for _ in range(tokens):
            for own, one in zip(made, running, strict=True):
                own.append(next(one)[0])
        return made
    finally:
        for session in sessions:
            session.close()


def many(network: LanguageModel, sessions: int, tokens: int, threads: int = 4) -> dict[str, Any]:
    """Sessions whose tokens differ from their lone run's: mixed, and in threads."""
    seeds = range(sessions)
    lone = [alone(network, seed, tokens) for seed in seeds]
    mixed = together(network, seeds, tokens)
    with ThreadPoolExecutor(threads) as pool:
        threaded = list(pool.map(lambda seed: alone(network, seed, tokens), seeds))
    return {
        "sessions": sessions, "tokens_each": tokens, "distinct": len({tuple(r) for r in lone}),
        "different_mixed": sum(a != b for a, b in zip(lone, mixed, strict=True)),
        "different_in_threads": sum(a != b for a, b in zip(lone, threaded, strict=True)),
    }  # fmt: skip


def soak(path: Path, tokens: int, slices: int, sessions: int, each: int) -> dict[str, Any]:
    """Both parts; ``bad`` lists what did not hold."""
    network = as_language_model(read_network(path))
    found = long_run(network, tokens)
    made = found.pop("made")
    equal = in_slices(path, tokens, slices) == made
    beside = many(network, sessions, each)
    bad = [] if equal else ["the slices' tokens differ"]
    if found["grown_bytes"] > FLAT:
        bad.append(f"memory grew by {found['grown_bytes']} bytes")
    bad += [key for key in ("different_mixed", "different_in_threads") if beside[key]]
    return {
        "network": path.name, "tokens": tokens, "tokens_per_second": tokens / found["seconds"],
        **found, "slices": slices, "slices_equal": equal, **beside, "bad": bad,
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Entry point; exit code 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m attacks soak", description=__doc__)
    parser.add_argument("network", type=Path)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--slices", type=int, default=7)
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--each", type=int, default=500, help="tokens of each of the sessions")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    found = soak(options.network, options.tokens, options.slices, options.sessions, options.each)
    text = json.dumps(found, indent=1)
    if options.json is not None:
        options.json.write_text(text + "\n", "utf-8")
    print(text)
    return 1 if found["bad"] else 0
