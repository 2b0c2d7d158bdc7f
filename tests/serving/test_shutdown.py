"""Ends in order: streams finish or are told, nothing stays behind, the exit code is 0."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from spikegpt_neuro.errors import NO_MEMORY
from spikegpt_neuro.generation import load_state
from tests.serving.conftest import Running, alone, serving, small_network


def _ask(server: Running, found: dict[str, Any], name: str, **body: Any) -> threading.Thread:
    def run() -> None:
        try:
            found[name] = server.post(**body)
        except httpx2.HTTPError as error:
            found[name] = error

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_streams_finish_or_are_told(net: Path, tmp_path: Path, number: int) -> None:
    options = ("--max-tokens", 2_000_000, "--grace-seconds", 2, "--sessions-folder", tmp_path)
    with serving(net, *options, "--streams", 3, "--queue", 1) as server:
        assert server.post(prompt="a", max_tokens=3, temperature=0, session="s").status_code == 200
        kept = (tmp_path / "s.npz").read_bytes()
        found: dict[str, Any] = {}
        long = {"prompt": "a", "max_tokens": 1_900_000}
        threads = [
            _ask(server, found, "streamed", stream=True, session="s", **long),
            _ask(server, found, "whole", **long),
            _ask(server, found, "short", prompt="abc", max_tokens=1500, temperature=0, stream=True),
        ]
        while server.metrics()["streams_active"] < 2:
            time.sleep(0.01)
        begin = time.monotonic()
        code, errors = server.end(number)
        assert code == 0, errors
        assert time.monotonic() - begin < 30
        assert "Traceback" not in errors
        for thread in threads:
            thread.join()
    last = found["streamed"].text.strip().splitlines()[-1]
    assert "shutting down" in json.loads(last.removeprefix("data: "))["error"]["message"]
    assert "[DONE]" not in found["streamed"].text
    assert found["whole"].status_code == 503
    assert found["whole"].json()["error"]["type"] == "server_error"
    lines = [line[6:] for line in found["short"].text.splitlines() if line.startswith("data: {")]
    text = "".join(c["text"] for line in lines for c in json.loads(line)["choices"])
    assert text == alone("abc", 1500).text and found["short"].text.endswith("data: [DONE]\n\n")
    # the session stands after its last whole answer, and no half file is left
    assert (tmp_path / "s.npz").read_bytes() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]
    with serving(net, "--sessions-folder", tmp_path) as later:
        again = later.post(max_tokens=5, temperature=0, session="s").json()
        assert again["session"] == {"id": "s", "resumed": True, "tokens_before": 4}
        assert again["choices"][0]["text"] == alone("a", 8).text[3:]
    assert load_state(tmp_path / "s.npz", small_network()).tokens_seen == 9


def test_a_second_signal_does_not_wait(net: Path) -> None:
    with serving(net, "--max-tokens", 2_000_000, "--grace-seconds", 300) as server:
        found: dict[str, Any] = {}
        thread = _ask(server, found, "a", prompt="a", max_tokens=1_900_000, stream=True)
        while server.metrics()["streams_active"] < 1:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None
        code, errors = server.end()
        assert code == 0, errors
        thread.join()
    assert "shutting down" in found["a"].text


ASKED_EARLY = """
import asyncio, json, sys, threading, urllib.request
import uvicorn
from spikegpt_neuro.cli.main import main

answers = []

def ask(port):
    body = {"model": "small", "prompt": "a", "max_tokens": 2000}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(),
        {"Content-Type": "application/json"})
    try:
        answers.append(json.load(urllib.request.urlopen(request))["usage"]["completion_tokens"])
    except urllib.error.HTTPError as refusal:
        answers.append(refusal.code)

started = uvicorn.Server.startup

async def startup(server, sockets=None):
    await started(server, sockets)
    client = threading.Thread(target=ask, args=(sockets[0].getsockname()[1],))
    client.start()
    while not server.server_state.tasks:
        await asyncio.sleep(0.001)

uvicorn.Server.startup = startup
try:
    main()
finally:
    print("answered", answers, file=sys.stderr)
