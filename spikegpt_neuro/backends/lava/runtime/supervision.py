"""A Lava run that never hangs: watched, stopped cleanly, and without orphans.

Stock lava-nc hangs when a process model raises, when a process is killed, also while its graph is
built, when a shape is wrong and on Ctrl-C. Here the caller never blocks on a pipe: it sends and
receives only what the pipes can take, and between that looks whether every actor is alive. This
uses attributes of lava-nc 0.10.0 that are not public; they are all in this file.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import AbstractLoihiRunCfg, Loihi2HwCfg, Loihi2SimCfg
from lava.magma.runtime import runtime as lava_runtime
from lava.magma.runtime.message_infrastructure import multiprocessing as lava_processes

from spikegpt_neuro.backends.base import TracedSession
from spikegpt_neuro.backends.lava.runtime.memory import NamelessMemory
from spikegpt_neuro.errors import RunFailed

Int32Array = npt.NDArray[np.int32]

POLL_SECONDS = 0.0002
"""Pause of a poll that found nothing to do."""
LIVENESS_SECONDS = 0.05
"""How often the actors are looked at while the caller waits."""
STOP_SECONDS, STOP_SECONDS_A_PROCESS = 2.0, 0.2
"""How long a stopped graph may take before its processes are ended by force."""
DRAIN_SECONDS = 30.0
"""How long a finished run's messages may be on their way without one arriving."""
_PR_SET_PDEATHSIG = 1

_in_work: list[SupervisedGraph] = []
"""The graph that is being built, if one is."""


def _die_with_parent() -> None:
    """In a process forked while a graph is built: be killed when the parent ends."""
    if not _in_work:
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent's handler is for the parent
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


os.register_at_fork(after_in_child=_die_with_parent)


@contextlib.contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Ctrl-C reaches the whole process group; the actors must leave it to the parent."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Built:
    """Takes the place of the queue through which an actor tells Lava that it is built, or why not.

    The queue needs a thread, and is waited at for ever where the actor is gone without a word.
    """

    def __init__(self) -> None:
        self._receiver, self._sender = multiprocessing.Pipe(duplex=False)

    def put(self, failure: Exception | None) -> None:
        """In the actor: it is built, or why not."""
        self._sender.send(failure)

    def get(self) -> Exception | None:
        """In the parent: what the actor said. Raises ``RunFailed`` if any actor is gone."""
        while not self._receiver.poll(LIVENESS_SECONDS):
            for graph in _in_work:
                graph._raise_if_broken()
        failure: Exception | None = self._receiver.recv()
        return failure


@contextlib.contextmanager
def _parts_of_ours(configuration: AbstractLoihiRunCfg) -> Iterator[None]:
    """Build with ``_Built`` and, where nothing is on a board, with ``NamelessMemory``.

    What lava-loihi does with a block of memory is its own.
    """
    queue, manager = lava_runtime.Queue, lava_processes.SharedMemoryManager
    lava_runtime.Queue = _Built
    if not isinstance(configuration, Loihi2HwCfg):
        lava_processes.SharedMemoryManager = NamelessMemory
    try:
        yield
    finally:
        lava_runtime.Queue, lava_processes.SharedMemoryManager = queue, manager


