"""Score all shards of a corpus: here, on a local cluster, or on a Dask scheduler's workers."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from spikegpt_neuro.corpus.documents import Document, Shard, make_shards
from spikegpt_neuro.corpus.shard import Settings, score_shard, shard_key
from spikegpt_neuro.errors import InputError, RunFailed, Unavailable
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.network.atomic import replaced_file
from spikegpt_neuro.readers.guard import reason
from spikegpt_neuro.readers.json_file import read_json
from spikegpt_neuro.scratch import scratch_folder

ALLOWED_DEATHS = 1
"""Workers that may die on one shard before it is tried alone, and then before it is given up."""

LOST_AFTER = "60s"
"""Time a local worker has to come back; starting one takes long on a busy machine."""
REVIVE_SECONDS = 5
ALONE_SECONDS = 120
"""Time a local cluster may be without any worker."""
DESCRIPTORS, DESCRIPTORS_A_WORKER = 48, 16
"""Open files a local cluster is given: Dask 2026.8 was measured to open 37 with two workers, 10
more for each further one, and 19 in a worker."""

Progress = Callable[[int, int], None]
Result = dict[str, Any]


@dataclass(frozen=True)
class CorpusScore:
    """Figures of a corpus; the same whatever computed it."""

    documents: tuple[Result, ...]
    counters: Counters

    @property
    def tokens(self) -> int:
        """Predictions made."""
        return sum(document["tokens"] for document in self.documents)

    @property
    def characters(self) -> int:
        """Characters predicted."""
        return sum(document["characters"] for document in self.documents)

    @property
    def bits(self) -> float:
        """Total bits of all predictions, correctly rounded whatever the order."""
        return math.fsum(document["bits"] for document in self.documents)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; byte-identical for any number of workers."""
        return {
            "bits_per_character": self.bits / self.characters,
            "bits_per_token": self.bits / self.tokens,
            "perplexity": 2.0 ** (self.bits / self.tokens),
            "tokens": self.tokens,
            "characters": self.characters,
            "documents": [
                {
                    "name": document["name"],
                    "bits_per_character": document["bits"] / document["characters"],
                    "tokens": document["tokens"],
                    "characters": document["characters"],
                }
                for document in self.documents
            ],
            "counters": self.counters.to_dict(),
        }


_DOCUMENT = {"name", "bits", "tokens", "characters", "counters"}


class ResultFolder:
    """Results of finished shards, one file each, named by what they are results of."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def load(self, key: str) -> Result | None:
        """A finished shard's result; a damaged file counts as unfinished."""
        path = None if self._folder is None else self._folder / f"{key}.json"
        if path is None or not path.is_file():
            return None
        try:
            result: Result = read_json(path, "a shard's result")
            whole = set(result) == {"documents", "problems"} and result["problems"] == []
            documents = [_DOCUMENT & set(document) for document in result["documents"]]
            for document in result["documents"]:
                Counters.from_dict(document["counters"])
        except (InputError, TypeError, KeyError, AttributeError):
            return None
        return result if whole and all(keys == _DOCUMENT for keys in documents) else None

    def save(self, key: str, result: Result) -> None:
        """Keep a result, atomically."""
        if self._folder is not None and not result["problems"]:
            with replaced_file(self._folder / f"{key}.json") as stream:
                stream.write(json.dumps(result, sort_keys=True).encode("utf-8"))


def score_corpus(
    documents: Sequence[Document],
    settings: Settings,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    results: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> CorpusScore:
    """Score every document from a fresh state.

    ``workers`` 1 without a ``scheduler`` computes in this process, without Dask; more start a local
    cluster of single-threaded workers; ``scheduler`` is the address of a running one. ``results``:
    folder in which finished shards stay, so that a restart does not repeat them.

    Raises InputError listing all documents that cannot be scored, RunFailed naming documents on
    which workers died repeatedly, Unavailable where Dask is needed and not installed.
    """
    if workers < 1:
        raise InputError(f"--workers {workers}: use at least 1.")
    shards = make_shards(documents)
    total = sum(document.size for document in documents)
    folder = ResultFolder(results)
    keys = {shard.index: shard_key(shard, settings) for shard in shards}
    finished: dict[int, Result] = {}
    for shard in shards:
        kept = folder.load(keys[shard.index])
        if kept is not None:
            finished[shard.index] = kept
    done = sum(d.size for shard in shards if shard.index in finished for d in shard.documents)
    progress(done, total)
    remaining = [shard for shard in shards if shard.index not in finished]
    with _computation(remaining, settings, workers, scheduler) as computed:
        for shard, result in computed:
            finished[shard.index] = result
            folder.save(keys[shard.index], result)
            done += sum(document.size for document in shard.documents)
            progress(done, total)
    return _merge([finished[shard.index] for shard in shards])


def _merge(results: Sequence[Result]) -> CorpusScore:
    problems = [problem for result in results for problem in result["problems"]]
    if problems:
        raise InputError(f"these documents cannot be scored ({len(problems)}):", problems)
    documents = tuple(document for result in results for document in result["documents"])
    counters = Counters()
    for document in documents:
        counters += Counters.from_dict(document["counters"])
    return CorpusScore(documents, counters)


Computed = Iterator[tuple[Shard, Result]]


@contextmanager
def _computation(
    shards: Sequence[Shard], settings: Settings, workers: int, scheduler: str | None
) -> Iterator[Computed]:
    """Results as they come, in any order."""
    if not shards or (workers == 1 and scheduler is None):
        yield ((shard, score_shard(shard, settings)) for shard in shards)
        return
    if importlib.util.find_spec("distributed") is None:
        raise Unavailable(
            "several workers need Dask distributed, which is not installed.",
            ["import distributed"],
            "pip install 'spikegpt-neuro[cluster]'",
        )
    import dask
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": ALLOWED_DEATHS,
        "distributed.deploy.lost-worker-timeout": LOST_AFTER,
        "distributed.logging.distributed": "critical",
    }
    with dask.config.set(options):
        if scheduler is not None:
            try:
                client = Client(scheduler, timeout="10s")
            except (OSError, ValueError) as error:
                raise InputError(f"--scheduler {scheduler}: {error}.") from error
            with client:
                yield _on_workers(client, shards, settings, lambda: None)
            return
        with ExitStack() as started:
            _have_descriptors(workers)
            kept = dask.config.get("temporary-directory")
            scratch = started.enter_context(scratch_folder(None if kept is None else Path(kept)))
            started.enter_context(dask.config.set({"temporary-directory": str(scratch)}))
            try:
                with _signals_at_the_end():
                    cluster = started.enter_context(
                        LocalCluster(
                            n_workers=workers, threads_per_worker=1, processes=True,
                            dashboard_address=":0", silence_logs=logging.CRITICAL,
                            loop=started.enter_context(_loop_without_interrupts()),
                        )
                    )  # fmt: skip
                    client = started.enter_context(Client(cluster))
            except (RuntimeError, OSError) as error:
                raise RunFailed(f"the workers did not start: {reason(error)}.") from error
            yield _on_workers(client, shards, settings, _Replacement(cluster, workers))