"""


def test_where_it_cannot_be_said_that_it_serves_a_request_that_came_has_an_end(net: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", ASKED_EARLY, "serve", str(net), "--port", "0", "--json"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    assert ended.returncode == 3
    told = ended.stderr.splitlines()[1:]  # after the address
    assert told[0].startswith("error: No space left on device")
    # begun, it was finished; waiting, it was refused
    assert told[1:] in (["answered [2000]"], ["answered [503]"])


def _fails(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "spikegpt_neuro.cli.main", "serve", *map(str, arguments)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    return done.stderr


def test_what_cannot_be_served(net: Path, tmp_path: Path) -> None:
    with serving(net, "--host", "::1") as server:
        assert httpx2.get(f"{server.url}/health").status_code == 200
        port = server.url.rsplit(":", 1)[1]
        assert "cannot listen on ::1" in _fails(net, "--host", "::1", "--port", port)
    assert "not a folder" in _fails(net, "--sessions-folder", tmp_path / "none")
    assert "nothing can be priced" in _fails(net, "--profile", "akida-akd1000")


def test_other_machines_are_warned_of(net: Path) -> None:
    with serving(net, "--host", "0.0.0.0", "--profile", "none") as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        answer = httpx2.post(
            f"{url}/v1/completions", json={"model": "small", "prompt": "a", "max_tokens": 1}
        )
        assert "energy" not in answer.json()["usage"]
        _, errors = server.end()
        assert "no authentication" in errors


def test_a_network_that_is_written_into_is_no_longer_answered_from(
    net: Path, tmp_path: Path
) -> None:
    path = tmp_path / "small.net"
    path.write_bytes(net.read_bytes())
    with serving(path) as server:
        assert server.post(prompt="a", max_tokens=3).status_code == 200
        with path.open("r+b") as stream:
            stream.write(net.read_bytes()[:1])  # what it says does not matter
        for _ in range(2):
            refused = server.post(prompt="a", max_tokens=3)
            assert refused.status_code >= 500
            assert "changed while in use" in refused.json()["error"]["message"]
        code, errors = server.end()
        assert code == 0 and "Traceback" not in errors
        assert "changed while in use" in errors


def test_without_memory_for_a_thread_requests_are_refused_and_later_ones_answered(
    net: Path,
) -> None:
    with serving(net, "--streams", 2) as server:
        asked: dict[str, Any] = {"prompt": "abc", "max_tokens": 5, "temperature": 0}
        assert server.post(**asked, stream=True).text.endswith("data: [DONE]\n\n")  # no thread yet
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        used = int(re.search(r"VmSize:\s+(\d+) kB", status)[1]) << 10  # type: ignore[index]
        before = resource.prlimit(server.process.pid, resource.RLIMIT_AS)
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (used + (6 << 20), before[1]))
        refused = server.post(**asked)  # a thread's stack is 8 MiB
        assert (refused.status_code, refused.json()["error"]["message"]) == (503, NO_MEMORY)
        told = server.post(**asked, stream=True, stream_options={"include_usage": True}).text
        assert NO_MEMORY in told.splitlines()[-2] and "[DONE]" not in told
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, before)
        answer = server.post(**asked).json()
        assert answer["choices"][0]["text"] == alone("abc", 5).text
        code, errors = server.end()
        assert code == 0 and "Traceback" not in errors, errors


def test_without_descriptors_connections_wait_and_it_is_said_once(net: Path) -> None:
    with serving(net) as server:
        asked: dict[str, Any] = {"prompt": "abc", "max_tokens": 5, "temperature": 0}
        assert server.post(**asked).status_code == 200
        before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        found: dict[str, Any] = {}
        asking = _ask(server, found, "waits", **asked)
        time.sleep(2.5)  # asyncio tries every second
        assert "waits" not in found
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
        asking.join()
        assert found["waits"].json()["choices"][0]["text"] == alone("abc", 5).text
        code, errors = server.end()
        assert code == 0 and "Traceback" not in errors, errors
        assert errors.count("Too many open files: new connections wait until others end.") == 1


def test_connections_that_waited_for_descriptors_do_not_outlive_the_server(net: Path) -> None:
    options = ("--max-tokens", 2_000_000, "--grace-seconds", 3)
    with serving(net, *options) as server:
        found: dict[str, Any] = {}
        streaming = _ask(server, found, "streams", prompt="a", max_tokens=1_900_000, stream=True)
        while server.metrics()["streams_active"] < 1:
            time.sleep(0.01)
        before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        waiting = _ask(server, found, "waits", prompt="a", max_tokens=1)
        time.sleep(0.5)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
        # the listening socket closes before asyncio tries it again, a second after it failed
        code, errors = server.end()
        assert code == 0 and "Traceback" not in errors, errors
        streaming.join()
        waiting.join()
    assert "shutting down" in found["streams"].text
    assert isinstance(found["waits"], httpx2.HTTPError)
