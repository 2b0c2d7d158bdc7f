"""Which kinds of layers there are, and what each consumer was told about every one of them.

A kind of layer is a class (``network/schema.py``). What it is in itself stands in the class; what
it is to one consumer (the emulator, the fine Lava graph, NIR, a chip) is registered with that
consumer's ``KindRegistry``. A kind that is not registered is an error there which names both: no
consumer guesses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from spikegpt_neuro.errors import IncompleteKind, InputError
from spikegpt_neuro.network.schema import Layer, State

T = TypeVar("T")
Kind = TypeVar("Kind", bound=type[Layer])

FACTS = (
    "kind", "input_count", "driver", "output_bits", "chip_role", "fires", "fixed_neuron", "sparse",
    "states", "equation", "value_range",
)  # fmt: skip
"""What a kind's class must say itself; see ``Layer``."""

LAYER_KINDS: dict[str, type[Layer]] = {}
"""All kinds by the name they have in files, programs and reports."""

REGISTRIES: dict[str, KindRegistry[object]] = {}
"""All registries by their consumer, so that a test can ask whether each knows every kind."""


def layer_kind(kind: Kind) -> Kind:
    """Class decorator: make a subclass of ``Layer`` known by its ``kind``.

    Raises ``IncompleteKind`` listing everything the class does not say, and what its names break.
    """
    problems = [
        f"says nothing of {fact}"
        for fact in FACTS
        if not hasattr(kind, fact) or getattr(kind, fact) is getattr(Layer, fact, FACTS)
    ]
    name = getattr(kind, "kind", kind.__name__)
    if name in LAYER_KINDS:
        problems.append(f"the name is taken by {LAYER_KINDS[name].__qualname__}")
    names = [*kind.array_specs(), *kind.scalar_ranges()]
    states = getattr(kind, "states", ())
    names += [state.name for state in states if isinstance(state, State)]
    problems += [f"{n} is the name of two things" for n in sorted(set(names)) if names.count(n) > 1]
    if problems:
        raise IncompleteKind(name, "the registry of kinds", "; ".join(problems))
    LAYER_KINDS[name] = kind
    return kind


def check_known(layer: Layer) -> None:
    """``IncompleteKind`` for a layer whose class is not registered under its kind's name."""
    if LAYER_KINDS.get(layer.kind) is not type(layer):
        raise IncompleteKind(layer.kind, "the registry of kinds", where=layer.name)


def forget(kind: type[Layer]) -> None:
    """Take a kind out of every registry again."""
    LAYER_KINDS.pop(kind.kind, None)
    for registry in REGISTRIES.values():
        registry.forget(kind)


class KindRegistry(Generic[T]):
    """What ``consumer`` was told about each kind.

    A kind does not inherit its base's entry: a subclass that computes something else would be
    taken for it.
    """

    def __init__(self, consumer: str) -> None:
        self.consumer = consumer
        self._entries: dict[type[Layer], T] = {}
        self._refused: dict[type[Layer], str] = {}
        REGISTRIES[consumer] = self  # type: ignore[assignment]

    def add(self, *kinds: type[Layer], entry: T) -> None:
        """Register one entry for each of ``kinds``."""
        for kind in kinds:
            if kind in self._entries or kind in self._refused:
                raise IncompleteKind(kind.kind, self.consumer, "it was registered already")
            self._entries[kind] = entry

    def register(self, *kinds: type[Layer]) -> Callable[[T], T]:
        """``add`` as a decorator."""

        def keep(entry: T) -> T:
            self.add(*kinds, entry=entry)
            return entry

        return keep

    def refuse(self, *kinds: type[Layer], why: str) -> None:
        """Say that the consumer does not take ``kinds``, and why; asking is an ``InputError``."""
        for kind in kinds:
            self._refused[kind] = why

    def forget(self, kind: type[Layer]) -> None:
        """Take a kind out again."""
        self._entries.pop(kind, None)
        self._refused.pop(kind, None)

    def knows(self, kind: type[Layer]) -> bool:
        """Whether the kind is registered or refused."""
        return kind in self._entries or kind in self._refused

    def takes(self, kind: type[Layer]) -> bool:
        """Whether the kind has an entry: it is neither refused nor unknown."""
        return kind in self._entries

    def refusal(self, layer: Layer) -> str:
        """Why the consumer does not take the layer's kind; empty where it does.

        Raises ``IncompleteKind`` where it was told nothing.
        """
        if not self.knows(type(layer)):
            raise IncompleteKind(layer.kind, self.consumer, where=layer.name)
        return self._refused.get(type(layer), "")

    def __call__(self, layer: Layer) -> T:
        """The entry of the layer's kind.

        Raises ``InputError`` where it is refused, ``IncompleteKind`` where nothing is known of it.
        """
        why = self.refusal(layer)
        if why:
            raise InputError(f"{layer.name}: {self.consumer} takes no {layer.kind}: {why}.")
        return self._entries[type(layer)]
