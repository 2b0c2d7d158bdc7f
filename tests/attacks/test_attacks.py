"""A small count of the attacks on each reader; ``python -m attacks`` runs thousands."""

from __future__ import annotations

import pytest

from attacks.formats import FORMATS
from attacks.fuzz import BAD, run

COUNT = 24


@pytest.mark.parametrize("name", FORMATS)
def test_every_input_is_read_or_refused(name: str) -> None:
    found = run(name, COUNT, seed=1, keep=None)
    assert sum(found.values()) == COUNT
    assert {outcome: found[outcome] for outcome in BAD} == dict.fromkeys(BAD, 0)
    assert found["refused"] > 0 or name == "text"
