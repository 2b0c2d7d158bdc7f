"""The Lava graph against the emulator, and how a Lava run ends when something goes wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.backends.lava.backend import LavaBackend
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.verification import verify
from spikegpt_neuro.vocabulary import read_vocabulary

EXAMPLE = Path(__file__).parents[3] / "examples" / "kjv-4x192"
SECONDS_TO_FAIL = 1.0
"""A broken run must end within this time."""


@pytest.fixture(scope="module")
def kjv(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """The exported reference model and 600 tokens of real text."""
    vocabulary = read_vocabulary(EXAMPLE / "kjv-4x192.vocab.json")
    text = (EXAMPLE / "kjv-valid.txt").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("kjv") / "kjv.net"
    export_checkpoint(
        EXAMPLE / "kjv-4x192.pth", path, calibration=list(vocabulary.encode(text[100_000:104_000]))
    )
    return path, [int(token) for token in vocabulary.encode(text[:600])]


def test_emulator_and_lava_agree_on_every_logit_spike_and_count(
    kjv: tuple[Path, list[int]],
) -> None:
    network, tokens = read_network(kjv[0]), kjv[1][:512]
    result = verify(network, tokens, Emulator(), LavaBackend())
    assert result.equal, str(result.difference or result.counter_difference)
    values = sum(layer.output.size for layer in network.layers)
    assert result.values_compared == 512 * values


@pytest.mark.parametrize(
    ("layer", "every_layer"),
    [
        ("blocks.0.srwkv.key", True),
        ("blocks.3.srffn.value", True),
        ("blocks.0.srwkv.key", False),
        ("head.projection", False),
    ],
)
def test_one_changed_weight_is_found_and_named(
    kjv: tuple[Path, list[int]], layer: str, every_layer: bool
) -> None:
    network = read_network(kjv[0])
    result = verify(
        network, kjv[1][:64], Emulator(), LavaBackend(),
        right_network=with_weight(network, layer), every_layer=every_layer,
    )  # fmt: skip
    assert not result.equal
    assert result.difference is not None
    assert result.difference.layer == layer
    assert result.difference.index == 5
    # the step is the first at which that synapse's operand was not zero
    with Emulator().open(network, trace=network[layer].inputs) as session:
        session.score(kjv[1][:64])
        operands = session.trace(network[layer].inputs[0])[:, 7]
    assert result.difference.step == int(np.flatnonzero(operands)[0])


def with_weight(network: Network, name: str) -> Network:
    """The network with one weight of layer ``name`` changed."""
    changed = []
    for layer in network.layers:
        if layer.name == name:
            weight = np.array(layer.weight)  # type: ignore[attr-defined]
            weight[5, 7] = 127 if weight[5, 7] < 0 else -127
            layer = dataclasses.replace(layer, weight=weight)  # type: ignore[call-arg]
        changed.append(layer)
    return dataclasses.replace(network, layers=tuple(changed))


def test_two_runs_a_reset_and_single_steps_give_the_same_integers(
    kjv: tuple[Path, list[int]],
) -> None:
    network, tokens = read_network(kjv[0]), kjv[1][:96]
    traced = network.spiking_layers
    with LavaBackend().open(network, trace=traced) as session:
        first = session.score(tokens)
        spikes = [session.trace(name).copy() for name in traced]
        session.reset()
        again = session.score(tokens)
        repeated = [session.trace(name).copy() for name in traced]
        session.reset()
        steps = np.stack([session.step(token) for token in tokens])
        counts = session.counters
    assert np.array_equal(first, again)
    assert all(np.array_equal(a, b) for a, b in zip(spikes, repeated, strict=True))
    assert np.array_equal(first, steps)
    with Emulator().open(network) as emulated:
        for _ in range(3):
            emulated.reset()
            emulated.score(tokens)
        assert counts == emulated.counters
    with LavaBackend().open(network) as session:
        assert np.array_equal(session.score(tokens), first)


def test_fresh_process_gives_the_same_integers(kjv: tuple[Path, list[int]]) -> None:
    network, tokens = read_network(kjv[0]), kjv[1][:40]
    script = textwrap.dedent(
        """
        import json, sys
        from spikegpt_neuro.backends.lava.backend import LavaBackend
        from spikegpt_neuro.network.file import read_network

        with LavaBackend().open(read_network(sys.argv[1])) as session:
            print(json.dumps(session.score(json.loads(sys.argv[2])).tolist()))
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(kjv[0]), json.dumps(tokens)],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    with Emulator().open(network) as session:
        assert json.loads(result.stdout) == session.score(tokens).tolist()


