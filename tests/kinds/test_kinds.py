"""Every kind of layer is complete, and what it declares holds."""

from __future__ import annotations

import pytest
from kind_checks import checks
from kind_checks.samples import sample

from spikegpt_neuro.backends.program import INSTRUCTIONS
from spikegpt_neuro.decomposition.decomposition import FINE_FORMS
from spikegpt_neuro.decomposition.stock_plan import STOCK_FORMS
from spikegpt_neuro.errors import IncompleteKind, InputError
from spikegpt_neuro.exchange.nir_export import NIR_FORMS
from spikegpt_neuro.network.registry import FACTS, LAYER_KINDS, REGISTRIES, KindRegistry
from spikegpt_neuro.network.schema import Layer

KINDS = pytest.mark.parametrize("kind", LAYER_KINDS.values(), ids=LAYER_KINDS)


def test_these_are_the_consumers() -> None:
    assert set(REGISTRIES.values()) == {INSTRUCTIONS, FINE_FORMS, STOCK_FORMS, NIR_FORMS}


@KINDS
@pytest.mark.parametrize("consumer", REGISTRIES)
def test_every_consumer_knows_every_kind(kind: type[Layer], consumer: str) -> None:
    assert REGISTRIES[consumer].knows(kind)


@KINDS
def test_every_kind_says_every_fact(kind: type[Layer]) -> None:
    assert all(hasattr(kind, fact) for fact in FACTS)
    assert LAYER_KINDS[kind.kind] is kind


@KINDS
@pytest.mark.parametrize(
    "check",
    [
        checks.check_range, checks.check_facts, checks.check_declared_ranges, checks.check_state,
        checks.check_weights,
    ],
)  # fmt: skip
def test_what_a_kind_declares_holds(check: object, kind: type[Layer]) -> None:
    check(kind)  # type: ignore[operator]


def test_expectations_are_of_the_kinds_there_are() -> None:
    assert set(checks.expected()) == set(LAYER_KINDS)


@pytest.mark.parametrize("consumer", REGISTRIES)
def test_an_unregistered_kind_is_an_error_that_names_kind_and_consumer(consumer: str) -> None:
    class Odd(LAYER_KINDS["requantise"]):  # type: ignore[misc]
        kind = "odd"

    with pytest.raises(
        IncompleteKind, match=f"x: the kind of layer 'odd' is not known to {consumer}"
    ):
        REGISTRIES[consumer](sample(Odd))


def test_a_refused_kind_is_an_input_error_with_the_reason() -> None:
    registry: KindRegistry[int] = KindRegistry("a test")
    try:
        registry.refuse(LAYER_KINDS["sigma"], why="too small")
        with pytest.raises(InputError, match=r"x: a test takes no sigma: too small\."):
            registry(sample(LAYER_KINDS["sigma"]))
        registry.add(LAYER_KINDS["delta"], entry=1)
        with pytest.raises(IncompleteKind, match="registered already"):
            registry.add(LAYER_KINDS["delta"], entry=2)
    finally:
        del REGISTRIES["a test"]