class SupervisedGraph:
    """A compiled graph of processes with a watched run.

    ``process`` is any process of the connected graph; ``configuration`` chooses the process models,
    by default the fixed-point ones of the CPU. Raises ``RunFailed`` if it cannot be built.
    """

    def __init__(
        self, process: AbstractProcess, configuration: AbstractLoihiRunCfg | None = None
    ) -> None:
        self._process = process
        self._closed = False
        if configuration is None:
            configuration = Loihi2SimCfg(select_tag="fixed_pt")
        _in_work.append(self)
        try:
            with _children_ignore_interrupts(), _parts_of_ours(configuration):
                process.create_runtime(run_cfg=configuration)
        except BaseException as error:
            self._abort()
            if isinstance(error, Exception):
                raise RunFailed(f"the Lava graph could not be built: {error}") from error
            raise
        finally:
            _in_work.remove(self)
        self._configuration = configuration

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the actors."""
        return [actor.pid for actor in self._actors() if actor.pid]

    def _runtime(self) -> Any:
        return self._process.runtime

    def _actors(self) -> list[Any]:
        infrastructure = getattr(self._runtime(), "_messaging_infrastructure", None)
        return list(infrastructure.actors) if infrastructure is not None else []

    def exchange(
        self, sender: Any, rows: Int32Array, receivers: Iterable[tuple[Any, Int32Array]]
    ) -> None:
        """Run a time step for each of ``rows`` [T, words], which go to the port ``sender``.

        Each receiver is a port and the int32 array [messages, words] it fills. Raises
        ``RunFailed`` with the actor's traceback if one raises or dies, and if a message does not
        arrive; the graph is closed then, as it is on KeyboardInterrupt and any other exception.
        """
        to_send = deque(rows)
        to_fill = [(port, deque(into)) for port, into in receivers]

        def turn() -> bool:
            moved = False
            while to_send and sender.probe():
                sender.send(to_send.popleft())
                moved = True
            for port, places in to_fill:
                while places and port.probe():
                    places.popleft()[:] = port.recv()
                    moved = True
            return moved

        self._run(len(rows), turn)
        self._drain(turn, lambda: not any(places for _, places in to_fill))

    def _run(self, steps: int, turn: Callable[[], bool]) -> None:
        """Run ``steps`` time steps, calling ``turn`` until they are over.

        ``turn`` moves what the pipes can take without blocking and says whether it moved anything.
        """
        if self._closed:
            raise RunFailed("this Lava session is closed; open a new one.")
        try:
            self._process.run(
                condition=RunSteps(steps, blocking=False), run_cfg=self._configuration
            )
            self._watch(turn)
            self._process.wait()
        except BaseException:
            self._abort()
            raise

    def _watch(self, turn: Callable[[], bool]) -> None:
        # one service for all processes on the CPU, a second one where some are on a chip
        responses = self._runtime().service_to_runtime
        looked = time.monotonic()
        while True:
            moved = turn()
            if not moved and all(response.probe() for response in responses):
                while turn():
                    pass
                self._raise_if_broken()
                return
            now = time.monotonic()
            if now - looked > LIVENESS_SECONDS:
                looked = now
                self._raise_if_broken()
            if not moved:
                time.sleep(POLL_SECONDS)

    def _drain(self, turn: Callable[[], bool], done: Callable[[], bool]) -> None:
        """After a run: call ``turn`` until ``done``, while the last messages are on their way.

        Raises ``RunFailed`` if an actor is gone, or if nothing arrives any more.
        """
        moved_at = time.monotonic()
        while not done():
            if turn():
                moved_at = time.monotonic()
                continue
            self.check()
            if time.monotonic() - moved_at > DRAIN_SECONDS:
                self._abort()
                raise RunFailed(
                    f"the Lava run is over, but some of its results did not arrive within "
                    f"{DRAIN_SECONDS:.0f} s; this is a fault in a process model."
                )
            time.sleep(POLL_SECONDS)

    def _raise_if_broken(self) -> None:
        for actor in self._actors():
            failure = actor.exception
            if failure is not None:
                error, trace = failure
                raise RunFailed(f"a Lava process model raised {error!r}:\n{trace}")
            if not actor.is_alive():
                raise RunFailed(
                    f"a Lava process (pid {actor.pid}) died with exit code {actor.exitcode}; "
                    "it was killed, or ran out of memory."
                )

    def check(self) -> None:
        """Raise ``RunFailed`` (and close) if an actor is gone between two runs."""
        try:
            if self._closed:
                raise RunFailed("this Lava session is closed; open a new one.")
            self._raise_if_broken()
        except BaseException:
            self._abort()
            raise

    def close(self) -> None:
        """Stop the graph; by force if it does not stop by itself in time."""
        if self._closed:
            return
        if not self._runtime()._is_started:
            self._abort()  # a graph that never ran does not listen to its stop command
            return
        stopper = threading.Thread(target=self._stop, daemon=True)
        stopper.start()
        stopper.join(STOP_SECONDS + STOP_SECONDS_A_PROCESS * len(self._actors()))
        if stopper.is_alive():
            self._abort()
        self._closed = True

    def _stop(self) -> None:
        """Ask the graph to stop and wait until it has."""
        try:
            self._process.stop()
        except Exception:
            # ended by force meanwhile: what this thread still waits for is gone
            if not self._closed:
                raise

    def _abort(self) -> None:
        """End every process of the graph by force and free its channels."""
        self._closed = True
        runtime = self._runtime()
        if runtime is None:
            return
        # ValueError, OSError: already joined and closed, perhaps by a stop slower than its time
        for actor in self._actors():
            with contextlib.suppress(ValueError, OSError):
                actor.kill()
        for actor in self._actors():
            with contextlib.suppress(ValueError, OSError):
                actor.join()
        runtime._is_started = runtime._is_running = False
        runtime.join()
        infrastructure = getattr(runtime, "_messaging_infrastructure", None)
        if infrastructure is not None and infrastructure.smm is not None:
            # a manager that could not start, for want of descriptors, has nothing to shut down
            with contextlib.suppress(AttributeError):
                infrastructure.smm.shutdown()


class GraphSession(TracedSession):
    """A session whose processes are those of one graph, built by the class that derives."""

    _graph: SupervisedGraph

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the graph's actors."""
        return self._graph.process_ids

    def close(self) -> None:
        """See ``Session.close``."""
        self._graph.close()
