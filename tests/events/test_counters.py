"""Counters: sums, snapshots, equality that names the first difference, and the dictionary form."""

from __future__ import annotations

import pytest

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import COLUMNS, Counters


def _counters(tokens: int = 2, **columns: int) -> Counters:
    return Counters(tokens, {"a": {"input_events": 3, **columns}, "b": {"output_events": 1}})


def test_a_column_not_listed_is_zero_and_equals_a_listed_zero() -> None:
    assert _counters().count("a", "overflows") == 0
    assert _counters() == _counters(overflows=0)
    assert Counters(1, {"a": {}}) == Counters(1, {})


def test_an_unknown_column_is_a_programming_error() -> None:
    with pytest.raises(KeyError, match="spikes"):
        _counters().count("a", "spikes")


def test_addition_sums_tokens_and_every_count() -> None:
    total = _counters() + Counters(3, {"a": {"input_events": 4}, "c": {"saturations": 5}})
    assert total.tokens == 5
    assert total.count("a", "input_events") == 7
    assert total.count("b", "output_events") == 1
    assert total.count("c", "saturations") == 5
    assert total.total("input_events") == 7


def test_subtraction_gives_what_happened_since_a_snapshot() -> None:
    later = _counters() + _counters(5)
    assert later - _counters() == _counters(5)
    with pytest.raises(InputError, match="a/input_events is -3"):
        _counters(5) - later


def test_difference_names_the_first_layer_and_column() -> None:
    assert _counters().difference(_counters()) is None
    assert _counters().difference(_counters(3)) == "tokens: 2 and 3"
    assert _counters(overflows=1).difference(_counters()) == "a/overflows: 1 and 0"
    assert (
        _counters().difference(_counters() + Counters(0, {"c": {"saturations": 1}}))
        == "c/saturations: 0 and 1"
    )
    assert _counters() != _counters(3)
    assert _counters() != "counters"


def test_dictionary_form_lists_every_column_and_reads_back() -> None:
    values = _counters().to_dict()
    assert list(values["layers"]["b"]) == list(COLUMNS)
    assert Counters.from_dict(values) == _counters()


def test_reading_lists_every_problem() -> None:
    with pytest.raises(InputError) as error:
        Counters.from_dict({"layers": {}, "extra": 1})
    assert error.value.problems == ("unknown key 'extra'", "missing key 'tokens'")
    with pytest.raises(InputError) as error:
        Counters.from_dict({"tokens": -1, "layers": {"a": {"spikes": 1, "overflows": 1.5}}})
    assert error.value.problems == (
        "tokens is -1, must be an integer >= 0",
        "a: unknown column 'spikes'",
        "a/overflows is 1.5, must be an integer >= 0",
    )


def test_counts_of_an_earlier_version_are_not_taken_for_0() -> None:
    values = _counters().to_dict()
    for counts in values["layers"].values():
        del counts["sum_events"]
    with pytest.raises(InputError, match="earlier version") as found:
        Counters.from_dict(values)
    assert found.value.problems == ("sum_events",)