FAILURES = """
import os, signal, sys, time
import numpy as np
import psutil
from spikegpt_neuro.backends.lava.backend import LavaBackend
from spikegpt_neuro.backends.lava.processes.stage.models import PyStage
from spikegpt_neuro.cli import endings
from spikegpt_neuro.errors import RunFailed
from spikegpt_neuro.network.random_networks import RandomShape, random_network

scenario = sys.argv[1]
if scenario == "terminate":
    endings.prepare()  # as the program does: SIGTERM raises in it, which its children must not take
network = random_network(RandomShape(n_layer=2, n_embd=16, vocabulary_size=12))
victim = PyStage._advance
FAIL_AT = 5

def raising(self, message, token):
    if "blocks.1.srwkv.wkv" in self._program.offsets and token == FAIL_AT:
        raise ArithmeticError("deliberate failure in the second SRWKV")
    victim(self, message, token)

def wrong_shape(self, message, token):
    victim(self, message, token)
    if "blocks.0.srffn.square" in self._program.offsets and token == FAIL_AT:
        self._reply = self._reply[:-1]

def silent(self, message, token):
    if "blocks.1.srwkv.wkv" in self._program.offsets and token == FAIL_AT:
        print("waiting", flush=True)
        time.sleep(3600)
    victim(self, message, token)

if scenario in ("raise", "shape", "wait"):
    PyStage._advance = {"raise": raising, "shape": wrong_shape, "wait": silent}[scenario]
session = LavaBackend().open(network)
session.score([1, 2, 3])
children = session.process_ids
print("ready", *children, flush=True)
started = time.monotonic()
try:
    if scenario in ("kill", "terminate"):
        os.kill(children[3], signal.SIGKILL if scenario == "kill" else signal.SIGTERM)
    if scenario == "exit":
        sys.exit(0)
    session.score([1, 2, 3, FAIL_AT, 4] * 50)
    print("finished")
except RunFailed as error:
    print("failed after", time.monotonic() - started, flush=True)
    print(error, flush=True)
except KeyboardInterrupt:
    print("interrupted after", time.monotonic() - started, flush=True)
finally:
    session.close()
    print("left", [c.pid for c in psutil.Process().children(recursive=True)
                   if "resource_tracker" not in " ".join(c.cmdline())], flush=True)
"""


def _heed_interrupts() -> None:
    """In the child: a shell's background jobs inherit an ignored SIGINT; a person's program not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(scenario: str, tmp_path: Path) -> subprocess.Popen[str]:
    """The failure script in a process group of its own."""
    script = tmp_path / "scenario.py"
    script.write_text(FAILURES)
    return subprocess.Popen(
        [sys.executable, str(script), scenario], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, preexec_fn=_heed_interrupts,
    )  # fmt: skip


def children_named(line: str) -> list[int]:
    """Process ids of a line ``ready 1 2 3``."""
    words = line.split()
    assert words[:1] == ["ready"], line
    return [int(word) for word in words[1:]]


def wait_until_gone(pids: list[int], seconds: float = 5.0) -> list[int]:
    """Process ids still there after ``seconds`` (zombies of a dead parent do not count)."""
    end = time.monotonic() + seconds
    alive = pids
    while alive and time.monotonic() < end:
        alive = [
            pid for pid in alive
            if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        ]  # fmt: skip
        time.sleep(0.02)
    return alive


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("raise", "deliberate failure in the second SRWKV"),
        ("shape", "Mismatch"),
        ("kill", "died with exit code -9"),
        ("terminate", "died with exit code -15"),
    ],
)
def test_broken_run_ends_in_an_error_with_the_childs_traceback(
    scenario: str, expected: str, tmp_path: Path
) -> None:
    with start(scenario, tmp_path) as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    children = children_named(output.splitlines()[0])
    assert expected in output
    if scenario in ("kill", "terminate"):
        assert "Traceback" not in output + errors
    else:
        assert "Traceback (most recent call last)" in output
        assert "run_spk" in output
    seconds = float(output.split("failed after")[1].split()[0])
    assert seconds < SECONDS_TO_FAIL
    assert output.rstrip().endswith("left []")
    assert wait_until_gone(children) == []


@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_ends_the_run_within_a_second(whole_group: bool, tmp_path: Path) -> None:
    with start("wait", tmp_path) as process:
        assert process.stdout is not None
        children = children_named(process.stdout.readline())
        assert process.stdout.readline() == "waiting\n"
        sent = time.monotonic()
        if whole_group:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        assert process.stdout.readline().startswith("interrupted after")
        assert time.monotonic() - sent < SECONDS_TO_FAIL
        assert process.stdout.read() == "left []\n"
    assert wait_until_gone(children) == []


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_caller_leaves_no_process(ending: signal.Signals, tmp_path: Path) -> None:
    with start("wait", tmp_path) as process:
        assert process.stdout is not None
        children = children_named(process.stdout.readline())
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(ending)
        process.wait(timeout=30)
    assert wait_until_gone(children) == []


def test_a_program_that_forgets_to_close_still_exits(tmp_path: Path) -> None:
    with start("exit", tmp_path) as process:
        output, _ = process.communicate(timeout=60)
    assert wait_until_gone(children_named(output.splitlines()[0])) == []


def test_session_after_a_failure_refuses_and_a_new_one_works() -> None:
    network = random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=12))
    session = LavaBackend().open(network)
    expected = session.score([1, 2, 3])
    os.kill(session.process_ids[1], signal.SIGKILL)  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="died with exit code -9"):
        session.score([1] * 20)
    with pytest.raises(Exception, match="closed; open a new one"):
        session.score([1])
    session.close()
    with LavaBackend().open(network) as fresh:
        assert np.array_equal(fresh.score([1, 2, 3]), expected)
