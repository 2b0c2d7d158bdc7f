"""A corpus scores the same however it is computed, and a death costs one task."""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import psutil
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.corpus import run as corpus_run
from spikegpt_neuro.corpus.documents import SHARD_BYTES, find_documents, make_shards, sha256_of
from spikegpt_neuro.corpus.run import score_corpus
from spikegpt_neuro.corpus.shard import Settings, score_shard, shard_key
from spikegpt_neuro.errors import InputError, RunFailed, Unavailable
from spikegpt_neuro.network.file import read_network, write_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.scoring import score_tokens

LETTERS = "abcdefghij"
SMALL_SHARD, LARGE_SHARD = 600, 3000
VOCABULARY = json.dumps({str(i): letter for i, letter in enumerate(LETTERS)})


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of about one document, so that a small corpus has many."""
    monkeypatch.setattr("spikegpt_neuro.corpus.documents.SHARD_BYTES", SMALL_SHARD)


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, Settings]:
    """A folder of twelve documents and a network that reads them."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "documents"
    (folder / "inner").mkdir(parents=True)
    for i in range(12):
        text = "".join(rng.choice(list(LETTERS), 200 + 40 * i))
        (folder / ("inner" if i % 3 else ".") / f"{i:02}.txt").write_text(text)
    path = tmp_path / "model.net"
    write_network(random_network(RandomShape(n_layer=2, n_embd=24, vocabulary_size=10)), path)
    return folder, Settings(str(path), sha256_of(path), VOCABULARY, context=64)


def test_documents_are_found_sorted_and_checked(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "c.bin").write_text("not text")
    assert [Path(d.name).name for d in find_documents([tmp_path])] == ["a.txt", "b.txt"]
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(InputError) as caught:
        find_documents([tmp_path, tmp_path / "a.txt", tmp_path / "none", tmp_path / "hollow"])
    assert [problem.split(": ", 1)[1] for problem in caught.value.problems] == [
        "is empty", "is named twice", "does not exist", "no .txt, .text, .md files in this folder",
    ]  # fmt: skip


