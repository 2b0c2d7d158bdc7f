"""The faults: how the command is started, what happens meanwhile, and what may come of it.

A fault draws its numbers from the trial's generator and notes them, so that a trial can be repeated
(its moment in the command's work cannot: that is on the clock).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from attacks.faults.child import Start, mount, unmount
from attacks.faults.commands import Command
from attacks.mutations import Random


@dataclass
class Situation:
    """What a fault works on. ``noted``: what it drew. ``undo``: called when the trial is over."""

    command: Command
    folder: Path
    rng: Random
    starts: list[Start]
    kernels: Path
    noted: dict[str, Any] = field(default_factory=dict)
    undo: list[Callable[[], object]] = field(default_factory=list)
    harmed: set[str] = field(default_factory=set)
    """Inputs that the fault itself changes."""

    def draw(self, name: str, values: Sequence[Any]) -> Any:
        """One of ``values``, noted."""
        value = values[int(self.rng.integers(len(values)))]
        self.noted[name] = value
        return value

    def number(self, name: str, low: int, high: int) -> int:
        """A whole number in low..high, noted."""
        self.noted[name] = int(self.rng.integers(low, high + 1))
        return int(self.noted[name])


@dataclass(frozen=True)
class Fault:
    """``before`` changes the start; ``meanwhile`` acts at the moment, given the children's ids.

    ``signals``: by which a command may end. ``completes``: the fault does not excuse a failure.
    ``mounts``: needs the right to mount. ``only``: commands it is for.
    """

    before: Callable[[Situation], None] = lambda situation: None
    meanwhile: Callable[[Situation, list[int]], None] | None = None
    signals: tuple[int, ...] = ()
    completes: bool = False
    mounts: bool = False
    only: tuple[str, ...] = ()
    share: float = 1.0


def _send(number: int, *, group: bool = False) -> Callable[[Situation, list[int]], None]:
    def act(situation: Situation, children: list[int]) -> None:
        for child in children:
            with suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(child, number)

    return act


def descendants(child: int) -> list[int]:
    """Living processes below ``child``."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [child]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _kill_below(situation: Situation, children: list[int]) -> None:
    below = descendants(children[0])
    situation.noted["below"] = len(below)
    if below:
        with suppress(ProcessLookupError):
            os.kill(below[int(situation.rng.integers(len(below)))], signal.SIGKILL)


def _limit(name: str, low: int, high: int) -> Callable[[Situation], None]:
    def before(situation: Situation) -> None:
        value = situation.number(name, low, high)
        for start in situation.starts:
            start.limits[name] = value

    return before


def _memory(situation: Situation) -> None:
    fresh = situation.starts[0].fresh
    low, high = (28.2, 32.0) if fresh else (16.0, 28.2)  # 64 KiB more than it has, to 300 MB
    value = int(2 ** situation.rng.uniform(low, high))
    situation.noted["AS"] = situation.starts[0].limits["AS"] = value


def _file_size(situation: Situation) -> None:
    # uniform in the logarithm: small files are cut, too; what is said of an error has room
    value = int(2 ** situation.rng.uniform(8, 19))
    situation.noted["FSIZE"] = value
    situation.starts[0].limits["FSIZE"] = value


def _disk_full(situation: Situation) -> None:
    folder = situation.folder / "out"
    aside = folder.with_name("aside")
    shutil.copytree(folder, aside)
    used = sum(path.stat().st_size for path in aside.rglob("*")) // 4096 + 8
    pages = used + situation.number("pages", 0, 60)
    mount("tmpfs", str(folder), f"size={pages * 4}k")
    situation.undo.append(lambda: _unmounted(folder))
    shutil.copytree(aside, folder, dirs_exist_ok=True)
    shutil.rmtree(aside)


def _unmounted(folder: Path) -> None:
    aside = folder.with_name("aside")
    shutil.copytree(folder, aside)
    unmount(folder)
    shutil.rmtree(folder)
    aside.rename(folder)


def _read_only(situation: Situation) -> None:
    situation.starts[0].mounts.append(["read-only", str(situation.folder / "out")])


def _kernels_read_only(situation: Situation) -> None:
    situation.starts[0].mounts.append(["read-only", str(situation.kernels)])


def _no_shared_memory(situation: Situation) -> None:
    situation.starts[0].mounts = [["tmpfs", "/dev/shm", "size=4k,nr_inodes=1,mode=0555"]]


def _no_home(situation: Situation) -> None:
    value = situation.draw("HOME", [None, "/nonexistent", "/dev/null"])
    names = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME")
    situation.starts[0].environment |= {"HOME": value, **dict.fromkeys(names)}


