"""``python -m attacks served``: many clients of one server, each answer held against its lone run.

Clients ask at the same time for texts of all lengths, whole or streamed, go on in sessions, go away
in the middle, and ask for what is refused. Every text that is answered, and its counted synaptic
operations, must be those of a session with nobody beside it; the server's memory must stay flat,
nothing may be left of it, and it must end on SIGTERM with exit code 0. Loopback only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.generation import generate, read_prompt
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.network.network import as_language_model
from spikegpt_neuro.sampling import Sampler
from spikegpt_neuro.sampling_settings import SamplingSettings
from spikegpt_neuro.vocabulary import parse_vocabulary

LONGEST_PROMPT, MOST_TOKENS = 200, 120
OUTCOMES = {"whole", "streamed", "gone", "session", "refused", "busy"}
"""What a client may meet; anything else is a fault."""
FLAT = 32 << 20
"""Bytes the server's memory may grow from a tenth of the time to its end."""


class Clients:
    """The threads that ask, and what came of it."""

    def __init__(self, url: str, model: str, network: LanguageModel, text: str) -> None:
        self._url, self._model, self._network, self._text = url, model, network, text
        self._vocabulary = parse_vocabulary(network.vocabulary, "the network's vocabulary")
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.tokens = 0

    def run(self, seed: int, until: float) -> None:
        """Ask until ``until`` (monotonic seconds)."""
        chance = random.Random(seed)
        with httpx2.Client(base_url=self._url, timeout=600) as client:
            while time.monotonic() < until:
                try:
                    outcome = self._one(client, chance, f"client-{seed}")
                except Exception as error:  # a client must not die unseen
                    outcome = "died"
                    with self._lock:
                        self.wrong.append(f"client {seed}: {type(error).__name__}: {error}")
                with self._lock:
                    self.outcomes[outcome] += 1

    def _one(self, client: httpx2.Client, chance: random.Random, session: str) -> str:
        length = chance.randint(1, LONGEST_PROMPT)
        begin = chance.randrange(len(self._text) - length)
        prompt = self._text[begin : begin + length]
        settings = {
            "temperature": chance.choice((0.0, 0.7, 1.0)), "top_p": chance.choice((1.0, 0.9)),
            "seed": chance.getrandbits(64),
        }  # fmt: skip
        asked = {"model": self._model, "prompt": prompt, **settings,
                 "max_tokens": chance.randint(0, MOST_TOKENS)}  # fmt: skip
        kind = chance.choices(("whole", "streamed", "gone", "session", "refused"),
                              (5, 3, 1, 1, 1))[0]  # fmt: skip
        if kind == "refused":
            answer = client.post("/v1/completions", json={**asked, "no_such": 1})
            return "refused" if answer.status_code == 400 else f"refused: {answer.status_code}"
        if kind == "gone":
            with client.stream("POST", "/v1/completions", json={**asked, "stream": True}) as live:
                next(live.iter_lines(), None)
            return "gone"
        if kind == "session":
            return self._in_two(client, asked, session, chance)
        if kind == "streamed":
            answer_text, usage = self._streamed(client, asked)
            if usage is None:
                return "busy"
        else:
            answer = client.post("/v1/completions", json=asked)
            if answer.status_code == 429:
                return "busy"
            answer.raise_for_status()
            value = answer.json()
            answer_text, usage = value["choices"][0]["text"], value["usage"]
        self._compare(asked, answer_text, usage["events"]["synaptic_operations"])
        return kind

    def _streamed(
        self, client: httpx2.Client, asked: dict[str, Any]
    ) -> tuple[str, dict[str, Any] | None]:
        body = {**asked, "stream": True, "stream_options": {"include_usage": True}}
        text, usage = "", None
        with client.stream("POST", "/v1/completions", json=body) as answer:
            if answer.status_code == 429:
                return "", None
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    value = json.loads(line.removeprefix("data: "))
                    text += "".join(choice["text"] for choice in value["choices"])
                    usage = value.get("usage") or usage
        return text, usage

    def _in_two(
        self, client: httpx2.Client, asked: dict[str, Any], session: str, chance: random.Random
    ) -> str:
        """A text in two requests of one session is the text of one request."""
        client.delete(f"/v1/sessions/{session}")
        first = chance.randint(0, asked["max_tokens"])
        operations, text = 0, ""
        parts: list[dict[str, Any]] = [
            {**asked, "max_tokens": first},
            {**{k: v for k, v in asked.items() if k != "seed"}, "prompt": "",
             "max_tokens": asked["max_tokens"] - first},
        ]  # fmt: skip
        for part in parts:
            answer = client.post("/v1/completions", json={**part, "session": session})
            while answer.status_code == 429:
                time.sleep(0.2)
                answer = client.post("/v1/completions", json={**part, "session": session})
            answer.raise_for_status()
            value = answer.json()
            text += value["choices"][0]["text"]
            operations += value["usage"]["events"]["synaptic_operations"]
        self._compare(asked, text, operations)
        return "session"

    def _compare(self, asked: dict[str, Any], text: str, operations: int) -> None:
        settings = SamplingSettings(**{k: asked[k] for k in ("temperature", "top_p", "seed")})
        size = self._network.info.vocabulary_size
        sampler = Sampler(settings, self._network.logit_scale, size)
        with Emulator().open(self._network) as session:
            prompt = self._vocabulary.encode(asked["prompt"]).tolist()
            logits = read_prompt(session, prompt)
            made = [t for t, _ in generate(session, logits, sampler, asked["max_tokens"])]
            alone = self._vocabulary.decode(made), session.counters.total("synaptic_operations")
        with self._lock:
            self.tokens += len(prompt) + len(made)
            if alone != (text, operations):
                self.wrong.append(json.dumps({"asked": asked, "got": [text, operations],
                                              "alone": list(alone)}))  # fmt: skip


def _resident(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str]) -> int:
    """Run it; exit code 1 where anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m attacks served", description=__doc__)
    parser.add_argument("network", type=Path, help="with a vocabulary of its own")
    parser.add_argument("text", type=Path, help="prompts are cut from it")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    network = as_language_model(read_network(given.network))
    process = subprocess.Popen(
        [sys.executable, "-m", "spikegpt_neuro.cli.main", "serve", str(given.network), "--port",
         "0", "--json", "--streams", str(given.streams), "--sessions", str(given.streams)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            if not lines[-1]:
                raise SystemExit(f"the server did not start: {process.communicate()[1]}")
        told = json.loads("".join(lines))
        clients = Clients(told["url"], told["model"], network, given.text.read_text("utf-8"))
        began = time.monotonic()
        until = began + 60 * given.minutes
        threads = [
            threading.Thread(target=clients.run, args=(i, until)) for i in range(given.streams)
        ]
        for thread in threads:
            thread.start()
        time.sleep(6 * given.minutes)
        early = _resident(process.pid)
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        grown = _resident(process.pid) - early
        health = httpx2.get(told["url"] + "/health").status_code
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
    result = {
        "streams": given.streams, "seconds": round(seconds, 1), "outcomes": dict(clients.outcomes),
        "compared_tokens": clients.tokens, "wrong": clients.wrong[:20],
        "wrong_count": len(clients.wrong), "memory_grown_bytes": grown, "health": health,
        "exit_code": process.returncode, "traceback": "Traceback" in errors,
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    unexpected = set(clients.outcomes) - OUTCOMES
    holds = (
        not clients.wrong and not unexpected and grown < FLAT and health == 200
        and process.returncode == 0 and not result["traceback"]
    )  # fmt: skip
    return 0 if holds else 1
