"""Streams of the engine are, whoever joins and leaves beside them, what they are alone."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.serving.engine import Busy, Closed, Engine
from spikegpt_neuro.serving.streams import End, Failure, Order
from tests.serving.conftest import CHARACTERS, Heard, alone, sampler, small_network

FOREVER = 1_000_000


def _order(prompt: str, count: int, **settings: object) -> Order:
    tokens = CHARACTERS.encode(prompt).tolist()
    return Order(tokens, count, sampler(small_network(), **settings))


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(small_network(), CHARACTERS, streams=8, queue=40)
    yield made
    made.close()


def _wait_for(condition: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)


def test_streams_are_what_they_are_alone(engine: Engine) -> None:
    rng = random.Random(4)
    heard = Heard()
    wanted = {}
    tickets = []
    for i in range(40):
        prompt = "".join(rng.choices(CHARACTERS.characters, k=rng.choice((1, 3, 30, 200))))
        count = rng.choice((0, 1, 7, 40, 90))
        settings = {"temperature": rng.choice((0.0, 0.8, 1.5)), "top_p": 0.9, "seed": i}
        tickets.append(engine.submit([_order(prompt, count, **settings)], heard.deliver(i)))
        wanted[i] = (prompt, count, settings)
        if i % 5 == 4:  # one that leaves before its end, at any moment
            time.sleep(rng.random() * 0.01)
            tickets[-1].abandon()
    texts, ends = heard.all(40)
    finished = 0
    for i, (prompt, count, settings) in wanted.items():
        end = ends[i]
        if isinstance(end, Failure):
            assert i % 5 == 4
            continue
        expected = alone(prompt, count, **settings)
        assert texts.get(i, "") == expected.text
        assert end.reason == "length"
        assert end.prompt.named() == expected.prompt
        assert end.completion.named() == expected.completion
        assert np.array_equal(end.left.state, expected.state)
        assert end.left.tokens_seen == len(prompt) + count
        finished += 1
    assert finished >= 32
    load = engine.load
    assert (load.active, load.waiting) == (0, 0)
    assert load.finished == finished and load.abandoned == 40 - finished
    assert load.passes < load.prompt_tokens + load.completion_tokens


def test_a_generation_goes_on_from_where_another_ended(engine: Engine) -> None:
    heard = Heard()
    whole = alone("Once upon", 30, temperature=1.0, seed=3)
    engine.submit([_order("Once upon", 12, temperature=1.0, seed=3)], heard.deliver("a"))
    texts, ends = heard.all(1)
    first = ends["a"]
    assert isinstance(first, End)
    going_on = sampler(small_network(), temperature=1.0, seed=3)
    going_on.state = first.left.sampler
    engine.submit([Order([], 18, going_on, saved=first.left)], heard.deliver("b"))
    more, ends = heard.all(1)
    second = ends["b"]
    assert isinstance(second, End)
    assert texts["a"] + more["b"] == whole.text
    assert np.array_equal(second.left.state, whole.state)
    assert second.prompt.tokens == 0 and second.left.tokens_seen == 9 + 30


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    engine = Engine(small_network(), CHARACTERS, streams=2, queue=1)
    try:
        heard = Heard()
        endless = [engine.submit([_order("a", FOREVER)], heard.deliver(i)) for i in range(2)]
        waiting = engine.submit([_order("b", 3)], heard.deliver("b"))
        with pytest.raises(Busy, match="2 streams and the queue of 1 are taken") as refused:
            engine.submit([_order("c", 3)], heard.deliver("c"))
        assert 1 <= refused.value.retry_after <= 60
        with pytest.raises(InputError, match="3 fit at most"):
            engine.submit([_order("c", 1)] * 4, heard.deliver())
        with pytest.raises(Busy):  # all or none
            engine.submit([_order("c", 1)] * 3, heard.deliver())
        assert engine.load.refused == 2
        endless[0].abandon()
        texts: dict[object, str] = {}
        while "b" not in texts or len(texts["b"]) < 3:
            name, event = heard.queue.get(timeout=30)
            texts[name] = texts.get(name, "") + getattr(event, "text", "")
        assert texts["b"] == alone("b", 3).text
        endless[1].abandon()
        waiting.abandon()  # it has ended: nothing happens
        _wait_for(lambda: engine.load.active == 0)
        engine.submit([_order("d", 2)], Heard().deliver())
    finally:
        engine.close()


def test_draining_lets_streams_finish_in_time_and_ends_the_others() -> None:
    engine = Engine(small_network(), CHARACTERS, streams=2, queue=2)
    heard = Heard()
    for name, count in (("endless", FOREVER), ("short", 300), ("waits", 5)):
        engine.submit([_order("a", count)], heard.deliver(name))
    _wait_for(lambda: engine.load.active == 2)
    begin = time.monotonic()
    engine.drain(1.5)
    with pytest.raises(Closed, match="shutting down"):
        engine.submit([_order("a", 1)], heard.deliver())
    texts, ends = heard.all(3)
    assert isinstance(ends["short"], End) and texts["short"] == alone("a", 300).text
    for name in ("endless", "waits"):
        failed = ends[name]
        assert isinstance(failed, Failure) and failed.status == 503
    assert "waits" not in texts
    assert time.monotonic() - begin < 20
    engine.close()
    assert not engine._thread.is_alive()


@pytest.mark.parametrize("error", [MemoryError("no room"), ValueError("no room")])
def test_what_breaks_is_told_to_everybody(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    silenced: list[object] = []
    monkeypatch.setattr(threading, "excepthook", silenced.append)
    heard = Heard()
    engine.submit([_order("a", FOREVER)], heard.deliver("a"))

    def broken(pieces: object) -> None:
        raise error

    monkeypatch.setattr(engine._session, "advance", broken)
    _, ends = heard.all(1)
    failed = ends["a"]
    assert isinstance(failed, Failure) and failed.status == 500 and "no room" in failed.message
    with pytest.raises(Closed, match="has failed"):
        engine.submit([_order("a", 1)], heard.deliver())
    engine._thread.join()
    # a fault of the program is shown whole; that memory is short is a sentence
    assert bool(silenced) == isinstance(error, ValueError)
    assert engine._reserve is None


@pytest.mark.parametrize(
    ("error", "said", "status"),
    [
        (InputError("not this one"), "not this one", 400),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files", 503),
    ],
)
def test_one_bad_stream_ends_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, status: int
) -> None:
    heard = Heard()
    engine.submit([_order("a", 40)], heard.deliver("good"))
    bad = _order("a", 40)

    def refuse(logits: object) -> int:
        raise error

    monkeypatch.setattr(bad.sampler, "choose", refuse)
    engine.submit([bad], heard.deliver("bad"))
    texts, ends = heard.all(2)
    assert texts["good"] == alone("a", 40).text
    failed = ends["bad"]
    assert isinstance(failed, Failure) and said in failed.message and failed.status == status


def test_what_cannot_be_opened() -> None:
    with pytest.raises(InputError, match="queue of -1"):
        Engine(small_network(), CHARACTERS, queue=-1)
    with pytest.raises(InputError, match="no tokens"):
        _order("", 3)
