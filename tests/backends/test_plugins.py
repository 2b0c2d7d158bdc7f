"""Other people's backends: one that cannot be loaded, one that does not count."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint

import pytest
from typer.testing import CliRunner

from spikegpt_neuro import backends
from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.base import SessionDefaults, event_counts
from spikegpt_neuro.cli.program import app
from spikegpt_neuro.errors import InputError, Unavailable


@pytest.mark.parametrize("value", ["no_such_module:Backend", "json:Backend"])
def test_one_whose_code_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    real = list(backends.entry_points(group=backends.ENTRY_POINT_GROUP))
    broken = EntryPoint("broken", value, backends.ENTRY_POINT_GROUP)
    monkeypatch.setattr(backends, "entry_points", lambda group: [*real, broken])
    with pytest.raises(Unavailable, match=f"'broken' \\({value}\\) cannot be loaded"):
        get_backend("broken")
    shown = CliRunner().invoke(app, ["doctor", "--json"])
    (found,) = [b for b in json.loads(shown.stdout)["backends"] if b["name"] == "broken"]
    assert not found["ok"] and value in found["missing"][0]


def test_one_that_does_not_count_says_so() -> None:
    class Silent(SessionDefaults):
        counts_events = False

    session = Silent()
    assert event_counts(session) is None  # type: ignore[arg-type]
    with pytest.raises(InputError, match="counts no events"):
        _ = session.counters
