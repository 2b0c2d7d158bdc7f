"""The process that talks to lava-loihi: started by ``supervised``, one for each session.

A closed SDK can hang, end the process or leave its environment changed; here none of it reaches
the caller. Requests and answers (``job``) travel over the inherited connection whose number is the
first argument; the second is the caller's process id. What the SDK prints goes where standard error
goes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING

from spikegpt_neuro.backends.loihi2.job import Failed, Left, Ready, Run, Start, Stop, Stopped
from spikegpt_neuro.backends.loihi2.probing import ADVICE, Host, sdk_version
from spikegpt_neuro.backends.loihi2.supervised import MARK, end_processes
from spikegpt_neuro.errors import RunFailed, SpikeGPTNeuroError, Unavailable

if TYPE_CHECKING:
    from spikegpt_neuro.backends.loihi2.graphs import BoardGraph, BoardRun
    from spikegpt_neuro.backends.loihi2.profiling import Profilers
    from spikegpt_neuro.events.measurement import Measurement

_LOOK_SECONDS = 0.2
"""How often the worker looks whether its caller is still there."""
_NO_RESET = 1 << 30
"""Interval of a reset that is wanted once: no run is that long."""


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _end_with(caller: int) -> None:
    """End this process when its parent is no longer ``caller``, whatever it waits for."""
    while os.getppid() == caller:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _import_sdk() -> None:
    """Import lava-loihi; ``Unavailable`` with its error."""
    from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava

    prepare_lava()
    try:
        import lava.magma.core.model.c.model
        import lava.magma.core.model.nc.model
        import lava.proc.embedded_io.spike
        import lava.utils.loihi2_profiler  # noqa: F401
    except Exception as error:
        raise Unavailable(
            f"lava-loihi {sdk_version()} is installed but cannot be imported: {error!r}.",
            advice="Reinstall it for this Python and this lava-nc; " + ADVICE,
        ) from error


def _choose_host(host: Host) -> None:
    """Tell lava-nc which host to use; ``Unavailable`` where it does not answer."""
    from lava.utils import loihi

    generation = loihi.ChipGeneration[host.generation]
    try:
        if host.kind == "ethernet":
            more = {"host_binary_path": host.binary} if host.binary else {}
            loihi.use_ethernet_host(host.address, loihi_gen=generation, **more)
        else:
            loihi.use_slurm_host(loihi_gen=generation)
            # lava-nc 0.10.0 cannot be told these: it looks them up in the lines of `sinfo` and
            # raises IndexError at the empty one behind the last; `probing` has looked them up
            for variable, value in (("PARTITION", host.partition), ("BOARD", host.board)):
                if value:
                    os.environ[variable] = value
    except FileNotFoundError as error:
        raise Unavailable(
            f"{host}: lava-nc asks with the command {error.filename!r}, which is not installed.",
            advice=ADVICE,
        ) from error
    except Exception as error:
        raise Unavailable(
            f"{host} cannot be used: {error}",
            [str(host)],
            "Look whether the host is up and reachable (`ping`, `sinfo`). " + ADVICE,
        ) from error


class _Worker:
    """The session's other end. Nothing of Lava is imported before the first request."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._run: BoardRun | None = None
        self._profilers: Profilers | None = None
        self._first: Run | None = None

    def serve(self) -> None:
        """Answer requests until the session stops or goes away."""
        try:
            self._serve()
        except (EOFError, BrokenPipeError):  # the session is gone
            pass
        except SpikeGPTNeuroError as error:
            self._connection.send(Failed(error))
        except Exception as error:
            text = f"the Loihi 2 run failed: {error!r}\n{traceback.format_exc()}"
            self._connection.send(Failed(RunFailed(text)))
        finally:
            # the caller's end and its signal may arrive together; closing must not be interrupted
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._close()

    def _serve(self) -> None:
        start = self._connection.recv()
        assert isinstance(start, Start)
        _import_sdk()
        _choose_host(start.host)
        ready = self._prepare(start)
        self._connection.send(ready)
        while True:
            request = self._connection.recv()
            if isinstance(request, Stop):
                self._close()
                self._connection.send(Stopped(self._measurement(start)))
                return
            assert isinstance(request, Run)
            self._connection.send(self._execute(start, ready, request))

    def _graph(self, start: Start, resets: tuple[int, int] | None) -> BoardGraph:
        from spikegpt_neuro.backends.loihi2.graphs import chain_graph, token_graph
        from spikegpt_neuro.network import Chain

        if isinstance(start.network, Chain):
            return chain_graph(start.network, resets)
        return token_graph(start.network)

    def _prepare(self, start: Start) -> Ready:
        """Refuse what the chip cannot hold, before the board is touched; then ask the board."""
        from spikegpt_neuro.backends.emulator import warm_up
        from spikegpt_neuro.backends.lava.fine.neuron_updates import warm_up_neurons
        from spikegpt_neuro.backends.loihi2.graphs import BoardRun, latency_graph, measured_latency
        from spikegpt_neuro.backends.loihi2.selection import (
            BoardConfiguration,
            check_models,
            registered_programs,
        )
        from spikegpt_neuro.network import LanguageModel

        if isinstance(start.network, LanguageModel):
            warm_up()  # compiled here, before processes fork, and not once in every one
            warm_up_neurons()
        programs = registered_programs()
        graph = self._graph(start, (_NO_RESET, 1) if start.needs_reset else None)
        check_models(graph.process, BoardConfiguration(programs))
        try:
            run = BoardRun(latency_graph(), BoardConfiguration(programs))
            try:
                way_in, way_out = measured_latency(run)
            finally:
                run.close()
        except RunFailed as error:
            raise Unavailable(
                f"the board could not be started, or does not answer: {error}",
                [str(start.host)],
                "It may be in use: `sinfo` and `squeue` show what runs on it; try again when it is "
                "free, or choose another with PARTITION or BOARD.",
            ) from error
        return Ready(way_in, way_out, graph.depth)

    def _execute(self, start: Start, ready: Ready, request: Run) -> Left:
        from spikegpt_neuro.backends.loihi2.graphs import BoardRun
        from spikegpt_neuro.backends.loihi2.profiling import Profilers
        from spikegpt_neuro.backends.loihi2.selection import (
            BoardConfiguration,
            registered_programs,
        )

        if self._run is None:
            self._first = request
            if start.profiled:
                self._profilers = Profilers(len(request.rows))
            resets = None
            if start.needs_reset:
                # lava counts time steps from 1
                resets = (request.reset_interval or _NO_RESET, ready.way_in + 1)
            callbacks = [] if self._profilers is None else self._profilers.callbacks
            configuration = BoardConfiguration(registered_programs(), callbacks)
            self._run = BoardRun(self._graph(start, resets), configuration)
        return Left(self._run.exchange(request.rows))

    def _measurement(self, start: Start) -> Measurement | None:
        if self._profilers is None or self._first is None:
            return None
        first = self._first
        return self._profilers.measurement(
            str(start.host), f"lava-loihi {sdk_version()}", first.mode, len(first.rows),
            first.tokens,
        )  # fmt: skip

    def _close(self) -> None:
        if self._run is not None:
            run, self._run = self._run, None
            run.close()


def main(arguments: list[str]) -> None:
    """Serve one session; ends with it, and with its process."""
    signal.signal(signal.SIGTERM, _end)
    # not by prctl, which ends a process with the thread that started it
    threading.Thread(target=_end_with, args=(int(arguments[1]),), daemon=True).start()
    os.dup2(2, 1)
    try:
        _Worker(Connection(int(arguments[0]))).serve()
    finally:
        end_processes(f"{MARK}={os.environ[MARK]}")


if __name__ == "__main__":
    main(sys.argv[1:])
