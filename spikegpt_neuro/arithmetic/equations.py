"""Equations of neurons as text: one update of one channel, and what it costs.

An equation is text in Python's syntax, limited to what a neuron's microcode has: add, multiply,
shift, compare (with selection) and table look-up, on integers. Each kind of layer has one; energy,
the microcode specification and deployability count it with ``operations``. That it computes what
the kernels of ``arithmetic`` do, with as many operations, is tested for every kind.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from functools import cache

OPERATIONS = ("add", "multiply", "shift", "compare", "table")
"""All an equation may do. ``add``: any operation of an adder or of its gates: sum, difference,
negation, and a mask of bits (which costs no more). ``compare``: a comparison, a minimum or a
maximum; the selection that follows belongs to it."""

TABLES = ("SIGMOID", "EXP2", "RECIPROCAL", "RECIPROCAL_SQUARE_ROOT")
"""Read-only tables of ``arithmetic.tables``, of 256 or 257 entries of at most 17 bits."""

FUNCTIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "round_shift": (("value", "shift"), "result = (value + ((1 << shift) >> 1)) >> shift"),
    "clip": (("value", "low", "high"), "result = min(max(value, low), high)"),
    "scale_by_power": (
        ("value", "shift"),
        "result = value << -shift if shift < 0 else (value + ((1 << shift) >> 1)) >> shift",
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
    "sigmoid": (
        ("argument",),
        """\
z = clip(argument, -8192, 8191) + 8192
cell = z >> 6
low = SIGMOID[cell]
result = low + round_shift((SIGMOID[cell + 1] - low) * (z & 63), 6)""",
    ),
    "exp2": (
        ("exponent",),
        """\
negated = -exponent
whole = negated >> 16
fraction = negated & 65535
cell = fraction >> 8
low = EXP2[cell]
step = (EXP2[cell + 1] - low) * (fraction & 255)
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
    "leak": (
        ("state", "keep"),
        """\
product = state * keep
result = (product + (4095 if product < 0 else 0)) >> 12""",
    ),
}
"""Sub-expressions the equations share: arguments, and text that assigns ``result``."""


@cache
def operations(equation: str, constants: frozenset[str], levels: int = 1) -> dict[str, int]:
    """Operations of one update, by kind, every kind of ``OPERATIONS`` listed.

    ``constants``: names of parameters. What depends on them only is not counted: it is computed
    when the program is loaded. Both arms of a selection are counted, because neurons of a core
    that run one program take the same time. ``levels``: how often ``levels_above`` compares; 0
    where its step is a power of two, so that it subtracts one, shifts and clips.
    Raises ValueError for anything that is not an operation of a neuron.
    """
    found = _operations(equation, set(constants), levels)
    return {kind: found[kind] for kind in OPERATIONS}


def _operations(text: str, known: set[str], levels: int) -> Counter[str]:
    """Operations of ``text`` where the names in ``known`` are known beforehand."""
    found: Counter[str] = Counter()
    known = set(known)
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise ValueError(f"not an assignment to a name: {ast.unparse(statement)}")
        target = statement.targets[0].id
        if _count(statement.value, known, found, levels):
            known.add(target)
        else:
            known.discard(target)
    return found


_BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "add", ast.BitAnd: "add", ast.Mult: "multiply", ast.LShift: "shift",
    ast.RShift: "shift",
}  # fmt: skip


def _count(node: ast.expr, known: set[str], found: Counter[str], levels: int) -> bool:
    """Add the operations of an expression; True where it depends on nothing but ``known``.

    Raises ValueError for anything that is not one of ``OPERATIONS``.
    """
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Name):
        return node.id in known
    kind = ""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        kind, parts = "add", [node.operand]
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        kind, parts = _BINARY[type(node.op)], [node.left, node.right]
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        kind, parts = "compare", [node.left, *node.comparators]
    elif isinstance(node, ast.IfExp):
        parts = [node.test, node.body, node.orelse]  # the selection belongs to the comparison
        constant = [_count(part, known, found, levels) for part in parts]
        return all(constant)
    elif (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id in TABLES
    ):
        kind, parts = "table", [node.slice]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _count_call(node.func.id, node.args, known, found, levels)
    else:
        raise ValueError(f"no operation of a neuron: {ast.unparse(node)}")
    constant = [_count(part, known, found, levels) for part in parts]
    if all(constant):
        return True
    found[kind] += 1
    return False


def _count_call(
    name: str, arguments: list[ast.expr], known: set[str], found: Counter[str], levels: int
) -> bool:
    if name == "levels_above":  # value, step, levels; see ``arithmetic.lif.fire``
        each = {"compare": levels, "add": levels}
        found.update(each if levels else {"add": 1, "shift": 1, "compare": 2})
        return False
    constant = [_count(argument, known, found, levels) for argument in arguments]
    if all(constant):
        return True
    if name in ("min", "max", "abs"):
        found["compare"] += 1
        return False
    if name not in FUNCTIONS:
        raise ValueError(f"no operation of a neuron: {name}")
    names, text = FUNCTIONS[name]
    inner = {n for n, c in zip(names, constant, strict=True) if c}
    found.update(_operations(text, inner, levels))
    return False