def _have_descriptors(workers: int) -> None:
    """Make sure of the open files that a local cluster needs; without, Dask waits for ever.

    Raises ``Unavailable``.
    """
    wanted = len(os.listdir("/dev/fd")) + DESCRIPTORS + workers * DESCRIPTORS_A_WORKER
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise Unavailable(
            f"{workers} workers need {wanted} open files; this process may have {hard}.",
            advice="Allow more (ulimit -n), or use fewer --workers.",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _loop_without_interrupts() -> Iterator[Any]:
    """A running loop for Dask, in a thread that blocks Ctrl-C.

    Every process that is started from there inherits that: a worker is ended by its cluster, not
    in the middle of its start or its end by the Ctrl-C that the whole terminal gets.
    """
    from multiprocessing import resource_tracker

    from distributed.utils import LoopRunner

    resource_tracker.ensure_running()  # it would allow Ctrl-C in the thread that starts it
    runner = LoopRunner()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        runner.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield runner.loop
    finally:
        runner.stop()


class _Replacement:
    """Asks a local cluster for the workers that died, and gives up where none comes."""

    def __init__(self, cluster: Any, workers: int) -> None:
        self._cluster, self._workers = cluster, workers
        self._seen = time.monotonic()

    def __call__(self) -> None:
        """Raise ``RunFailed`` if no worker was there for ``ALONE_SECONDS``."""
        now = time.monotonic()
        if self._cluster.scheduler.workers:
            self._seen = now
        elif now - self._seen > ALONE_SECONDS:
            raise RunFailed(
                f"no worker has come up for {ALONE_SECONDS} s: memory or open files may be short. "
                "What was scored is kept with --results; use fewer --workers."
            )
        # one that dies while it starts is not started again, unless the size is asked for
        self._cluster.scale(self._workers)


@contextmanager
def _signals_at_the_end() -> Iterator[None]:
    """Within, the first Ctrl-C or SIGTERM waits: a cluster that is half started cannot be closed.

    A second one acts at once. Where signals are ignored, or another thread's, nothing changes.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            before[number](number, frame)

    with suppress(ValueError):  # not in the main thread
        for handled in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(handled)):
                before[handled] = signal.signal(handled, note)
    try:
        yield
    finally:
        for changed, handler in before.items():
            signal.signal(changed, handler)
        for first in came[:1]:
            before[first](first, None)


def _finished(futures: Iterable[Any], revive: Callable[[], None]) -> Iterator[Any]:
    """Futures as they finish; ``revive`` is called while waiting, to replace dead workers."""
    from distributed import wait

    pending = set(futures)
    while pending:
        try:
            done = wait(pending, timeout=REVIVE_SECONDS, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            done = set()
        revive()
        pending -= done
        yield from done


def _on_workers(
    client: Any, shards: Sequence[Shard], settings: Settings, revive: Callable[[], None]
) -> Computed:
    """Submit every shard; a dead worker's shard goes to another, the others' work is not lost."""
    from distributed.scheduler import KilledWorker

    futures = {
        client.submit(score_shard, shard, settings, key=f"shard-{shard.index}"): shard
        for shard in shards
    }
    suspects = []
    for future in _finished(futures, revive):
        shard = futures[future]
        try:
            yield shard, future.result()
        except KilledWorker:
            suspects.append(shard)
    # Dask blames a death on every shard the worker held, also on those that only waited there:
    # what is to blame shows when a shard is the only one submitted
    lost = []
    for shard in suspects:
        alone = client.submit(score_shard, shard, settings, key=f"shard-{shard.index}-alone")
        for future in _finished([alone], revive):
            try:
                yield shard, future.result()
            except KilledWorker:
                lost += [document.name for document in shard.documents]
    if lost:
        names = "\n".join(f"  - {name}" for name in lost)
        raise RunFailed(
            "workers died on these documents again and again, also when nothing else ran; "
            f"the rest is done:\n{names}"
        )
