"""A small network with a vocabulary, what it says alone, and a server of it in a process."""

from __future__ import annotations

import json
import os
import queue
import signal
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest

from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.generation import generate, read_prompt
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.sampling import Sampler
from spikegpt_neuro.sampling_settings import SamplingSettings
from spikegpt_neuro.serving.engine import Deliver
from spikegpt_neuro.serving.streams import End, Event, Failure, Piece
from spikegpt_neuro.vocabulary import CharacterVocabulary

CHARACTERS = CharacterVocabulary(string.ascii_letters + "\n :.,!?é☃\U0001f600"[:-1])


@cache
def small_network() -> LanguageModel:
    shape = RandomShape(n_layer=2, n_embd=24, vocabulary_size=CHARACTERS.size)
    return replace(random_network(shape), vocabulary=CHARACTERS.text)


def sampler(network: LanguageModel, **settings: Any) -> Sampler:
    return Sampler(SamplingSettings(**settings), network.logit_scale, CHARACTERS.size)


@dataclass(frozen=True)
class Alone:
    """What one text is alone: the oracle of every stream."""

    text: str
    tokens: list[int]
    prompt: Counters
    completion: Counters
    state: Any


def alone(prompt: str, count: int, **settings: Any) -> Alone:
    network = small_network()
    with EmulatorSession(network) as session:
        logits = read_prompt(session, CHARACTERS.encode(prompt).tolist())
        read = session.counters
        chosen = generate(session, logits, sampler(network, **settings), count)
        tokens = [token for token, _ in chosen]
        return Alone(
            CHARACTERS.decode(tokens), tokens, read, session.counters - read, session.state
        )


class Heard:
    """Events of some orders, from the engine's thread."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[Any, Event]] = queue.Queue()

    def deliver(self, name: Any = None) -> Deliver:
        return lambda index, event: self.queue.put((index if name is None else name, event))

    def all(self, count: int) -> tuple[dict[Any, str], dict[Any, End | Failure]]:
        """Texts and ends of ``count`` streams."""
        texts: dict[Any, str] = {}
        ends: dict[Any, End | Failure] = {}
        while len(ends) < count:
            name, event = self.queue.get(timeout=60)
            if isinstance(event, Piece):
                texts[name] = texts.get(name, "") + event.text
            else:
                ends[name] = event
        return texts, ends


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "small.net"
    write_network(small_network(), path)
    return path


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    url: str
    process: subprocess.Popen[str]

    def post(self, path: str = "/v1/completions", **body: Any) -> httpx2.Response:
        return httpx2.post(self.url + path, json={"model": "small", **body}, timeout=60)

    def metrics(self) -> dict[str, float]:
        lines = httpx2.get(self.url + "/metrics", timeout=60).text.splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {name.removeprefix("spikegpt_neuro_"): float(value) for name, value in pairs}

    def end(self, number: int = signal.SIGTERM, seconds: float = 60) -> tuple[int, str]:
        """Exit code and standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, errors


Serve = Callable[..., Any]


@contextmanager
def serving(net: Path, *options: object) -> Iterator[Running]:
    process = subprocess.Popen(
        [sys.executable, "-m", "spikegpt_neuro.cli.main", "serve", str(net), "--port", "0",
         "--json", *map(str, options)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = []
        while not lines or lines[-1] != "}\n":
            line = process.stdout.readline()
            assert line, process.communicate()
            lines.append(line)
        yield Running(json.loads("".join(lines))["url"], process)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def server(net: Path) -> Iterator[Running]:
    """One with few places, so that streams wait for each other."""
    options = ("--streams", 4, "--queue", 8, "--max-tokens", 3000, "--sessions", 2)
    with serving(net, *options) as running:
        yield running
        code, errors = running.end()
        assert code == 0, errors
        assert "Traceback" not in errors and "ERROR" not in errors, errors
