"""Which tests execute which lines of the modules of an area, and how long each takes (coverage.py).

For ``attacks.mutants``: a mutant can be seen by no test that does not execute its statement, and
then a few quick ones are tried instead of all. Tests are known by pytest's names, lines by module.
Kernels are machine code, which is not traced: their modules name their tests (``COMPILED``).
"""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from coverage import Coverage

SECONDS = 10.0
"""Of the quickest tests that can see a mutant, those that fit in there are tried."""
COMPILERS = ("kernel", "inline_kernel", "intrinsic")
"""Decorators of functions that are compiled."""
_OPERATIONS = "tests/arithmetic/test_"
COMPILED: dict[str, tuple[str, ...]] = {
    "spikegpt_neuro/arithmetic/dense.py": (f"{_OPERATIONS}dense.py",),
    "spikegpt_neuro/arithmetic/elementwise.py": (f"{_OPERATIONS}elementwise.py",),
    "spikegpt_neuro/arithmetic/fixed_point.py": (f"{_OPERATIONS}fixed_point.py",),
    "spikegpt_neuro/arithmetic/intrinsics.py": (
        f"{_OPERATIONS}dense.py", f"{_OPERATIONS}packed.py",
    ),
    "spikegpt_neuro/arithmetic/lif.py": (f"{_OPERATIONS}lif.py",),
    "spikegpt_neuro/arithmetic/packed.py": (f"{_OPERATIONS}packed.py",),
    "spikegpt_neuro/arithmetic/slayer_neurons.py": (
        f"{_OPERATIONS}slayer_neurons.py",
        "tests/chains/test_slayer.py::test_alif_equals_its_equation_up_to_the_limits",
    ),
    "spikegpt_neuro/arithmetic/tables.py": (
        f"{_OPERATIONS}fixed_point.py", f"{_OPERATIONS}equations.py",
    ),
    "spikegpt_neuro/arithmetic/varied_neurons.py": (f"{_OPERATIONS}slayer_neurons.py",),
    "spikegpt_neuro/arithmetic/wkv.py": (f"{_OPERATIONS}wkv.py",),
    "converters/rounding.py": ("tests/converters/test_rounding.py",),
}  # fmt: skip
"""By module: the tests of its kernels, and of what is computed while it is imported."""


class _Recorder:
    """A pytest plugin: lines by test, and seconds, its fixtures' included."""

    def __init__(self, measured: Coverage) -> None:
        self.seconds: dict[str, float] = {}
        self._measured = measured

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Around each test."""
        begin = time.perf_counter()
        self._measured.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self._measured.switch_context("")
            self.seconds[item.nodeid] = time.perf_counter() - begin


def record(modules: Sequence[str], tests: Sequence[str], result: Path) -> int:
    """Run ``tests`` in this process and write what they reach of ``modules``; pytest's code."""
    from coverage import Coverage  # of the extra `attacks`

    measured = Coverage(data_file=None, include=[str(Path(m).resolve()) for m in modules])
    recorder = _Recorder(measured)
    measured.start()
    code = pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[recorder])
    measured.stop()
    data = measured.get_data()
    lines: dict[str, dict[int, list[str]]] = {}
    for module in modules:
        with suppress(TypeError):  # no test executes anything of it
            by_line = data.contexts_by_lineno(str(Path(module).resolve()))
            lines[module] = {
                line: sorted(names) for line, contexts in by_line.items()
                if (names := [name for name in contexts if name])
            }  # fmt: skip
    found = {"seconds": recorder.seconds, "lines": lines}
    result.write_text(json.dumps(found) + "\n", "utf-8")
    return int(code)


def _statement(tree: ast.Module, line: int) -> tuple[range, bool, bool]:
    """Lines of the innermost statement there; whether in a function, and in a compiled one."""
    lines, in_function, is_compiled = range(line, line + 1), False, False
    body: Sequence[ast.stmt] = tree.body
    while body:
        around = [one for one in body if one.lineno <= line <= (one.end_lineno or one.lineno)]
        decorated = [
            one
            for one in body
            for decorator in getattr(one, "decorator_list", ())
            if decorator.lineno <= line < one.lineno
        ]
        if decorated or not around:
            break
        node = around[0]
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        inner = [
            part for name in ("body", "orelse", "finalbody") for part in getattr(node, name, ())
        ]
        inner += [part for handler in getattr(node, "handlers", ()) for part in handler.body]
        inner += [part for case in getattr(node, "cases", ()) for part in case.body]
        if inner and line < min(part.lineno for part in inner):
            lines = range(node.lineno, min(part.lineno for part in inner))
            break
        if isinstance(node, ast.FunctionDef):
            in_function = True
            names = {getattr(one, "id", "") for one in node.decorator_list}
            is_compiled = is_compiled or bool(names & set(COMPILERS))
        body = inner
    return lines, in_function, is_compiled


def seeing(found: dict[str, Any], module: str, source: str, line: int) -> list[str]:
    """Tests to try a change of that line on, quickest first; none, where none executes it.

    What is executed at import is seen by whatever executes anything of the module.
    """
    lines, in_function, is_compiled = _statement(ast.parse(source), line)
    if is_compiled:
        return list(COMPILED[module])
    by_line: dict[str, list[str]] = found["lines"].get(module, {})
    wanted = [str(one) for one in lines] if in_function else list(by_line)
    names = {name for one in wanted for name in by_line.get(one, ())}
    chosen, left = [], SECONDS
    for name in sorted(names, key=lambda name: found["seconds"][name]):
        left -= found["seconds"][name]
        if left < 0 and chosen:
            break
        chosen.append(name)
    if module in COMPILED and not (in_function and chosen):  # constants of kernels, and tables
        chosen = [*COMPILED[module], *chosen]
    return chosen
