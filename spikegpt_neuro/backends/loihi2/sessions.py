"""Sessions on a Loihi 2 board: tokens through the fine graph, rasters through stock chains.

Only what the last layer sends leaves the chip. Traces and per-layer counters therefore come from
the emulator, which runs the same input beside the board; they are given out only as long as its
last layer agrees with the board's in every integer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import SessionDefaults, check_tokens
from spikegpt_neuro.backends.emulator import EmulatorSession, warm_up
from spikegpt_neuro.backends.lava.runtime.commands import ADVANCE, IDLE, RESET
from spikegpt_neuro.backends.loihi2.chains import check_chain, in_sample_time, needs_reset
from spikegpt_neuro.backends.loihi2.job import Left, Ready, Run, Start, Stop, Stopped
from spikegpt_neuro.backends.loihi2.probing import Host
from spikegpt_neuro.backends.loihi2.supervised import STOP_SECONDS, SupervisedWorker, time_limit
from spikegpt_neuro.backends.raster import EmulatorChainSession, check_raster, score_samples
from spikegpt_neuro.decomposition.decomposition import check_fine
from spikegpt_neuro.errors import InputError, RunFailed
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.events.measurement import Measurement
from spikegpt_neuro.network import Chain, LanguageModel, Network

Int32Array = npt.NDArray[np.int32]


class _Board(SessionDefaults):
    """A worker with its board, and the emulator beside it.

    ``counts_events`` False: the counters are not the board's own, so comparing them shows nothing.
    """

    counts_events = False

    def __init__(self, network: Network, host: Host, *, resets: bool, profiled: bool) -> None:
        self._network = network
        self._host = host
        self._profiled = profiled
        self._profile_of: Run | None = None
        self._begun = False
        self._last = network.layers[-1].name
        self._difference = ""
        self._measurement: Measurement | None = None
        self._run_limit = time_limit("run")
        start_limit = time_limit("start")
        self._worker = SupervisedWorker()
        self._ready = self._worker.ask(Start(network, host, resets, profiled), Ready, start_limit)
        self._closed = False

    def _run(self, request: Run) -> Int32Array:
        if self._begun and self._profiled:
            raise InputError("a profiled session is one run: give it everything at once.")
        rows = self._worker.ask(request, Left, self._run_limit).rows
        if not self._begun:
            self._profile_of = request
        self._begun = True
        return rows

    def _compare(self, board: Int32Array, emulator: Int32Array) -> None:
        """Remember where the board first said something else than the emulator."""
        wrong = np.argwhere(board != emulator)
        if wrong.size and not self._difference:
            step, index = (int(i) for i in wrong[0])
            self._difference = (
                f"{self._last}, step {step}, index {index}: {board[step, index]} on the board, "
                f"{emulator[step, index]} on the emulator"
            )

    def _check_agreement(self) -> None:
        if self._difference:
            raise RunFailed(
                "the board did not compute the emulator's integers, so the emulator's counts and "
                f"traces say nothing of its run; first at {self._difference}."
            )

    @property
    def measurement(self) -> Measurement | None:
        """What the profilers measured of a profiled session's run; known once it is closed."""
        return self._measurement

    @property
    def process_ids(self) -> list[int]:
        """Process ids of everything the session started."""
        return self._worker.process_ids

    def close(self) -> None:
        """Let the board go and read the profilers; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._measurement = self._worker.ask(Stop(), Stopped, STOP_SECONDS).measurement
        except RunFailed as error:  # the results are there; everything it started is ended
            if self._profiled and self._profile_of is not None:
                run = self._profile_of
                self._measurement = Measurement(
                    str(self._host), "lava-loihi", run.mode, len(run.rows), run.tokens,
                    notes=(f"the profilers could not be read: {error}",),
                )  # fmt: skip
        finally:
            self._worker.end()


class BoardTokenSession(_Board):
    """A SpikeGPT network on a board. See ``Session``."""

    def __init__(
        self, network: LanguageModel, host: Host, *, trace: Iterable[str] = (),
        profiled: bool = False,
    ) -> None:  # fmt: skip
        self._vocabulary_size = network.info.vocabulary_size
        check_fine(network)
        self._emulator = EmulatorSession(network, trace=trace)
        warm_up()  # compiling must not eat the worker's time limit
        super().__init__(network, host, resets=False, profiled=profiled)

    def _advance(self, tokens: npt.NDArray[np.int64], mode: str) -> Int32Array:
        entering = [(ADVANCE, int(token)) for token in tokens]
        rows = np.array([*entering, *[(IDLE, 0)] * self._ready.delay], np.int32)
        left = self._run(Run(rows, tokens.size, mode))
        return left[self._ready.delay :]

    def step(self, token: int) -> Int32Array:
        """See ``Session.step``: the token, then as many idle steps as the graph is deep."""
        logits = self._advance(check_tokens([token], self._vocabulary_size), "fall-through")[0]
        self._compare(logits[None], self._emulator.step(token)[None])
        return logits

    def score(self, tokens: Sequence[int]) -> Int32Array:
        """See ``Session.score``: a token every time step."""
        checked = check_tokens(tokens, self._vocabulary_size)
        if not checked.size:
            return np.empty((0, self._network.output_size), np.int32)
        logits = self._advance(checked, "pipelined")
        self._compare(logits, self._emulator.score(tokens))
        return logits

    def reset(self) -> None:
        """See ``Session.reset``: on the chip, the command reaches each layer in its turn."""
        self._emulator.reset()
        if self._begun:
            rows = np.array([(RESET, 0), *[(IDLE, 0)] * self._ready.delay], np.int32)
            self._run(Run(rows, 1, "pipelined"))

    def trace(self, name: str) -> Int32Array:
        """See ``Session.trace``: the emulator's. ``RunFailed`` if the board's logits differ."""
        self._check_agreement()
        return self._emulator.trace(name)

    @property
    def counters(self) -> Counters:
        """See ``Session.counters``: the emulator's. ``RunFailed`` if the board's logits differ."""
        self._check_agreement()
        return self._emulator.counters


class BoardChainSession(_Board):
    """A stock NetX chain on a board. See ``RasterSession``; every raster is one run from rest.

    ``reset_interval``: time steps after which neurons are reset on the chip, for rasters that hold
    many samples. A second raster would need a new boot and is refused: ``takes_one_run``.
    """

    takes_one_run = True

    def __init__(
        self, network: Chain, host: Host, *, trace: Iterable[str] = (),
        reset_interval: int | None = None, profiled: bool = False,
    ) -> None:  # fmt: skip
        self._chain = network
        self._traced = tuple(trace)
        self._traces: dict[str, Int32Array] = {}
        self._emulator = EmulatorChainSession(network, trace=self._traced)
        check_chain(network, reset_interval)
        self._interval = reset_interval
        super().__init__(
            network, host, resets=needs_reset(network, reset_interval), profiled=profiled
        )

    def step(self, row: Any) -> Int32Array:
        """A raster of one time step; int32 [outputs]."""
        return self.score(np.asarray(row)[None])[0]

    def score(self, raster: Any) -> Int32Array:
        """The raster's time steps [T, inputs]; the last layer's int32 [T, outputs].

        ``InputError`` for a second raster.
        """
        if self._begun:
            raise InputError(
                "the board has moved on beyond the last raster: open a session for the next one."
            )
        checked = check_raster(raster, self._chain)
        silence = np.zeros((self._ready.delay, checked.shape[1]), np.int32)
        rows = np.concatenate((checked, silence))
        left = self._run(Run(rows, len(checked), "pipelined", self._interval))
        wave = left[self._ready.delay :]
        result = in_sample_time(wave, self._network, self._ready.depth, self._interval)
        expected, self._traces = score_samples(
            self._emulator, checked, self._interval, self._traced
        )
        self._compare(result, expected)
        return result

    def reset(self) -> None:
        """Nothing to do before the raster, and no second one is taken."""

    def trace(self, name: str) -> Int32Array:
        """See ``RasterSession.trace``: the emulator's. ``RunFailed`` if the output differs."""
        self._check_agreement()
        return self._traces[name] if name in self._traces else self._emulator.trace(name)

    @property
    def counters(self) -> Counters:
        """See ``RasterSession.counters``: the emulator's. ``RunFailed`` if the output differs."""
        self._check_agreement()
        return self._emulator.counters
