"""The client of ``serve`` in a trial: what it asks for, and what it may be told.

It waits until the server answers, asks for whole, streamed and continued texts, and ends the server
by SIGTERM. What it was told lies in a file of the trial's folder, a request an entry: the text and
its synaptic operations, or the status and the reason, or that the connection broke.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

PORT = "PORT"
"""Stands in a command's arguments for a free port of this machine."""
ROUNDS = 5
SESSION, STATE = "talk", "out/talk.npz"
PATIENCE = 60.0
"""Seconds on the clock, of a busy machine, for one answer."""
_PATH = "/v1/completions"


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _requests(begin: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and bodies; of the session's parts only those from ``begin`` on."""
    for i in range(ROUNDS):
        asked = {"model": "m", "prompt": "and the "[i:], "max_tokens": 40, "temperature": 1.0}
        yield f"whole {i}", {**asked, "seed": i}
        options = {"stream": True, "stream_options": {"include_usage": True}}
        yield f"streamed {i}", {**asked, "seed": 100 + i, **options}
        if i >= begin:
            seed = {"seed": 7} if i == 0 else {}  # later parts go on with the session's numbers
            yield f"session {i}", {**asked, "session": SESSION, **seed}


def asked(begin: int) -> list[str]:
    """Names of the requests, of the session's parts only those from ``begin`` on."""
    return [name for name, _ in _requests(begin)]


def ask(
    folder: Path, arguments: list[str], child: int, begin: int, told_in: str, *, states: bool
) -> None:
    """All requests, in turn, until one breaks; then the server ``child`` is told to end.

    ``states``: after each part of the session its file is copied into that folder, by its number.
    """
    told: list[dict[str, Any]] = []
    broken = False
    address = f"http://127.0.0.1:{arguments[arguments.index('--port') + 1]}"
    with httpx2.Client(base_url=address, timeout=PATIENCE) as client:
        begun = _answers(client, child)
        for name, body in _requests(begin) if begun else ():
            if name.startswith("session") and broken:
                continue  # it stands before the part that failed
            try:
                found = _streamed(client, body) if "stream" in body else _whole(client, body)
            except httpx2.HTTPError as error:
                told.append({"request": name, "broken": type(error).__name__})
                break
            told.append({"request": name, **found})
            if name.startswith("session"):
                broken = found["status"] != 200
                if states:
                    copy = folder / "states" / name.split()[1]
                    copy.parent.mkdir(exist_ok=True)
                    copy.write_bytes((folder / STATE).read_bytes())
    (folder / told_in).write_text(json.dumps(told), "utf-8")
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)


def _answers(client: httpx2.Client, child: int) -> bool:
    """Wait until the server listens; False once it has ended."""
    while True:
        try:
            client.get("/health")
            return True
        except httpx2.HTTPError:
            time.sleep(0.02)
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return False


def _whole(client: httpx2.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(_PATH, json=body)
    value = answer.json()
    if answer.status_code != 200:
        return {"status": answer.status_code, "error": value["error"]["message"]}
    return _told(value["choices"][0]["text"], value["usage"])


def _streamed(client: httpx2.Client, body: dict[str, Any]) -> dict[str, Any]:
    text, usage, done = "", None, False
    with client.stream("POST", _PATH, json=body) as answer:
        if answer.status_code != 200:
            value = json.loads(answer.read())
            return {"status": answer.status_code, "error": value["error"]["message"]}
        for line in answer.iter_lines():
            done = done or line == "data: [DONE]"
            if line.startswith("data: {"):
                value = json.loads(line.removeprefix("data: "))
                if "error" in value:
                    return {"status": 500, "error": value["error"]["message"]}
                text += "".join(choice["text"] for choice in value["choices"])
                usage = value.get("usage") or usage
    if not done or usage is None:
        raise httpx2.ReadError("the stream has no end")
    return _told(text, usage)


def _told(text: str, usage: dict[str, Any]) -> dict[str, Any]:
    operations = usage["events"]["synaptic_operations"]
    return {"status": 200, "text": text, "synaptic_operations": operations}


def answers(path: Path) -> dict[str, dict[str, Any]]:
    """What was told, by request."""
    return {entry["request"]: entry for entry in json.loads(path.read_text("utf-8"))}


def wrong(found: dict[str, Any], right: dict[str, Any], *, signalled: bool) -> list[str]:
    """Texts that differ from the undisturbed server's, and what was neither given nor refused.

    ``signalled``: the server was told to end, or killed: connections may break.
    """
    bad = []
    for name, told in found.items():
        if "broken" in told:
            bad += [] if signalled else [f"{name}: {told['broken']}"]
        elif told["status"] == 200 and told != right[name]:
            bad.append(f"{name}: another answer")
        elif told["status"] != 200 and not told["error"]:
            bad.append(f"{name}: refused without a reason")
    return bad


def missing(found: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """Requests that were not answered with a text."""
    return [
        f"{name}: {found.get(name, {}).get('error', 'not answered')}"
        for name in right
        if found.get(name, {}).get("status") != 200
    ]


def parts_kept(folder: Path, right: Path) -> int | None:
    """How many parts of the session its file holds; None where it is none of the right ones."""
    path = folder / STATE
    if not path.exists():
        return 0
    content = path.read_bytes()
    for i in range(ROUNDS):
        if content == (right / f"states/{i}").read_bytes():
            return i + 1
    return None


def lost(folder: Path, right: Path) -> list[str]:
    """What was answered in the session stands in its file, whole; at most one part more does."""
    found = answers(folder / "answers")
    answered = sum(
        name.startswith("session") and told.get("status") == 200 for name, told in found.items()
    )
    kept = parts_kept(folder, right)
    if kept is None:
        return ["the session's file is none of the right ones"]
    if not answered <= kept <= answered + 1:
        return [f"the session's file holds {kept} parts of {answered} that were answered"]
    return []
