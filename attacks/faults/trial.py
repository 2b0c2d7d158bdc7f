"""One trial: a command, a fault at a moment, and what must hold after it."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import spikegpt_neuro
from attacks.faults import clients
from attacks.faults.bench import Bench, Warm, client, start
from attacks.faults.child import Start
from attacks.faults.commands import Command, result, same_bytes
from attacks.faults.injections import FAULTS, Fault, Situation
from attacks.mutations import Random
from spikegpt_neuro.scratch import PREFIX

LINGERING = 60.0
"""Seconds that what a dead command started may take to end."""
EXIT_CODES = {0, 1, 2, 3, 130, 143}
OUTCOMES = ("completed", "failed", "ended", "not begun")
"""Exit code 0; an error told; ended by the signal sent; interrupted while Python itself started."""


def run_trial(
    bench: Bench, warm: Warm, command: Command, name: str, folder: Path, rng: Random, fresh: bool
) -> dict[str, Any]:
    """What happened: ``outcome``, one of ``OUTCOMES``; ``bad``: what should not be."""
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
        situation.starts, delay, None if act is None else lambda found: act(situation, found),
        client(command, first), patience=bench.patience(command),
    )  # fmt: skip
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
    begun = name != "Ctrl-C" or not first.fresh or not before_the_program(folder / first.errors)
    bad += _said(folder, situation.starts, codes, fault) if begun else []
    bad += _files(bench, command, folder, there, situation, killed=(codes[0] or 0) < 0)
    outcome = "completed" if codes[0] == 0 else "failed" if (codes[0] or -1) > 0 else "ended"
    outcome = outcome if begun else "not begun"
    if command.served:
        signalled = bool(fault.signals and act)
        found, right = _answers(bench, command, folder)
        bad += clients.wrong(found, right, signalled=signalled or codes[0] != 0)
        bad += clients.lost(folder, bench.right(command))
        if codes[0] == 0 and unfinished:  # it was told to end, or refused with a reason
            outcome = "ended" if signalled else "failed"
        unfinished = unfinished if fault.completes else []
    bad = list(dict.fromkeys(bad))
    if fault.completes and codes != [0]:
        bad.append(f"exit {codes[0]}, although nothing was in its way")
    if codes[0] == 0 and situation.harmed <= {"m.net"}:  # the others may be read changed
        bad += unfinished
    if codes[0] == 0 and name == "output is an input":
        bad.append("exit 0, although the output is an input")
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


def before_the_program(errors: Path) -> bool:
    """Whether Ctrl-C came before the program's first line.

    Then all that was said is Python's one traceback of it, and no file of the program is in there.
    """
    said = errors.read_text("utf-8", "replace")
    alone = said.count("Traceback (") == 1 and said.rstrip().endswith("\nKeyboardInterrupt")
    ours = any(f'File "{Path(part).resolve()}/' in said for part in spikegpt_neuro.__path__)
    return alone and not ours and "\nerror: " not in f"\n{said}"


_TRACEBACK = re.compile(r"^Traceback .*\n((?:[ \t].*\n)*)\w.*\n?", re.MULTILINE)


def without_the_trackers(said: str) -> str:
    """What was said, without tracebacks of the process in which multiprocessing tracks names.

    It stumbles over memory that the system refuses, and, killed and started again, over names that
    it does not know. No file but its own is in them.
    """

    def kept(found: re.Match[str]) -> str:
        files = re.findall(r'^ +File "([^"]+)"', found[1], re.MULTILINE)
        own = all(file.endswith("/multiprocessing/resource_tracker.py") for file in files)
        return "" if files and own else found[0]

    return _TRACEBACK.sub(kept, said)


def _no_room(one: Start, errors: Path) -> bool:
    """Whether a limit of file sizes leaves standard error no room for a reason."""
    return "FSIZE" in one.limits and errors.stat().st_size >= one.limits["FSIZE"]


def _said(folder: Path, starts: list[Start], codes: list[int | None], fault: Fault) -> list[str]:
    """Exit codes and messages that are not sane."""
    bad = []
    for one, code in zip(starts, codes, strict=True):
        said = (folder / one.errors).read_text("utf-8", "replace") if code is not None else ""
        if code is None:
            bad.append("hung")
        elif code < 0 and -code not in fault.signals:
            bad.append(f"died of {signal.Signals(-code).name}")
        elif code == 127 and said.count("\n") == 1 and "error while loading shared" in said:
            continue  # the system could not load Python itself, and said so
        elif code >= 0 and code not in EXIT_CODES:
            bad.append(f"exit code {code}")
        # a fault of a process model is shown whole, on purpose
        meant = "error: " in said and "a Lava process model raised" in said
        unmeant = "Traceback" in without_the_trackers(said) and not meant
        if unmeant or "Exception ignored" in said:
            bad.append("traceback")
        elif code is not None and code > 0 and "error:" not in said and one.output != "closed":
            room = not _no_room(one, folder / one.errors)
            bad += [f"exit code {code} without a reason"] if room else []
    return bad


def _files(
    bench: Bench, command: Command, folder: Path, there: dict[Path, bytes],
    situation: Situation, *, killed: bool,
) -> list[str]:  # fmt: skip
    """What lies there and should not, and what was lost."""
    bad = []
    told = ("stdout", "stderr", "stdout2", "stderr2", "answers", "beside")
    ours = {folder / one for one in told}
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
    known.add(folder / f"tmp/torchinductor_{getpass.getuser()}")  # torch's, one a machine
    if killed:  # goes with the next run that makes such a folder: ``_again``
        for scratch in _scratch(folder):
            known |= {scratch, *scratch.rglob("*")}
    for path in folder.rglob("*"):
        kept = any(path.match(str(folder / pattern)) for pattern in command.kept)
        if not path.is_dir() and path not in {*known, *there, *ours} and not kept:
            bad.append(f"{path.relative_to(folder)} was left behind")
    for name in ("tmp", "memory"):
        left = [path for path in (folder / name).iterdir() if path not in known]
        bad += [f"{path.relative_to(folder)} was left behind" for path in left]
    return bad


def _scratch(folder: Path) -> list[Path]:
    """Folders of runs, of ``spikegpt_neuro.scratch``."""
    return list(folder.glob(f"tmp/{PREFIX}*"))


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


def _answers(bench: Bench, command: Command, folder: Path, name: str = "answers") -> list[Any]:
    """A server's answers, those of ``folder`` and the right ones."""
    return [clients.answers(path) for path in (folder / name, bench.right(command) / "answers")]


