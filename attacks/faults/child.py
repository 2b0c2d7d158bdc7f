"""Starting a command under limits and mounts, from a process that has its modules loaded.

A start takes seconds, most of it imports: the *warm* process imports once and forks a child for
each command. A child is a session of its own; with ``fresh`` it becomes a new interpreter.
``python -m attacks.faults.child torch|light RUNS`` (with PyTorch or without; commands to run once)
answers each line, a JSON list of ``Start`` fields, with the children's process ids and then with
their exit codes.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CLONE_NEWNS, _MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = (
    0x20000, 1, 32, 4096, 16384, 1 << 18,
)  # fmt: skip
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
COMMAND = ("-m", "spikegpt_neuro.cli.main")


@dataclass
class Start:
    """How a command is started.

    ``environment``: changes; None removes. ``limits``: by name of ``resource``'s constant without
    RLIMIT_; AS and NOFILE count from what the child uses already. ``mounts``: what only it sees:
    ("bind", source, target), ("read-only", path) or ("tmpfs", path, options). ``output``: the file
    of standard output, or "closed". ``ignore_interrupts``: as shells start background jobs.
    """

    folder: str
    arguments: list[str]
    environment: dict[str, str | None] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    mounts: list[list[str]] = field(default_factory=list)
    output: str = "stdout"
    errors: str = "stderr"
    fresh: bool = False


def private_mounts() -> bool:
    """From here on this process's mounts are its own and its children's; False if not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        return False
    return not libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)


def mount(kind: str, *where: str) -> None:
    """See ``Start.mounts``."""
    libc = ctypes.CDLL(None, use_errno=True)
    if kind == "tmpfs":
        path, options = where
        wrong = libc.mount(b"none", os.fsencode(path), b"tmpfs", 0, options.encode())
    else:
        source, target = (where[0], where[-1])
        at = os.fsencode(target)
        wrong = libc.mount(os.fsencode(source), at, None, _MS_BIND, None)
        if kind == "read-only" and not wrong:
            wrong = libc.mount(None, at, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY, None)
    if wrong:
        raise OSError(ctypes.get_errno(), f"mount {kind}", where[0])


def unmount(path: Path) -> None:
    """Take a mount away, as soon as nobody uses it."""
    ctypes.CDLL(None).umount2(os.fsencode(path), 2)


def _prepare(start: Start) -> None:
    """In the child, before its command begins."""
    os.setsid()
    os.chdir(start.folder)
    if start.mounts:
        private_mounts()
        for kind, *where in start.mounts:
            mount(kind, *where)
    for name, value in start.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    tempfile.tempdir = None
    quiet = os.open(os.devnull, os.O_RDONLY)
    errors = os.open(start.errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(quiet, 0)
    os.dup2(errors, 2)
    if start.output == "closed":
        os.close(1)
        sys.stdout = None  # type: ignore[assignment]  # as an interpreter started so has it
    else:
        os.dup2(os.open(start.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.closerange(3, 64)
    for name, value in start.limits.items():
        if not start.fresh and name in ("AS", "NOFILE"):
            value += _in_use(name)
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _in_use(name: str) -> int:
    if name == "NOFILE":
        return len(os.listdir("/proc/self/fd"))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _warm(arguments: list[list[str]], *, torch: bool) -> None:
    """Import what commands import, and load the kernels by running some commands here."""
    import spikegpt_neuro.backends.batch
    import spikegpt_neuro.cli.program
    import spikegpt_neuro.energy.study
    import spikegpt_neuro.serving.server

    if torch:
        import spikegpt_neuro.converters.export
        import spikegpt_neuro.fitting.search
        import spikegpt_neuro.training.loop  # noqa: F401
    for one in arguments:
        try:
            _run(one)
        except SystemExit as end:
            if end.code:
                raise
    gc.freeze()  # children leave alone, and so share, what is there


def _run(arguments: list[str]) -> None:
    """The program's own ``main``; signals sent before it began arrive when it has."""
    from spikegpt_neuro.cli import main, program

    app = program.app

    def begin() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        app()

    sys.argv, program.app = ["spikegpt-neuro", *arguments], begin  # type: ignore[assignment]
    try:
        main.main()
    finally:
        program.app = app
    sys.exit(0)


def main() -> None:
    """Answer requests until standard input ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have it ignored at times
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    _warm(json.loads(sys.argv[2]), torch=sys.argv[1] == "torch")
    print("warm", file=answers)
    for line in sys.stdin:
        starts = [Start(**fields) for fields in json.loads(line)]
        children = []
        for start in starts:
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            child = os.fork()
            if child == 0:
                _prepare(start)
                if start.fresh:
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
                    os.execv(sys.executable, [sys.executable, *COMMAND, *start.arguments])
                _run(start.arguments)
            children.append(child)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        print(json.dumps(children), file=answers)
        found: dict[int, Any] = {}
        while len(found) < len(children):
            child, status = os.wait()
            found[child] = os.waitstatus_to_exitcode(status)
        print(json.dumps([found[child] for child in children]), file=answers)


if __name__ == "__main__":
    main()