def _same_file(situation: Situation) -> None:
    output, source = situation.draw("collision", situation.command.collisions)
    arguments = situation.starts[0].arguments
    arguments[arguments.index(output)] = source


def _two_writers(situation: Situation) -> None:
    first = situation.starts[0]
    situation.starts.append(
        Start(first.folder, list(first.arguments), dict(first.environment), mounts=first.mounts,
              output="stdout2", errors="stderr2", fresh=first.fresh)
    )  # fmt: skip


def _output(kind: str) -> Callable[[Situation], None]:
    def before(situation: Situation) -> None:
        situation.starts[0].output = kind

    return before


def _input(situation: Situation) -> Path:
    return situation.folder / situation.draw(
        "input", [n for n in situation.command.inputs if n != "texts"]
    )


def _replace(situation: Situation, children: list[int]) -> None:
    path = _input(situation)
    situation.harmed.add(path.name)
    beside = path.with_name("beside")
    shutil.copy(path, beside)
    beside.replace(path)


def _truncate(situation: Situation, children: list[int]) -> None:
    path = _input(situation)
    situation.harmed.add(path.name)
    os.truncate(path, situation.number("length", 0, path.stat().st_size - 1))


def _overwrite(situation: Situation, children: list[int]) -> None:
    path = _input(situation)
    situation.harmed.add(path.name)
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(situation.number("at", 0, size - 1))
        stream.write(os.urandom(min(4096, size - stream.tell())))


def _lock(situation: Situation) -> None:
    held: list[BinaryIO] = []
    for name in (*situation.command.inputs, *situation.command.outputs):
        path = situation.folder / name
        if path.is_file():
            held.append(path.open("rb"))
            fcntl.flock(held[-1], fcntl.LOCK_EX)
    situation.undo.append(lambda: [stream.close() for stream in held])


def _remove_folder(situation: Situation, children: list[int]) -> None:
    (situation.folder / "out").rename(situation.folder / "gone")
    situation.undo.append(lambda: _back(situation.folder))


def _back(folder: Path) -> None:
    if (folder / "gone").exists():
        shutil.rmtree(folder / "out", ignore_errors=True)
        (folder / "gone").rename(folder / "out")


_WRITE = ("export", "train", "fit", "simulate", "energy", "chain")
_STORE = (*_WRITE, "corpus", "serve")
_MAPPED = ("fit", "simulate", "score", "energy", "corpus", "chain", "serve")
FAULTS: dict[str, Fault] = {
    "kill -9": Fault(meanwhile=_send(signal.SIGKILL), signals=(signal.SIGKILL,), share=4),
    "SIGTERM": Fault(meanwhile=_send(signal.SIGTERM), signals=(signal.SIGTERM,), share=3),
    # that it is told has tests of its own; in the first moments it may end by the signal, silently
    "Ctrl-C": Fault(meanwhile=_send(signal.SIGINT, group=True), signals=(signal.SIGINT,), share=4),
    "full disk": Fault(before=_disk_full, mounts=True, only=_STORE, share=3),
    "file size limit": Fault(before=_file_size, share=2),
    "read-only folder": Fault(before=_read_only, mounts=True, only=_STORE),
    # LLVM aborts where it cannot have memory, whoever called it
    "memory limit": Fault(before=_memory, signals=(signal.SIGABRT,), share=3),
    "descriptor limit": Fault(before=_limit("NOFILE", 0, 14), share=2),
    "no /dev/shm": Fault(before=_no_shared_memory, mounts=True),
    "no HOME": Fault(before=_no_home, completes=True),
    "kernel cache unwritable": Fault(before=_kernels_read_only, mounts=True, completes=True),
    "output is an input": Fault(before=_same_file, only=_WRITE),
    "two writers": Fault(
        before=_two_writers, only=("export", "fit", "energy", "corpus", "chain"), share=2
    ),
    "standard output full": Fault(before=_output("/dev/full")),
    "standard output closed": Fault(before=_output("closed")),
    "a child dies": Fault(meanwhile=_kill_below, only=("chain", "verify", "workers"), share=2),
    "an input is replaced": Fault(meanwhile=_replace, completes=True, only=_MAPPED),
    "an input is truncated": Fault(meanwhile=_truncate, only=_MAPPED),
    "an input is overwritten": Fault(meanwhile=_overwrite, only=_MAPPED),
    "files are locked": Fault(before=_lock),
    "the output's folder goes away": Fault(meanwhile=_remove_folder, only=(*_WRITE, "serve")),
}
