"""The language own neurons are specified in, and what an update in it costs.

An own neuron's equation is text in Python's syntax, limited to what a neuron's microcode has: add,
multiply, shift, compare (with selection) and table look-up, on integers.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic import tables

OPERATIONS = ("add", "multiply", "shift", "compare", "table")
"""All a program may do."""

TABLES: Mapping[str, npt.NDArray[np.int32]] = {
    "SIGMOID": tables.SIGMOID,
    "EXP2": tables.EXP2,
    "RECIPROCAL": tables.RECIPROCAL,
    "RECIPROCAL_SQUARE_ROOT": tables.RECIPROCAL_SQUARE_ROOT,
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
        constant = {word.name for word in self.parameters}
        found = _operations(self.equation, constant)
        return {kind: found[kind] for kind in OPERATIONS}


FUNCTIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "round_shift": (("value", "shift"), "result = (value + ((1 << shift) >> 1)) >> shift"),
    "clip": (("value", "low", "high"), "result = min(max(value, low), high)"),
    "scale_by_power": (
        ("value", "shift"),
        "result = round_shift(value, shift) if shift >= 0 else value << (0 - shift)",
    ),
    "bit_length": (
        ("value",),
        """\
a = 32 if value >= 4294967296 else 0
value = value >> a
b = 16 if value >= 65536 else 0
value = value >> b
c = 8 if value >= 256 else 0
value = value >> c
d = 4 if value >= 16 else 0
value = value >> d
e = 2 if value >= 4 else 0
value = value >> e
f = 1 if value >= 2 else 0
value = value >> f
result = a + b + c + d + e + f + value""",
    ),
    "exp2": (
        ("exponent",),
        """\
negated = 0 - exponent
whole = negated >> 16
fraction = negated - (whole << 16)
cell = fraction >> 8
low = EXP2[cell]
step = (EXP2[cell + 1] - low) * (fraction - (cell << 8))
result = 0 if whole > 16 else round_shift(low + round_shift(step, 8), whole)""",
    ),
    "reciprocal": (
        ("mantissa",),
        """\
guess = RECIPROCAL[mantissa >> 8]
result = round_shift(guess * (4294967296 - mantissa * guess), 31)""",
    ),
    "reciprocal_square_root": (
        ("mantissa",),
        """\
guess = RECIPROCAL_SQUARE_ROOT[mantissa >> 24]
result = round_shift(guess * (3221225472 - ((mantissa * guess * guess) >> 32)), 31)""",
    ),
}
"""Sub-expressions the equations share: arguments, and text that assigns ``result``."""


def _operations(text: str, constant: set[str]) -> Counter[str]:
    """Operations of ``text`` where the names in ``constant`` are known beforehand."""
    found: Counter[str] = Counter()
    known = set(constant)
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise ValueError(f"not an assignment to a name: {ast.unparse(statement)}")
        target = statement.targets[0].id
        if _count(statement.value, known, found):
            known.add(target)
        else:
            known.discard(target)
    return found


_BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "add", ast.Mult: "multiply", ast.LShift: "shift", ast.RShift: "shift",
}  # fmt: skip


def _count(node: ast.expr, known: set[str], found: Counter[str]) -> bool:
    """Add the operations of an expression; True where it depends on nothing but ``known``.

    Raises ValueError for anything that is not one of ``OPERATIONS``.
    """
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    if isinstance(node.operand if negative else node, ast.Constant):  # type: ignore[attr-defined]
        return True
    if isinstance(node, ast.Name):
        return node.id in known
    kind = ""
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        kind, parts = _BINARY[type(node.op)], [node.left, node.right]
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        kind, parts = "compare", [node.left, *node.comparators]
    elif isinstance(node, ast.IfExp):
        parts = [node.test, node.body, node.orelse]  # the selection belongs to the comparison
        constant = [_count(part, known, found) for part in parts]
        return all(constant)
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        kind, parts = "table", [node.slice]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _count_call(node.func.id, node.args, known, found)
    else:
        raise ValueError(f"no operation of a neuron: {ast.unparse(node)}")
    constant = [_count(part, known, found) for part in parts]
    if all(constant):
        return True
    found[kind] += 1
    return False


def _count_call(name: str, arguments: list[ast.expr], known: set[str], found: Counter[str]) -> bool:
    if name == "levels_above":  # value, step, levels: a comparison and an addition a level
        found.update({"compare": 1, "add": 1})
        return False
    constant = [_count(argument, known, found) for argument in arguments]
    if all(constant):
        return True
    if name in ("min", "max"):
        found["compare"] += 1
        return False
    if name not in FUNCTIONS:
        raise ValueError(f"no operation of a neuron: {name}")
    names, text = FUNCTIONS[name]
    found.update(_operations(text, {n for n, c in zip(names, constant, strict=True) if c}))
    return False
