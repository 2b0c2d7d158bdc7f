"""How the integer operations are compiled: one decorator, one place for compiler switches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import llvmlite.binding as llvm
import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Without this switch LLVM multiplies int8 by int16 in 128-bit registers and the dense kernel is
# bound by arithmetic instead of memory (19 against 28-34 GB/s, benchmarks/). It is process-global
# and changes no result: integer sums are exact in any order.
llvm.set_option("", "-vectorizer-maximize-bandwidth")


def kernel(function: _Function) -> _Function:
    """Compile ``function`` to machine code on first call and keep it in numba's cache.

    Bounds are not checked inside a kernel: callers validate shapes when a program is compiled.
    The GIL is released so that sessions can run in threads.
    """
    return numba.njit(cache=True, nogil=True, boundscheck=False)(function)  # type: ignore[no-any-return]


def inline_kernel(function: _Function) -> _Function:
    """Compile a scalar operation so that LLVM inlines it into the loops that call it."""
    return numba.njit(cache=True, nogil=True, inline="never", forceinline=True)(function)  # type: ignore[no-any-return]
