"""How own neurons are specified: their words, and an equation (``arithmetic.equations``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic import equations, tables
from spikegpt_neuro.arithmetic.equations import operations

TABLES: Mapping[str, npt.NDArray[np.int32]] = {
    name: getattr(tables, name) for name in equations.TABLES
}
"""Read-only tables, of 256 or 257 entries of at most 17 bits."""


@dataclass(frozen=True)
class Word:
    """An integer a neuron receives, sends, keeps or is configured with."""

    name: str
    bits: int
    signed: bool
    meaning: str

    def __str__(self) -> str:
        return f"`{self.name}` {self.bits}{'s' if self.signed else 'u'}"


@dataclass(frozen=True)
class StockProgram:
    """A process that ships with Lava, and the settings under which it is exact.

    ``evidence``: public code that runs it on Loihi 2, where there is any.
    """

    process: str
    settings: str
    holds: str
    evidence: str = ""


@dataclass(frozen=True)
class NeuronProgram:
    """An own neuron. ``why``: what keeps every stock process from being exact here.

    ``equation``: one time step (of a gated program: one token); it reads ``inputs``, ``states`` and
    ``parameters`` and assigns ``outputs`` and ``states``. ``gated``: in steps without its gate's
    token flag it sends zeros and keeps its state; the reset flag returns states to ``initial``.
    ``widest``: bits of the widest intermediate value.
    """

    purpose: str
    why: str
    inputs: tuple[Word, ...]
    outputs: tuple[Word, ...]
    states: tuple[Word, ...]
    parameters: tuple[Word, ...]
    equation: str
    widest: int
    gated: bool = False
    initial: int = 0

    @property
    def state_bits(self) -> int:
        """Bits of state a neuron."""
        return sum(word.bits for word in self.states)

    @property
    def payload_bits(self) -> int:
        """Bits of the widest value it sends."""
        return max(word.bits for word in self.outputs)

    @property
    def operations(self) -> dict[str, int]:
        """Operations of one update, by kind. What depends on parameters only is not counted: it is
        computed when the program is loaded. A comparison a level is counted once.
        """
        return self.operations_of(1)

    def operations_of(self, levels: int) -> dict[str, int]:
        """The same of neurons that compare with so many levels."""
        return operations(self.equation, frozenset(word.name for word in self.parameters), levels)
