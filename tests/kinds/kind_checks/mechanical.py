"""Counts the operations of ``arithmetic``'s own source code: what the equations are held against.

A kernel's Python source is walked statement by statement, the loop over its channels once, with the
functions it calls. What depends on parameters only is not counted, both sides of a branch are. This
knows nothing of ``arithmetic.equations``.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable
from typing import Any

Counts = Counter[str]
TELEMETRY = {"active", "saturated", "counts"}
"""Names of the event counters, which no neuron has."""
_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "add", ast.BitAnd: "add", ast.Mult: "multiply",
    ast.LShift: "shift", ast.RShift: "shift",
}  # fmt: skip


def count(kernel: Any, data: set[str], *, levels: int = 1) -> tuple[Counts, Counts]:
    """Operations of one channel, and of what is outside the loops, of a kernel.

    ``data``: names of its arguments that change from token to token; the others are parameters.
    ``levels`` 0: thresholds that are powers of two.
    """
    walk = _Walk(_plain(kernel), data, levels)
    return walk.inside, walk.outside


def _plain(function: Any) -> Callable[..., Any]:
    return getattr(function, "py_func", function)


def _is_loop_over_channels(node: ast.For) -> bool:
    return "levels" not in ast.unparse(node.iter)


class _Walk:
    """One function's statements; ``data`` holds the names that are not known beforehand."""

    def __init__(self, function: Callable[..., Any], data: set[str], levels: int) -> None:
        self.scope = function.__globals__
        self.data = set(data)
        self.levels = levels
        self.inside: Counts = Counter()
        self.outside: Counts = Counter()
        self.returned = False
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        self._block(tree.body, self.outside, conditional=False)

    def _block(self, body: list[ast.stmt], found: Counts, *, conditional: bool) -> None:
        for statement in body:
            self._statement(statement, found, conditional)

    def _statement(self, node: ast.stmt, found: Counts, conditional: bool) -> None:
        if isinstance(node, ast.For):
            if _is_loop_over_channels(node):
                self._block(node.body, self.inside, conditional=conditional)
            else:  # over the levels of a spike
                repeated: Counts = Counter()
                inside, self.inside = self.inside, repeated
                self._block(node.body, repeated, conditional=conditional)
                self.inside = inside
                for _ in range(self.levels):
                    self.inside.update(repeated)
        elif isinstance(node, ast.If) and "MOST_COMPARED" in ast.unparse(node.test):
            # by parameters: one of two ways to count the levels below a membrane potential
            body = node.orelse if self.levels else node.body
            self._block(body, found, conditional=conditional)
        elif isinstance(node, ast.If):
            decided = self._expression(node.test, found)
            self._block(node.body, found, conditional=decided)
            self._block(node.orelse, found, conditional=decided)
        elif isinstance(node, ast.Return):
            if node.value is not None:
                self.returned |= self._expression(node.value, found)
            self.returned |= conditional
        elif isinstance(node, ast.Assign):
            self._assign(node.targets[0], node.value, found, conditional)
        elif isinstance(node, ast.AugAssign):
            name = _name(node.target)
            if name in TELEMETRY:
                return
            changed = self._expression(node.value, found)
            if changed or name in self.data:
                found[_OPERATORS[type(node.op)]] += 1
            if changed or conditional:
                self.data.add(name)
        elif isinstance(node, ast.Expr):
            if not isinstance(node.value, ast.Constant):
                self._expression(node.value, found)
        else:
            raise AssertionError(ast.unparse(node))

    def _assign(self, target: ast.expr, value: ast.expr, found: Counts, conditional: bool) -> None:
        if isinstance(target, ast.Tuple):
            pairs = (
                zip(target.elts, value.elts, strict=True) if isinstance(value, ast.Tuple) else None
            )
            if pairs is not None:
                for one, other in pairs:
                    self._assign(one, other, found, conditional)
                return
            if self._expression(value, found):
                self.data |= {_name(element) for element in target.elts}
            return
        name = _name(target)
        if name in TELEMETRY:
            return
        if self._expression(value, found) or conditional:
            self.data.add(name)
        else:
            self.data.discard(name)

    def _expression(self, node: ast.expr, found: Counts) -> bool:
        """Count an expression's operations; True where it depends on data."""
        if isinstance(node, ast.Constant):
            return False
        if isinstance(node, ast.Name):
            return node.id in self.data
        if isinstance(node, ast.Attribute):
            return False  # a size
        if isinstance(node, ast.Subscript):
            index = self._expression(node.slice, found)
            name = _name(node)
            if name.isupper():
                found["table"] += index
                return index
            return name in self.data
        if isinstance(node, ast.Slice):
            return False
        if isinstance(node, ast.BinOp):
            parts = [self._expression(part, found) for part in (node.left, node.right)]
            found[_OPERATORS[type(node.op)]] += any(parts)
            return any(parts)
        if isinstance(node, ast.UnaryOp):
            inner = self._expression(node.operand, found)
            found["add"] += inner
            return inner
        if isinstance(node, ast.Compare):
            parts = [self._expression(part, found) for part in (node.left, *node.comparators)]
            found["compare"] += any(parts)
            return any(parts)
        if isinstance(node, ast.IfExp):
            parts = [self._expression(part, found) for part in (node.test, node.body, node.orelse)]
            return any(parts)
        if isinstance(node, ast.Tuple):
            return any([self._expression(part, found) for part in node.elts])
        assert isinstance(node, ast.Call), ast.unparse(node)
        return self._call(node, found)

    def _call(self, node: ast.Call, found: Counts) -> bool:
        parts = [self._expression(argument, found) for argument in node.args]
        if isinstance(node.func, ast.Attribute):  # np.int64
            return any(parts)
        name = _name(node.func)
        if name in ("min", "max", "abs"):
            found["compare"] += any(parts)
            return any(parts)
        function = _plain(self.scope[name])
        names = list(inspect.signature(function).parameters)
        data = {n for n, part in zip(names, parts, strict=True) if part}
        if not data:
            return False
        inner = _Walk(function, data, self.levels)
        # a helper with a loop of its own belongs to the caller's loop
        self.inside.update(inner.inside)
        found.update(inner.outside)
        return inner.returned


def _name(node: ast.expr) -> str:
    while not isinstance(node, ast.Name):
        node = node.value  # type: ignore[attr-defined]
    return node.id
