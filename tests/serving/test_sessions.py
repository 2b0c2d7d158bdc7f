"""Sessions: bounded, expiring, on disk, never half and never mistaken for new ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.generation import SavedState, load_state, network_digest
from spikegpt_neuro.serving.sessions import SessionError, Sessions
from tests.serving.conftest import alone, sampler, small_network


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _saved(seen: int) -> SavedState:
    network = small_network()
    state = alone("ab", 1).state
    logits = np.arange(network.info.vocabulary_size, dtype=np.int32)
    return SavedState(network_digest(network), state, logits, sampler(network).state, seen)


def _keep(sessions: Sessions, name: str, seen: int = 1) -> None:
    sessions.begin(name)
    sessions.finish(name, _saved(seen))


def _status(call: object, *arguments: object) -> int:
    with pytest.raises(SessionError) as refused:
        call(*arguments)  # type: ignore[operator]
    return refused.value.status


def test_the_one_unused_for_longest_goes_first_and_is_remembered() -> None:
    sessions = Sessions(small_network(), 2, idle_seconds=100)
    for name in ("a", "b"):
        _keep(sessions, name)
    _keep(sessions, "a", 2)
    _keep(sessions, "c")
    assert _status(sessions.begin, "b") == 410
    assert _status(sessions.tokens_seen, "b") == 410
    assert sessions.tokens_seen("a") == 2 and len(sessions) == 2 and sessions.evictions == 1
    sessions.forget("b")
    assert sessions.begin("b") is None
    assert _status(sessions.forget, "never") == 404
    assert _status(sessions.tokens_seen, "never") == 404


def test_the_idle_go_too_but_not_while_in_use() -> None:
    clock = _Clock()
    sessions = Sessions(small_network(), 5, idle_seconds=10, clock=clock)
    _keep(sessions, "a")
    _keep(sessions, "b")
    sessions.begin("b")
    clock.now = 10.5
    assert _status(sessions.begin, "a") == 410
    sessions.finish("b", _saved(7))
    assert sessions.tokens_seen("b") == 7


def test_a_session_is_used_by_one_request_and_stands_where_it_stood_if_that_fails() -> None:
    sessions = Sessions(small_network(), 5, idle_seconds=10)
    _keep(sessions, "a", 3)
    first = sessions.begin("a")
    assert first is not None and first.tokens_seen == 3
    assert _status(sessions.begin, "a") == 409
    assert _status(sessions.forget, "a") == 409
    sessions.abandon("a")
    assert sessions.tokens_seen("a") == 3


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-a", "a" * 65, "ü", "a\n"])
def test_names_are_no_paths(name: str) -> None:
    sessions = Sessions(small_network(), 5, idle_seconds=10)
    assert _status(sessions.begin, name) == 400


def test_files_are_state_files_and_a_later_server_goes_on(tmp_path: Path) -> None:
    sessions = Sessions(small_network(), 2, idle_seconds=100, folder=tmp_path)
    for name, seen in (("a", 1), ("b", 2), ("c", 3)):
        _keep(sessions, name, seen)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.npz", "c.npz"]
    assert load_state(tmp_path / "c.npz", small_network()).tokens_seen == 3
    later = Sessions(small_network(), 2, idle_seconds=100, folder=tmp_path)
    assert later.tokens_seen("b") is None
    found = later.begin("b")
    assert found is not None and found.tokens_seen == 2
    assert np.array_equal(found.state, _saved(2).state)
    later.finish("b", _saved(9))
    assert load_state(tmp_path / "b.npz", small_network()).tokens_seen == 9
    later.forget("b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.npz"]
    (tmp_path / "c.npz").write_bytes(b"not a state")
    assert _status(later.begin, "c") == 409
    assert (tmp_path / "c.npz").read_bytes() == b"not a state"
    with pytest.raises(InputError, match="holds 1 sessions, and 0"):
        Sessions(small_network(), 0, idle_seconds=100, folder=tmp_path)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="-1 sessions"):
        Sessions(small_network(), -1, idle_seconds=1)
    with pytest.raises(InputError, match="more than 0"):
        Sessions(small_network(), 1, idle_seconds=float("nan"))
    with pytest.raises(InputError, match="not a folder"):
        Sessions(small_network(), 1, idle_seconds=1, folder=tmp_path / "none")
    assert _status(Sessions(small_network(), 0, idle_seconds=1).begin, "a") == 400
