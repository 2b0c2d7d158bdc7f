"""Continuous batching: streams join and leave between passes of the weights, in one thread."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from spikegpt_neuro.backends.batch import BLOCK, BatchSession, Int32Array, StreamCounts
from spikegpt_neuro.errors import InputError, RunFailed, SpikeGPTNeuroError, lacks_memory
from spikegpt_neuro.generation import network_digest
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.readers.mapped import check_unchanged
from spikegpt_neuro.serving.streams import End, Event, Failure, Order, Stream
from spikegpt_neuro.vocabulary import Vocabulary

Deliver = Callable[[int, Event], None]
"""``deliver(index, event)``: called from the engine's thread; must not block."""
GONE = 499
"""Status of a stream whose client went away; nobody reads it."""
_LONGEST_WAIT = 60
_RESERVE = 4 << 20
"""Bytes kept, so that there is memory to tell clients that there is none."""


class Busy(SpikeGPTNeuroError):
    """All places and the whole queue are taken; ``retry_after`` seconds may be enough."""

    def __init__(self, message: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class Closed(SpikeGPTNeuroError):
    """The engine takes nothing more: it is shutting down, or has failed."""


@dataclass(frozen=True)
class Load:
    """What the engine did since it was opened, and does now."""

    streams: int = 0
    active: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    passes: int = 0
    finished: int = 0
    abandoned: int = 0
    refused: int = 0


@dataclass(eq=False)
class _Job:
    """One order between its client and its place."""

    order: Order
    index: int
    deliver: Deliver
    place: int = -1
    stream: Stream | None = None
    begun: StreamCounts | None = None
    read: StreamCounts | None = None
    abandoned: bool = False


class Ticket:
    """A client's hold on its streams."""

    def __init__(self, engine: Engine, jobs: Sequence[_Job]) -> None:
        self._engine = engine
        self._jobs = jobs

    def abandon(self) -> None:
        """End them, if they have not ended: their places and queue are free at once."""
        self._engine._abandon(self._jobs)


class Engine:
    """``streams`` places on one network, and a queue of ``queue`` orders that wait for one.

    Every pass reads each weight once for all streams: one token of each that generates, and pieces
    of the prompts that are being read. Each stream's integers, tokens and events are those of the
    same order run alone.
    """

    def __init__(
        self, network: LanguageModel, vocabulary: Vocabulary, *, streams: int = 32,
        queue: int = 64, threads: int = 1,
    ) -> None:  # fmt: skip
        if queue < 0:
            raise InputError(f"a queue of {queue}; allowed 0 (nobody waits) or more.")
        self._session = BatchSession(network, streams, threads=threads)
        self._scale = network.logit_scale
        self._vocabulary = vocabulary
        self.digest = network_digest(network)
        self._queue = queue
        self._free = deque(range(streams))
        self._waiting: deque[_Job] = deque()
        self._active: list[_Job] = []
        self._load = Load(streams=streams)
        self._pass_seconds = 0.0
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self.failure = ""
        self._reserve: bytearray | None = bytearray(_RESERVE)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def load(self) -> Load:
        """A snapshot."""
        with self._changed:
            return replace(self._load, active=len(self._active), waiting=len(self._waiting))

    @property
    def most_streams(self) -> int:
        """Streams that one request can ever have."""
        return self._load.streams + self._queue

    def submit(self, orders: Sequence[Order], deliver: Deliver) -> Ticket:
        """Queue orders, all or none. Raises Busy, Closed, or InputError where they can never fit.

        ``deliver(i, event)`` is told the pieces of ``orders[i]``, and at last an End or a Failure.
        """
        if len(orders) > self.most_streams:
            raise InputError(
                f"{len(orders)} texts in one request; {self.most_streams} fit at most "
                f"({self._load.streams} streams and a queue of {self._queue})."
            )
        jobs = [_Job(order, index, deliver) for index, order in enumerate(orders)]
        with self._changed:
            if self.failure:
                raise Closed(self.failure)
            if self._deadline is not None:
                raise Closed("the server is shutting down.")
            room = len(self._free) + self._queue - len(self._waiting)
            if len(jobs) > room:
                self._load = replace(self._load, refused=self._load.refused + 1)
                raise Busy(
                    f"all {self._load.streams} streams and the queue of {self._queue} are taken.",
                    self._wait_seconds(),
                )
            self._waiting += jobs
            self._changed.notify()
        return Ticket(self, jobs)

    def _wait_seconds(self) -> int:
        """When the next stream ends, if none of them meets a stop."""
        ends = [job.stream.remaining for job in self._active if job.stream is not None]
        seconds = min(ends, default=0) * self._pass_seconds
        return max(1, min(_LONGEST_WAIT, math.ceil(seconds)))

    def _abandon(self, jobs: Sequence[_Job]) -> None:
        with self._changed:
            for job in jobs:
                job.abandoned = True
            self._changed.notify()

    def drain(self, seconds: float) -> None:
        """Take nothing more: waiting orders fail, streams may finish for so long, then fail."""
        with self._changed:
            self._deadline = time.monotonic() + seconds
            self._changed.notify()

    def close(self) -> None:
        """End everything now and wait for the thread."""
        self.drain(0.0)
        self._thread.join()
        self._session.close()

    def _run(self) -> None:
        try:
            while self._prepare():
                self._pass()
        # whatever it is, clients must hear of it and the server must say that it is unwell
        except BaseException as error:
            self._reserve = None
            with self._changed:
                self.failure = f"the engine has failed: {type(error).__name__}: {error}"
                jobs = [*self._active, *self._waiting]
                self._active, self._waiting = [], deque()
            for job in jobs:
                job.deliver(job.index, Failure(self.failure, 500))
            if not (lacks_memory(error) or isinstance(error, RunFailed)):
                raise
            logging.getLogger("uvicorn.error").error(self.failure)

    def _prepare(self) -> bool:
        """Let go whoever left, let in whoever fits, wait while there is nothing to do.

        False once the engine is closing and empty.
        """
        while True:
            with self._changed:
                ended = self._leaving()
                joined = []
                while self._waiting and self._free:
                    job = self._waiting.popleft()
                    job.place = self._free.popleft()
                    self._active.append(job)
                    joined.append(job)
                if not (ended or joined or self._active):
                    if self._deadline is not None:
                        return False
                    self._changed.wait()
                    continue
            for job, failure in ended:
                job.deliver(job.index, failure)
            for job in joined:
                self._guarded(job, self._join)
            if self._active:
                return True

    def _leaving(self) -> list[tuple[_Job, Failure]]:
        """Take out the abandoned, and on shutting down those that wait or are late."""
        now = time.monotonic()
        late = self._deadline is not None and now >= self._deadline
        ended = []
        for job in [*self._active, *self._waiting]:
            if job.abandoned:
                ended.append((job, Failure("the client went away.", GONE)))
            elif late or (self._deadline is not None and job.place < 0):
                ended.append((job, Failure("the server is shutting down.", 503)))
        abandoned = sum(job.abandoned for job, _ in ended)
        self._load = replace(self._load, abandoned=self._load.abandoned + abandoned)
        for job, _ in ended:
            self._release(job)
        return ended

    def _release(self, job: _Job) -> None:
        if job.place < 0:
            self._waiting.remove(job)
        else:
            self._active.remove(job)
            self._free.append(job.place)

    def _guarded(self, job: _Job, step: Callable[[_Job], None]) -> None:
        """What goes wrong with one stream ends that one."""
        try:
            step(job)
        except SpikeGPTNeuroError as error:
            self._fail(job, Failure(str(error), 400))
        except OSError as error:  # the system has no descriptor left for what is read only now
            self._fail(job, Failure(f"the system refuses: {error.strerror or error}.", 503))

    def _fail(self, job: _Job, failure: Failure) -> None:
        with self._changed:
            self._release(job)
        job.deliver(job.index, failure)

    def _join(self, job: _Job) -> None:
        if job.order.saved is None:
            self._session.reset(job.place)
        else:
            self._session.set_state(job.place, job.order.saved.state)
        job.begun = job.read = self._session.stream_counts(job.place)
        job.stream = Stream(job.order, self._vocabulary, self._scale, self.digest)
        piece = job.stream.begin()
        if piece is not None:
            job.deliver(job.index, piece)
            self._end_if_over(job)

    def _pass(self) -> None:
        begin = time.monotonic()
        spare = max(0, BLOCK - len(self._active))
        pieces: dict[int, list[int]] = {}
        for job in self._active:
            assert job.stream is not None
            pieces[job.place] = job.stream.piece(1 + spare)
            spare -= len(pieces[job.place]) - 1
        found = self._session.advance(pieces)
        check_unchanged()  # before anything computed is told
        reading = sum(
            len(pieces[job.place])
            for job in self._active
            if job.stream is not None and job.stream.is_reading
        )
        total = sum(map(len, pieces.values()))
        with self._changed:
            self._load = replace(
                self._load,
                passes=self._load.passes + 1,
                prompt_tokens=self._load.prompt_tokens + reading,
                completion_tokens=self._load.completion_tokens + total - reading,
            )
        for job in list(self._active):
            self._guarded(job, partial(self._took, pieces[job.place], found[job.place]))
        self._pass_seconds = time.monotonic() - begin

    def _took(self, tokens: Sequence[int], logits: Int32Array, job: _Job) -> None:
        assert job.stream is not None
        was_reading = job.stream.is_reading
        piece = job.stream.take(tokens, logits)
        if was_reading and not job.stream.is_reading:
            job.read = self._session.stream_counts(job.place)
        if piece is not None:
            job.deliver(job.index, piece)
        self._end_if_over(job)

    def _end_if_over(self, job: _Job) -> None:
        assert job.stream is not None and job.begun is not None and job.read is not None
        if not job.stream.is_over:
            return
        counters = self._session.stream_counts(job.place)
        end = End(
            job.stream.reason, job.read - job.begun, counters - job.read,
            job.stream.left(self._session.state(job.place)),
        )  # fmt: skip
        with self._changed:
            self._release(job)
            self._load = replace(self._load, finished=self._load.finished + 1)
        job.deliver(job.index, end)
