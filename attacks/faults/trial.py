"""One trial: a command, a fault at a moment, and what must hold after it."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from attacks.faults import commands
from attacks.faults.child import Start
from attacks.faults.commands import SIMULATE, Command, result, same_bytes
from attacks.faults.injections import FAULTS, Fault, Situation
from attacks.mutations import Random
from spikegpt_neuro.arithmetic.compiler import CACHE_FOLDER

PATIENCE = 240.0
"""Seconds on the clock, of a busy machine, after which a command hangs."""
LINGERING = 20.0
"""Seconds that what a dead command started may take to end."""
EXIT_CODES = {0, 1, 2, 3, 130, 143}


class Warm:
    """A process that starts commands; ``attacks.faults.child``."""

    def __init__(self, kernels: Path, arguments: list[list[str]], *, torch: bool) -> None:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(kernels), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "attacks.faults.child", "torch" if torch else "light",
             json.dumps(arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        if self._answer() != "warm":
            raise RuntimeError("the commands do not run undisturbed")

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(
        self, starts: list[Start], delay: float = 0.0,
        meanwhile: Callable[[list[int]], None] | None = None,
    ) -> tuple[list[int], list[int | None]]:  # fmt: skip
        """Process ids and exit codes (negative: signals; None: hung, and killed)."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([vars(start) for start in starts]) + "\n")
        self._process.stdin.flush()
        children = json.loads(self._answer())
        hung = threading.Event()

        def give_up() -> None:
            hung.set()
            for child in children:
                with suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)

        timers = [threading.Timer(PATIENCE, give_up)]
        if meanwhile is not None:
            timers.append(threading.Timer(delay, meanwhile, (children,)))
        for timer in timers:
            timer.start()
        codes = json.loads(self._answer())
        for timer in timers:
            timer.cancel()
            timer.join()
        return children, [None if hung.is_set() else code for code in codes]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Bench:
    """Inputs, right results and earlier results of every command, and the time each takes."""

    def __init__(self, base: Path) -> None:
        self.base, self.kernels = base, base / "kernels"
        known = Path(CACHE_FOLDER)  # what is compiled already is not compiled once more
        if known.is_dir():
            shutil.copytree(known, self.kernels / known.name)
        self.kernels.mkdir(exist_ok=True)
        (base / "inputs").mkdir()
        commands.make_inputs(base / "inputs", self._quietly)
        shutil.copytree(base / "inputs", base / "other")
        commands.other_inputs(base / "other")
        self.warm = {torch: self.another(torch=torch) for torch in (False, True)}
        self.seconds: dict[str, float] = {}

    def another(self, *, torch: bool) -> Warm:
        """One more warm process, with what is often executed loaded; forks of torch are slow."""
        net = str(self.base / "inputs/m.net")
        text = str(self.base / "inputs/t.txt")
        runs = [["score", net, text, "--json"], ["simulate", net, "--prompt", "a", "--json"]]
        return Warm(self.kernels, runs, torch=torch)

    def _quietly(self, folder: Path, arguments: list[str]) -> None:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(self.kernels), "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [sys.executable, "-m", "spikegpt_neuro.cli.main", *arguments],
            cwd=folder, check=True, env=environment, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def lay_out(self, command: Command, folder: Path, inputs: str = "inputs") -> None:
        """Copy the command's inputs into a new folder, with what lies where it writes."""
        for name in ("", "out", "tmp"):
            (folder / name).mkdir()
        for name in command.inputs:
            source = self.base / inputs / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
        for source_name, output in command.prepared:
            shutil.copy(self.base / inputs / source_name, folder / output)

    def learn(self, command: Command) -> None:
        """Run the command undisturbed: what is right, what an earlier run wrote, and the time."""
        for inputs in ("other", "inputs", "inputs"):  # the second has all kernels
            folder = self.base / f"{'before' if inputs == 'other' else 'right'}-{command.name}"
            shutil.rmtree(folder, ignore_errors=True)
            self.lay_out(command, folder, inputs)
            began = time.monotonic()
            _, codes = self.warm[command.torch].run([start(command, folder)])
            self.seconds[command.name] = time.monotonic() - began
            if codes != [0]:
                raise RuntimeError(f"{command.name}: {(folder / 'stderr').read_text()}")

    def right(self, command: Command) -> Path:
        """The folder of an undisturbed run."""
        return self.base / f"right-{command.name}"

    def before(self, command: Command) -> Path:
        """The folder of an earlier run, on other inputs."""
        return self.base / f"before-{command.name}"


