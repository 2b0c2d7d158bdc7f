"""Changing any operation, range, bound, state or fact of any kind fails a check."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kind_checks import checks
from kind_checks.sources import EQUATIONS, SOURCES

from spikegpt_neuro.network import LAYER_KINDS
from spikegpt_neuro.network.schema import Layer

KINDS = pytest.mark.parametrize("kind", LAYER_KINDS.values(), ids=LAYER_KINDS)
Change = Callable[[pytest.MonkeyPatch], None]


def _fails(check: Callable[[], None]) -> bool:
    try:
        check()
    except (AssertionError, ValueError):  # ValueError: what was changed no longer fits together
        return True
    return False


def _equations(kind: type[Layer]) -> Iterator[tuple[str, str]]:
    """Every equation with one operation taken out or put in."""
    for name in ("equation", "once"):
        text = getattr(kind, name)
        for operator in (" + ", " - ", " * ", " << ", " >> "):
            for place in re.finditer(re.escape(operator), text):
                if text[: place.start()].count("(") > 0:
                    other = " * " if operator != " * " else " + "
                    yield name, text[: place.start()] + other + text[place.end() :]
        if text:
            yield name, text + "\nextra = s0 + s0"


@pytest.mark.parametrize("kind", EQUATIONS.values(), ids=EQUATIONS)
def test_no_operation_of_an_equation_can_change(
    kind: type[Layer], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, data = SOURCES[kind.kind]
    checks.check_operations(kind, kernel, data)
    survived = []
    mutants = 0
    for name, text in _equations(kind):
        if _same_parameters_only(kind, name, text):
            continue
        mutants += 1
        with monkeypatch.context() as patch:
            patch.setattr(kind, name, text)
            if not _fails(lambda: checks.check_operations(kind, kernel, data)):
                survived.append(text)
    assert mutants >= 1
    assert not survived


def _same_parameters_only(kind: type[Layer], name: str, text: str) -> bool:
    """Whether the change lies among parameters, whose operations cost nothing."""
    from spikegpt_neuro.arithmetic.equations import operations

    known = checks.constants(kind)
    return operations(getattr(kind, name), known) == operations(text, known)


def _declarations(kind: type[Layer]) -> Iterator[tuple[str, Change]]:
    for field in dataclasses.fields(kind):
        if "array" in field.metadata:
            spec = field.metadata["array"]
            for key, value in (("low", spec.low - 1), ("low", spec.low + 1),
                               ("high", spec.high - 1), ("high", spec.high + 1)):  # fmt: skip
                mutant = dataclasses.replace(spec, **{key: value})
                yield (
                    f"{field.name}.{key} {value}",
                    lambda patch, f=field, m=mutant: patch.setattr(f, "metadata", {"array": m}),
                )
        if "scalar" in field.metadata:
            low, high = field.metadata["scalar"]
            for mutant in ((low - 1, high), (low + 1, high), (low, high - 1), (low, high + 1)):
                yield (
                    f"{field.name} {mutant}",
                    lambda patch, f=field, m=mutant: patch.setattr(f, "metadata", {"scalar": m}),
                )
    for i, state in enumerate(kind.states):
        for key in ("low", "high", "initial"):
            mutant = dataclasses.replace(state, **{key: getattr(state, key) + 1})
            states = (*kind.states[:i], mutant, *kind.states[i + 1 :])
            yield (
                f"state {state.name}.{key}",
                lambda patch, s=states: patch.setattr(kind, "states", s),
            )
    for name, value in (("input_count", kind.input_count + 1), ("driver", kind.driver + 1),
                        ("fires", not kind.fires), ("fixed_neuron", not kind.fixed_neuron),
                        ("sparse", not kind.sparse)):  # fmt: skip
        yield name, lambda patch, n=name, v=value: patch.setattr(kind, n, v)


@KINDS
def test_no_declared_fact_can_change(kind: type[Layer], monkeypatch: pytest.MonkeyPatch) -> None:
    survived = []
    for name, change in _declarations(kind):
        with monkeypatch.context() as patch:
            change(patch)
            if not _fails(lambda: checks.check_facts(kind)):
                survived.append(name)
    assert not survived


@KINDS
@pytest.mark.parametrize("moved", [(-1, 0), (1, 0), (0, -1), (0, 1)])
def test_no_proven_range_can_change(
    kind: type[Layer], moved: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Any = kind.value_range

    def mutant(self: Any, inputs: Any) -> tuple[int, int]:
        low, high = original(self, inputs)
        return low + moved[0], high + moved[1]

    monkeypatch.setattr(kind, "value_range", mutant)
    assert _fails(lambda: checks.check_range(kind))


WEIGHTED = [name for name, kind in LAYER_KINDS.items() if "weight" in kind.array_specs()]


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("by", [-1, 1])
def test_no_bound_can_change(name: str, by: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = LAYER_KINDS[name]
    real = Layer.__dict__["largest_row_sum"].func
    monkeypatch.setattr(
        kind, "largest_row_sum", property(lambda self: real(self) + by), raising=False
    )
    assert _fails(lambda: checks.check_weights(kind))
