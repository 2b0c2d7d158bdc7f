"""Which tests a mutant is tried on."""

from __future__ import annotations

from attacks.reach import COMPILED, SECONDS, seeing

SOURCE = """\
LIMIT = 3

def first(a):
    b = (
        a +
        1
    )
    if a > 3:
        return b
    for i in range(a):
        b += i
    return b

@kernel
def second(x):
    return x + LIMIT
"""
FOUND = {
    "seconds": {"quick": 0.1, "slow": 2.0, "long": SECONDS, "other": 0.2},
    "lines": {
        "m.py": {"5": ["quick", "slow"], "8": ["quick", "slow", "long"], "9": ["slow"], "10": []},
        "n.py": {"1": ["other"]},
    },
}


def test_tests_that_execute_the_statement_quickest_first() -> None:
    for line in (4, 5, 6, 7):  # one statement, of which one line was executed
        assert seeing(FOUND, "m.py", SOURCE, line) == ["quick", "slow"]
    assert seeing(FOUND, "m.py", SOURCE, 9) == ["slow"]
    assert seeing(FOUND, "m.py", SOURCE, 11) == []


def test_a_condition_is_its_header_alone_and_what_takes_too_long_is_left_out() -> None:
    assert seeing(FOUND, "m.py", SOURCE, 8) == ["quick", "slow"]
    assert seeing(FOUND, "m.py", SOURCE, 10) == []


def test_what_is_executed_at_import_is_seen_by_all_that_execute_anything() -> None:
    assert seeing(FOUND, "m.py", SOURCE, 1) == ["quick", "slow"]
    assert seeing(FOUND, "n.py", SOURCE, 3) == ["other"]  # the def itself, with its defaults


def test_kernels_are_seen_by_the_tests_that_their_module_names() -> None:
    module = "spikegpt_neuro/arithmetic/lif.py"
    assert seeing(FOUND, module, SOURCE, 16) == list(COMPILED[module])