def start(command: Command, folder: Path, arguments: tuple[str, ...] | None = None) -> Start:
    """The command in ``folder``, undisturbed; everything it may leave stays in there."""
    return Start(
        str(folder), list(arguments or command.arguments),
        {"TMPDIR": str(folder / "tmp"), "DASK_TEMPORARY_DIRECTORY": str(folder / "tmp")},
        fresh=command.fresh,
    )  # fmt: skip


def run_trial(
    bench: Bench, warm: Warm, command: Command, name: str, folder: Path, rng: Random, fresh: bool
) -> dict[str, Any]:
    """What happened: ``outcome`` ('completed', 'failed', 'ended'), ``bad``: what should not be."""
    fault = FAULTS[name]
    bench.lay_out(command, folder)
    earlier = bool(rng.random() < 0.7)
    if earlier:
        for output in command.outputs:
            if not (folder / output).exists():
                shutil.copy(bench.before(command) / output, folder / output)
    memory = folder / "memory"
    memory.mkdir()
    first = start(command, folder)
    first.fresh = first.fresh or fresh
    if MOUNTS:
        first.mounts.append(["bind", str(memory), "/dev/shm"])
    situation = Situation(command, folder, rng, [first], bench.kernels)
    fault.before(situation)
    there = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    whole = bench.seconds[command.name] + (2.0 if fresh else 0.0)
    delay = float(rng.uniform(0, 1.05 * whole))
    act = fault.meanwhile
    began = time.monotonic()
    children, codes = warm.run(
        situation.starts, delay, None if act is None else lambda found: act(situation, found)
    )
    seconds = time.monotonic() - began
    bad = _lingering(folder, children)
    for undo in situation.undo:
        undo()
    unfinished = _complete(bench, command, folder, situation.starts[0])
    if codes == [-signal.SIGINT] and name == "Ctrl-C":
        # Python's own end of an interrupted program: after it was told, or when all was done and
        # it was putting its things away
        told = "error: interrupted" in (folder / "stderr").read_text("utf-8", "replace")
        codes = [130] if told else codes if unfinished else [0]
    bad += _said(folder, situation.starts, codes, fault)
    bad += _files(bench, command, folder, there, situation)
    bad = list(dict.fromkeys(bad))
    if fault.completes and codes != [0]:
        bad.append(f"exit {codes[0]}, although nothing was in its way")
    if codes[0] == 0 and situation.harmed <= {"m.net"}:  # the others may be read changed
        bad += unfinished
    if codes[0] == 0 and name == "output is an input":
        bad.append("exit 0, although the output is an input")
    outcome = "completed" if codes[0] == 0 else "failed" if (codes[0] or -1) > 0 else "ended"
    if name != "output is an input" and not situation.harmed:
        bad += _again(bench, warm, command, folder)
    said = (folder / "stderr").read_text("utf-8", "replace")[-3000:]
    return {
        "command": command.name, "fault": name, "fresh": first.fresh, "earlier": earlier,
        "drawn": situation.noted, "delay": round(delay, 3) if act else None, "codes": codes,
        "seconds": round(seconds, 2), "outcome": outcome, "bad": bad,
        "said": said if bad else said.strip().rpartition("\n")[2][:200],
    }  # fmt: skip


MOUNTS = False
"""Set where this process may mount."""


def _lingering(folder: Path, children: list[int]) -> list[str]:
    """Processes that outlive their command: by session, or by where they stand."""
    until = time.monotonic() + LINGERING
    while True:
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z" and (
                    int(fields[3]) in children or str((entry / "cwd").readlink()) == str(folder)
                ):
                    found.append(int(entry.name))
        if not found or time.monotonic() > until:
            break
        time.sleep(0.05)
    told = [f"process {process} lives on" for process in found]
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return told


def _said(folder: Path, starts: list[Start], codes: list[int | None], fault: Fault) -> list[str]:
    """Exit codes and messages that are not sane."""
    bad = []
    for one, code in zip(starts, codes, strict=True):
        said = (folder / one.errors).read_text("utf-8", "replace") if code is not None else ""
        if code is None:
            bad.append("hung")
        elif code < 0 and -code not in fault.signals:
            bad.append(f"died of {signal.Signals(-code).name}")
        elif code >= 0 and code not in EXIT_CODES:
            bad.append(f"exit code {code}")
        # a fault of a process model is shown whole, on purpose; multiprocessing's tracker stumbles
        # over memory that the system refused, Dask's processes over their own end
        others = ("a Lava process model raised", "resource_tracker.py", "distributed/")
        meant = "error: " in said and any(part in said for part in others)
        if ("Traceback" in said and not meant) or "Exception ignored" in said:
            bad.append("traceback")
        elif code is not None and code > 0 and "error:" not in said and one.output != "closed":
            bad.append(f"exit code {code} without a reason")
    return bad


