"""What trials run on: processes that start commands, and what the commands give undisturbed."""

from __future__ import annotations

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

from attacks.faults import clients, commands
from attacks.faults.child import Start
from attacks.faults.commands import Command
from spikegpt_neuro.arithmetic.compiler import CACHE_FOLDER

PATIENCE = 240.0
"""Seconds on the clock after which a command hangs, beside what a busy machine makes of them."""


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
        client: Callable[[int], None] | None = None,
        *,
        patience: float = PATIENCE,
    ) -> tuple[list[int], list[int | None]]:  # fmt: skip
        """Process ids and exit codes (negative: signals; None: hung, and killed).

        ``meanwhile`` acts after ``delay`` seconds, ``client`` from the first child's start on.
        """
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

        timers = [threading.Timer(patience, give_up)]
        if meanwhile is not None:
            timers.append(threading.Timer(delay, meanwhile, (children,)))
        asking = threading.Thread(target=client or (lambda child: None), args=(children[0],))
        for thread in (asking, *timers):
            thread.start()
        codes = json.loads(self._answer())
        asking.join()
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
        self.warm: dict[bool, Warm] = {}
        self.seconds: dict[str, float] = {}

    def another(self, *, torch: bool) -> Warm:
        """One more warm process, with what is often executed loaded; forks of torch are slow."""
        net, text, model = (str(self.base / "inputs" / name) for name in ("m.net", "t.txt", "m.pt"))
        runs = [["score", net, text, "--json"], ["simulate", net, "--prompt", "a", "--json"]]
        if torch:  # imports much of torch; training would start threads, which do not fork
            made = str(self.base / "warm.net")
            runs.append(["export", model, made, "--calibration", text, "--force", "--json"])
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
        if command.torch not in self.warm:
            self.warm[command.torch] = self.another(torch=command.torch)
        for inputs in ("other", "inputs"):  # the second has all kernels
            folder = self.base / f"{'before' if inputs == 'other' else 'right'}-{command.name}"
            shutil.rmtree(folder, ignore_errors=True)
            self.lay_out(command, folder, inputs)
            began = time.monotonic()
            first = start(command, folder)
            asking = client(command, first, states=True)
            _, codes = self.warm[command.torch].run([first], client=asking)
            self.seconds[command.name] = time.monotonic() - began
            if codes != [0]:
                raise RuntimeError(f"{command.name}: {(folder / 'stderr').read_text()}")

    def patience(self, command: Command) -> float:
        """Seconds after which it hangs, where it took ``seconds`` undisturbed."""
        return PATIENCE + 20 * self.seconds[command.name]

    def right(self, command: Command) -> Path:
        """The folder of an undisturbed run."""
        return self.base / f"right-{command.name}"

    def before(self, command: Command) -> Path:
        """The folder of an earlier run, on other inputs."""
        return self.base / f"before-{command.name}"


def start(command: Command, folder: Path, arguments: tuple[str, ...] | None = None) -> Start:
    """The command in ``folder``, undisturbed; everything it may leave stays in there."""
    given = [
        str(clients.free_port()) if part == clients.PORT else part
        for part in arguments or command.arguments
    ]
    return Start(
        str(folder), given,
        {"TMPDIR": str(folder / "tmp"), "DASK_TEMPORARY_DIRECTORY": str(folder / "tmp")},
        fresh=command.fresh,
    )  # fmt: skip


def client(
    command: Command, one: Start, begin: int = 0, told_in: str = "answers", *, states: bool = False
) -> Callable[[int], None] | None:
    """Who asks, where the command serves."""
    if not command.served:
        return None
    return lambda child: clients.ask(
        Path(one.folder), one.arguments, child, begin, told_in, states=states
    )
