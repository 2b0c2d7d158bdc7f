"""However a command ends, it says so in a sentence, with its exit code, and loses nothing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.cli import endings
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network

PROGRAM = (sys.executable, "-m", "spikegpt_neuro.cli.main")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("endings") / "model.net"
    write_network(random_network(RandomShape(seed=1)), path)
    return path


def _simulate(net: Path, *options: object) -> list[str]:
    return [*PROGRAM, "simulate", str(net), "--prompt-tokens", "1", *map(str, options)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_generation_goes_on_as_if_it_had_not_been(
    net: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = _simulate(net, "--tokens", 10**7, "--temperature", 1, "--state", tmp_path / "s.npz")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as program:  # fmt: skip
        assert program.stdout is not None
        made = os.read(program.stdout.fileno(), 200)
        program.send_signal(number)
        rest, said = program.communicate(timeout=60)
    assert (program.returncode, said.decode().split(":")[0]) == (code, "error")
    tokens = [int(part) for part in (made + rest).split()]
    straight = subprocess.run(
        _simulate(net, "--tokens", len(tokens) + 20, "--temperature", 1),
        capture_output=True, check=True,
    )  # fmt: skip
    gone_on = subprocess.run(
        [*PROGRAM, "simulate", str(net), "--tokens", "20", "--temperature", "1", "--state",
         str(tmp_path / "s.npz")],
        capture_output=True, check=True,
    )  # fmt: skip
    together = tokens + [int(part) for part in gone_on.stdout.split()]
    assert together == [int(part) for part in straight.stdout.split()]


def _full() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def _cut() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (14, 14))


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("json", [["--json"], []])
@pytest.mark.parametrize("limit", [_full, _cut])
def test_a_result_that_cannot_be_written_is_no_success(
    net: Path, tmp_path: Path, limit: Callable[[], None], json: list[str], unbuffered: str
) -> None:
    with (tmp_path / "out").open("wb") as out:
        ended = subprocess.run(
            _simulate(net, "--tokens", 30, *json), stdout=out, stderr=subprocess.PIPE,
            preexec_fn=limit, env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert ended.returncode == 3
    assert ended.stderr.startswith(b"error: ")
    assert b"Traceback" not in ended.stderr and b"Exception ignored" not in ended.stderr


def test_a_reason_that_cannot_be_written_leaves_the_exit_code(tmp_path: Path) -> None:
    with (tmp_path / "errors").open("wb") as errors:
        ended = subprocess.run([*PROGRAM, "inspect", "none"], stderr=errors, preexec_fn=_cut)
    assert ended.returncode == 2  # Python's own, of a stream it cannot flush, is 120
    assert (tmp_path / "errors").read_bytes() == b"error: none do"


def test_closed_streams_are_no_places_for_files(net: Path, tmp_path: Path) -> None:
    state = tmp_path / "s.npz"

    def close() -> None:
        os.close(1)
        os.close(2)

    command = _simulate(net, "--tokens", 3, "--state", state)
    assert subprocess.run(command, preexec_fn=close).returncode == 0
    with np.load(state) as found:
        assert set(found.files) == {"state", "logits", "meta"}


def test_a_network_that_is_cut_while_it_is_used(net: Path, tmp_path: Path) -> None:
    path, state = tmp_path / "model.net", tmp_path / "s.npz"
    path.write_bytes(net.read_bytes())
    command = _simulate(path, "--tokens", 10**7, "--state", state)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        os.read(program.stdout.fileno(), 100)
        os.truncate(path, 0)
        time.sleep(0.2)
        program.send_signal(signal.SIGTERM)
        _, said = program.communicate(timeout=60)
    assert program.returncode in (1, 143)
    assert said.startswith(b"error: ") and b"Traceback" not in said
    assert not state.exists()


def test_interrupts_wait_for_the_end_of_a_step_once() -> None:
    with endings.interrupts_between_steps() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_not_lost_where_no_exception_gets_out(number: int, code: int) -> None:
    # llvmlite calls Python for each piece of code it has made
    called = f"""
import ctypes, signal, time
from spikegpt_neuro.cli import endings
signal.signal(signal.SIGINT, signal.default_int_handler)
endings.prepare()
callback = ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal({int(number)}))
try:
    callback()
    time.sleep(60)
except KeyboardInterrupt:
    endings.interrupted()
"""
    ended = subprocess.run([sys.executable, "-c", called], capture_output=True, text=True)
    said = "error: terminated\n" if code == 143 else "error: interrupted\n"
    assert (ended.returncode, ended.stderr) == (code, said)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(28, "No space left on device"), 3),
        (OSError(28, "No space left on device", "out"), 3),
        (PermissionError(13, "Permission denied", "out"), 2),
        (MemoryError(), 3),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), 3),
        (ImportError("libx.so: failed to map segment from shared object"), 3),
        (RuntimeError("can't start new thread"), 3),
    ],
)
def test_what_the_machine_lacks_is_said(error: Exception, code: int) -> None:
    told = endings.told(error)
    assert told is not None and told[1] == code


@pytest.mark.parametrize("error", [ValueError("x"), OSError("of ours"), RuntimeError("wrong")])
def test_a_fault_of_the_program_is_shown_whole(error: Exception) -> None:
    assert endings.told(error) is None


def test_nothing_follows_the_reason() -> None:
    stumbling = """
import atexit
from spikegpt_neuro.cli import endings

class Half:
    def __del__(self):
        raise ValueError("half of it is not there")

half = Half()
atexit.register(lambda: 1 / 0)
endings.fail("There is not enough memory for this.", 3)
"""
    ended = subprocess.run([sys.executable, "-c", stumbling], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (3, "error: There is not enough memory for this.\n")