def _files(
    bench: Bench, command: Command, folder: Path, there: dict[Path, bytes], situation: Situation
) -> list[str]:
    """What lies there and should not, and what was lost."""
    bad = []
    ours = {folder / one for one in ("stdout", "stderr", "stdout2", "stderr2", "beside")}
    for path, content in there.items():
        name = str(path.relative_to(folder))
        if name in command.outputs or path in ours:
            continue
        if name.split("/")[0] in situation.harmed:
            continue
        if not path.exists() or path.read_bytes() != content:
            bad.append(f"the input {name} was {'changed' if path.exists() else 'lost'}")
    for output in command.outputs:
        path = folder / output
        if not path.exists():
            if path in there:
                bad.append(f"{output} was lost")
        elif not _right_or_old(bench, command, output, path, there.get(path)):
            bad.append(f"{output} is neither the old nor the new one")
    known = {folder / name for name in command.outputs}
    # torch's and Dask's, one a machine: Dask's holds locks, and nothing of a worker that is gone
    known.add(folder / f"tmp/torchinductor_{getpass.getuser()}")
    dask = folder / "tmp/dask-scratch-space"
    known |= {dask, dask / "purge.lock", dask / "global.lock"}
    for path in folder.rglob("*"):
        kept = any(path.match(str(folder / pattern)) for pattern in command.kept)
        if not path.is_dir() and path not in {*known, *there, *ours} and not kept:
            bad.append(f"{path.relative_to(folder)} was left behind")
    for name in ("tmp", "memory"):
        left = [path for path in (folder / name).iterdir() if path not in known]
        bad += [f"{path.relative_to(folder)} was left behind" for path in left]
    return bad


def _right_or_old(
    bench: Bench, command: Command, output: str, path: Path, old: bytes | None
) -> bool:
    found = path.read_bytes()
    if found == old or found == (bench.right(command) / output).read_bytes():
        return True
    if command.name == "train":  # any checkpoint on the way, whole
        from spikegpt_neuro.training.checkpoint import load_model

        load_model(path)
        return True
    if output == "out/s.npz":  # saved on the way: gone on with below
        return True
    if output == "out/trace.npz":
        with np.load(path) as arrays:
            return all(arrays[name].size for name in arrays.files)
    return False


def _complete(bench: Bench, command: Command, folder: Path, one: Start) -> list[str]:
    """After exit code 0 everything is there, and right."""
    right = bench.right(command)
    bad = [
        f"exit 0, and {output} is not the right one"
        for output in command.outputs
        if not (folder / output).exists() or not same_bytes(folder / output, right / output)
    ]
    if one.output == "stdout" and result(folder / "stdout") != result(right / "stdout"):
        bad.append("exit 0, and the result is not the right one")
    return bad


def _again(bench: Bench, warm: Warm, command: Command, folder: Path) -> list[str]:
    """The same work again, or gone on with, undisturbed: it ends as if never disturbed."""
    arguments: tuple[str, ...] | None = None
    if command.name == "train" and (folder / "out/m.pt.resume").exists():
        arguments = command.again
    outputs = command.outputs
    if command.name == "simulate":
        seen = _seen(bench.right(command) / "out/s.npz") - _seen(folder / "out/s.npz")
        if seen == 0:
            outputs = ()
        elif seen != _seen(bench.right(command) / "out/s.npz") - _seen(bench.base / "inputs/s.npz"):
            arguments = (
                "simulate", "m.net", "--tokens", str(seen), "--temperature", "1", "--state",
                "out/s.npz", "--json",
            )  # fmt: skip
            outputs = ("out/s.npz",)
    again = start(command, folder, arguments)
    again.output, again.errors = "stdout3", "stderr3"
    again.fresh = command.fresh
    _, codes = warm.run([again])
    right = bench.right(command)
    if codes != [0]:
        said = (folder / "stderr3").read_text("utf-8", "replace")[-1000:]
        return [f"done again: exit code {codes[0]}: {said}"]
    bad = [
        f"done again: {output} is not the right one"
        for output in outputs
        if not same_bytes(folder / output, right / output)
    ]
    wanted = result(right / "stdout")
    same = result(folder / "stdout3") == wanted
    if arguments is None and command.name != "simulate" and not same:
        bad.append("done again: the result is not the right one")
    left = [path for path in folder.rglob(".*.partial")]
    return bad + [f"done again: {path.name} is still there" for path in left]


def _seen(path: Path) -> int:
    with np.load(path) as arrays:
        return int(json.loads(arrays["meta"].tobytes())["tokens_seen"])


__all__ = ["SIMULATE", "Bench", "Warm", "run_trial"]