def _complete(bench: Bench, command: Command, folder: Path, one: Start) -> list[str]:
    """After exit code 0 everything is there, and right."""
    if command.served:
        return clients.missing(*_answers(bench, command, folder))
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
    right = bench.right(command)
    begin = (clients.parts_kept(folder, right) or 0) if command.served else 0
    asking = client(command, again, begin, "answers3")
    _, codes = warm.run([again], client=asking, patience=bench.patience(command))
    if codes != [0]:
        said = (folder / "stderr3").read_text("utf-8", "replace")[-1000:]
        return [f"done again: exit code {codes[0]}: {said}"]
    bad = [
        f"done again: {output} is not the right one"
        for output in outputs
        if not same_bytes(folder / output, right / output)
    ]
    if command.served:
        found, all_right = _answers(bench, command, folder, "answers3")
        wanted_now = {name: all_right[name] for name in clients.asked(begin)}
        bad += clients.wrong(found, all_right, signalled=False)
        bad += clients.missing(found, wanted_now)
        if clients.parts_kept(folder, right) != clients.ROUNDS:
            bad.append("done again: the session is not the right one")
    wanted = result(right / "stdout")
    same = result(folder / "stdout3") == wanted
    if arguments is None and not (command.served or command.name == "simulate") and not same:
        bad.append("done again: the result is not the right one")
    left = [path for path in folder.rglob(".*.partial")] + _scratch(folder)
    return bad + [f"done again: {path.name} is still there" for path in left]


def _seen(path: Path) -> int:
    with np.load(path) as arrays:
        return int(json.loads(arrays["meta"].tobytes())["tokens_seen"])