def test_shards_depend_on_sizes_only(tmp_path: Path) -> None:
    for i, size in enumerate([SHARD_BYTES // 2, SHARD_BYTES // 2, 10, SHARD_BYTES * 2, 5]):
        (tmp_path / f"{i}.txt").write_text("x" * size)
    shards = make_shards(find_documents([tmp_path]))
    assert [[Path(d.name).stem for d in s.documents] for s in shards] == [
        ["0", "1"], ["2"], ["3"], ["4"],
    ]  # fmt: skip


def test_figures_are_those_of_each_document_alone(corpus: tuple[Path, Settings]) -> None:
    folder, settings = corpus
    network = read_network(Path(settings.network))
    found = score_corpus(find_documents([folder]), settings)
    assert len(found.documents) == 12
    for document in found.documents:
        text = Path(document["name"]).read_text()
        tokens = np.array([LETTERS.index(letter) for letter in text])
        with Emulator().open(network) as session:
            alone = score_tokens(
                session, tokens, logit_scale=network.logit_scale, vocabulary_size=10, context=64
            )
        assert document["bits"] == math.fsum(alone.window_bits)
        assert document["tokens"] == alone.tokens == len(text) - 1
    assert found.counters.tokens == found.tokens


@pytest.mark.usefixtures("small_shards")
def test_any_number_of_workers_gives_the_same_bytes(corpus: tuple[Path, Settings]) -> None:
    folder, settings = corpus
    documents = find_documents([folder])
    assert len(make_shards(documents)) >= 6
    seen: list[tuple[int, int]] = []
    texts = {
        json.dumps(
            score_corpus(
                documents, settings, workers=workers,
                progress=lambda done, total: seen.append((done, total)),
            ).to_dict()
        )
        for workers in (1, 2, 4)
    }  # fmt: skip
    assert len(texts) == 1
    total = sum(document.size for document in documents)
    assert seen[-1] == (total, total)


@pytest.mark.usefixtures("small_shards")
def test_finished_shards_are_not_repeated(
    corpus: tuple[Path, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = corpus
    documents = find_documents([folder])
    results = tmp_path / "results"
    whole = score_corpus(documents, settings, results=results).to_dict()
    files = sorted(results.iterdir())
    assert len(files) == len(make_shards(documents))
    files[2].write_text("{ damaged")
    files[4].unlink()
    repeated = []

    def counted(shard: object, used: Settings) -> object:
        repeated.append(shard)
        return score_shard(shard, used)  # type: ignore[arg-type]

    monkeypatch.setattr(corpus_run, "score_shard", counted)
    assert score_corpus(documents, settings, results=results).to_dict() == whole
    assert len(repeated) == 2
    # another text, another key
    changed = documents[0].path
    changed.write_text(changed.read_text()[::-1])
    shard = make_shards(find_documents([folder]))[0]
    assert shard_key(shard, settings) not in {path.stem for path in files}


@pytest.mark.usefixtures("small_shards")
def test_all_bad_documents_are_named_at_once(corpus: tuple[Path, Settings]) -> None:
    folder, settings = corpus
    (folder / "bad1.txt").write_text("abcxyz")
    (folder / "bad2.txt").write_bytes(b"abc\xff\xfe")
    with pytest.raises(InputError) as caught:
        score_corpus(find_documents([folder]), settings)
    assert len(caught.value.problems) == 2
    assert "bad1.txt: The vocabulary has no token for 'x'" in caught.value.problems[0]
    assert "is not UTF-8" in caught.value.problems[1]


def test_another_network_on_a_worker_is_refused(corpus: tuple[Path, Settings]) -> None:
    folder, settings = corpus
    write_network(
        random_network(RandomShape(n_layer=1, n_embd=24, vocabulary_size=10)),
        Path(settings.network),
    )
    with pytest.raises(InputError, match="is another file"):
        score_corpus(find_documents([folder]), settings)


SLOW_RUN = """
import os, sys, time
from pathlib import Path
from typing import ClassVar
import spikegpt_neuro.corpus.documents as documents_module
from spikegpt_neuro.corpus import run, shard as shard_module
from spikegpt_neuro.corpus.documents import find_documents
import slow_shard

documents_module.SHARD_BYTES = int(sys.argv[6])
run.score_shard = slow_shard.score_shard
if __name__ == "__main__":
    settings = shard_module.Settings(sys.argv[2], sys.argv[3], sys.argv[4], 64)
    scheduler = None
    if slow_shard.mode() == "poison on one worker":
        from distributed import LocalCluster
        cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
        scheduler = cluster.scheduler_address
    try:
        found = run.score_corpus(
            find_documents([sys.argv[1]]), settings, workers=2, scheduler=scheduler,
            results=Path(sys.argv[5]),
            progress=lambda done, total: print("progress", done, total, flush=True),
        )
        import json
        print("result", json.dumps(found.to_dict()), flush=True)
    except Exception as error:
        print("failed", type(error).__name__, str(error).replace(chr(10), " | "), flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
SLOW_SHARD = """
import os, time
from pathlib import Path
from typing import ClassVar
from spikegpt_neuro.corpus import shard as shard_module

HERE = Path(__file__).parent

def mode():
    return (HERE / "mode").read_text()

def score_shard(shard, settings):
    (HERE / f"pid-{os.getpid()}").touch()
    if mode() == "poison" and shard.index == 3:
        os.kill(os.getpid(), 9)
    if mode() == "poison on one worker" and shard.index == 0:
        os.kill(os.getpid(), 9)
    if mode() == "once" and shard.index == 3 and not (HERE / "killed").exists():
        (HERE / "killed").touch()
        os.kill(os.getpid(), 9)
    while mode() == "wait" and shard.index >= 4:
        time.sleep(0.05)
    with open(HERE / "log", "a") as log:
        log.write(f"{shard.index}\\n")
    return shard_module.score_shard(shard, settings)
"""


def start(
    corpus: tuple[Path, Settings], tmp_path: Path, mode: str, shard_bytes: int = SMALL_SHARD
) -> subprocess.Popen[str]:
    """A run on two workers whose tasks behave as ``mode`` says."""
    folder, settings = corpus
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    (work / "run.py").write_text(SLOW_RUN)
    (work / "slow_shard.py").write_text(SLOW_SHARD)
    (work / "mode").write_text(mode)
    (work / "log").write_text("")
    return subprocess.Popen(
        [sys.executable, "run.py", str(folder), settings.network, settings.network_sha256,
         VOCABULARY, str(tmp_path / "results"), str(shard_bytes)],
        cwd=work, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(work)},
        # a shell's background jobs inherit an ignored SIGINT; a person's program does not
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    """What a run printed; a run that hangs is killed with all its workers."""
    try:
        return process.communicate(timeout=600)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def log_of(tmp_path: Path) -> list[int]:
    """Shards that were computed, in order of completion."""
    return [int(line) for line in (tmp_path / "work" / "log").read_text().split()]


@pytest.mark.usefixtures("small_shards")
def test_a_killed_worker_costs_only_its_own_task(
    corpus: tuple[Path, Settings], tmp_path: Path
) -> None:
    with start(corpus, tmp_path, "once") as process:
        output = finish(process)
    expected = score_corpus(find_documents([corpus[0]]), corpus[1])
    result = output.split("result ", 1)[1]
    assert json.loads(result) == json.loads(json.dumps(expected.to_dict()))
    log = log_of(tmp_path)
    assert sorted(set(log)) == list(range(len(make_shards(find_documents([corpus[0]])))))
    assert log.count(3) == 1


@pytest.mark.usefixtures("small_shards")
def test_a_document_that_kills_workers_is_named_and_the_rest_is_kept(
    corpus: tuple[Path, Settings], tmp_path: Path
) -> None:
    with start(corpus, tmp_path, "poison") as process:
        output = finish(process)
    shards = make_shards(find_documents([corpus[0]]))
    assert "failed RunFailed workers died on these documents again and again" in output
    assert shards[3].documents[0].name in output
    assert len(list((tmp_path / "results").iterdir())) == len(shards) - 1
    # after a restart only the lost shard is computed
    with start(corpus, tmp_path, "calm") as process:
        output = finish(process)
    assert "result " in output
    assert log_of(tmp_path) == [3]


def test_shards_that_only_waited_on_a_dying_worker_are_kept(
    corpus: tuple[Path, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # one worker and two shards: Dask gives it both, and blames each death on both
    monkeypatch.setattr("spikegpt_neuro.corpus.documents.SHARD_BYTES", LARGE_SHARD)
    shards = make_shards(find_documents([corpus[0]]))
    assert len(shards) == 2
    with start(corpus, tmp_path, "poison on one worker", LARGE_SHARD) as process:
        output = finish(process)
    assert "failed RunFailed workers died on these documents again and again" in output
    assert all(document.name in output for document in shards[0].documents)
    assert not any(document.name in output for document in shards[1].documents)
    assert set(log_of(tmp_path)) == {1}
    assert len(list((tmp_path / "results").iterdir())) == 1


@pytest.mark.usefixtures("small_shards")
def test_ctrl_c_keeps_finished_shards_and_leaves_no_process(
    corpus: tuple[Path, Settings], tmp_path: Path
) -> None:
    total = len(make_shards(find_documents([corpus[0]])))
    with start(corpus, tmp_path, "wait") as process:
        assert process.stdout is not None
        for _ in range(4 + 1):  # the start, and shards 0 to 3
            assert process.stdout.readline().startswith("progress")
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        status = [Path(f"/proc/{worker.pid}/status").read_text() for worker in workers]
        os.killpg(process.pid, signal.SIGINT)
        assert "interrupted" in process.stdout.read()
        process.wait(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    # to each it would be a traceback beside the sentence
    blocked = [int(told.partition("SigBlk:")[2].split()[0], 16) for told in status]
    assert len(blocked) == 2 and all(mask >> (signal.SIGINT - 1) & 1 for mask in blocked)
    assert 4 <= len(list((tmp_path / "results").iterdir())) < total


def test_without_dask_one_worker_works_and_two_say_what_to_install(
    corpus: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = corpus
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    documents = find_documents([folder])
    assert score_corpus(documents, settings).tokens > 0
    with pytest.raises(Unavailable, match=r"spikegpt-neuro\[cluster\]"):
        score_corpus(documents, settings, workers=2)


def test_workers_that_do_not_start_are_told_with_the_reason_and_leave_nothing(
    corpus: tuple[Path, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = corpus
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    # what a system has for all, not a limit of this process, can end at any moment
    monkeypatch.setattr(corpus_run, "_have_descriptors", lambda workers: None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, hard))  # too few for Dask's sockets
    try:
        with pytest.raises(RunFailed, match=r"the workers did not start: .+\.$"):
            score_corpus(
                find_documents([folder]), settings, workers=2, results=tmp_path / "results"
            )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [c for c in psutil.Process().children() if "distributed" in " ".join(c.cmdline())] == []
    assert not list(tmp_path.glob("spikegpt-neuro-*"))
    score = score_corpus(find_documents([folder]), settings, results=tmp_path / "results")
    assert score.tokens > 0


def test_too_few_open_files_are_told_before_dask_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = len(os.listdir("/dev/fd"))
    wanted = used + corpus_run.DESCRIPTORS + 2 * corpus_run.DESCRIPTORS_A_WORKER
    limits = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limit: limits.append(limit))
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (used, wanted - 1))
    with pytest.raises(Unavailable, match=f"2 workers need {wanted} open files"):
        corpus_run._have_descriptors(2)
    assert limits == []
    for hard in (wanted, resource.RLIM_INFINITY):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, hard=hard: (used, hard))
        corpus_run._have_descriptors(2)
    assert limits == [(wanted, wanted), (wanted, resource.RLIM_INFINITY)]


def test_a_cluster_that_has_no_worker_for_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cluster:
        asked = 0

        class scheduler:
            workers: ClassVar[dict[str, object]] = {"tcp://127.0.0.1:1": None}

        def scale(self, workers: int) -> None:
            self.asked += workers

    cluster, now = Cluster(), [0.0]
    monkeypatch.setattr(corpus_run.time, "monotonic", lambda: now[0])
    replace = corpus_run._Replacement(cluster, 2)
    now[0] = 10.0 * corpus_run.ALONE_SECONDS
    replace()  # one is there
    cluster.scheduler.workers.clear()
    now[0] += corpus_run.ALONE_SECONDS
    replace()
    now[0] += 1
    with pytest.raises(RunFailed, match="no worker has come up for 120 s"):
        replace()
    assert cluster.asked == 4


def test_ctrl_c_while_the_workers_start_waits_until_they_can_be_closed(
    corpus: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []

    class Starting(contextlib.AbstractContextManager["Starting"]):
        """Takes the place of Dask's, whose moments cannot be chosen; the faults attack the real."""

        def __init__(self, *_: object, **options: object) -> None:
            if options:  # the cluster, not its client
                os.kill(os.getpid(), signal.SIGINT)
            events.append("started")

        def __exit__(self, *_: object) -> None:
            events.append("closed")

    monkeypatch.setattr("distributed.LocalCluster", Starting)
    monkeypatch.setattr("distributed.Client", Starting)
    folder, settings = corpus
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            score_corpus(find_documents([folder]), settings, workers=2)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert events == ["started", "started", "closed", "closed"]


def test_mistakes_in_options(corpus: tuple[Path, Settings]) -> None:
    folder, settings = corpus
    with pytest.raises(InputError, match="--workers 0"):
        score_corpus(find_documents([folder]), settings, workers=0)
    with pytest.raises(InputError, match="--scheduler"):
        score_corpus(find_documents([folder]), settings, scheduler="tcp://127.0.0.1:9")


def test_lost_documents_end_in_run_failed() -> None:
    assert RunFailed("x").exit_code == 1
