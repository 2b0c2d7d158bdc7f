"""How the integer operations are compiled: one decorator, one place for compiler switches."""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import llvmlite.binding as llvm
import numba
from numba.core import event, sigutils
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Without this switch LLVM multiplies int8 by int16 in 128-bit registers and the dense kernel is
# bound by arithmetic instead of memory (19 against 28-34 GB/s, benchmarks/). It is process-global
# and changes no result: integer sums are exact in any order.
llvm.set_option("", "-vectorizer-maximize-bandwidth")


def _import_array_functions() -> None:
    """Import what numba would at its first call, without SciPy's linear algebra.

    numba looks whether SciPy offers a BLAS: a third of the time to the first token, for nothing a
    kernel uses. Other code's ``np.dot`` is not affected: numba looks again when it compiles that.
    """
    module = "scipy.linalg"
    if module in sys.modules:
        return
    sys.modules[module] = None  # type: ignore[assignment]  # how Python marks what is not there
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules[module]


_import_array_functions()

COMPILING = logging.getLogger("spikegpt_neuro.compiling")
"""Where it is said, once a process, that kernels are being compiled: they were not in the cache."""
COMPILING_NOTICE = (
    "Compiling kernels for this machine's processor, once for this installation: it may take a "
    "minute. They are kept in %s (`spikegpt-neuro doctor --warm-up` does it beforehand)."
)


class _Announcer(event.Listener):
    """Says when the first of this package's kernels is compiled; silent where all are cached."""

    def on_start(self, event: Any) -> None:
        """Called by numba when it begins to compile a function."""
        module = event.data["dispatcher"].py_func.__module__
        if module is not None and module.startswith(__package__.split(".")[0] + "."):
            numba.core.event.unregister("numba:compile", self)
            COMPILING.warning(COMPILING_NOTICE, CACHE_FOLDER)

    def on_end(self, event: Any) -> None:
        """Nothing to say then."""


event.register("numba:compile", _Announcer())


def cache_folder(sources: Path) -> str:
    """Folder of compiled kernels, named after the sources they were compiled from.

    numba recompiles a function when its own file changes, but not when a function it calls does:
    a changed operation would go on being executed in its old form. Honours ``NUMBA_CACHE_DIR``;
    otherwise beside the sources, or in the user's cache folder where those cannot be written.
    """
    digest = hashlib.blake2b(digest_size=8)
    for source in sorted(sources.glob("*.py")):
        digest.update(source.read_bytes())
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        root = Path(given)
    elif os.access(sources, os.W_OK):
        root = sources / "__pycache__"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "spikegpt-neuro"
    return str(root / f"kernels-{digest.hexdigest()}")


CACHE_FOLDER = cache_folder(Path(__file__).parent)


@contextmanager
def _caching_in(folder: str) -> Iterator[None]:
    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = folder  # read while a decorator runs
    try:
        yield
    finally:
        config.CACHE_DIR = before


class _Cache(FunctionCache):
    """numba's, but one that cannot be read or written costs time and not the run."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled before, or None."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except OSError:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep it, where that can be done."""
        with suppress(OSError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def _keep(compiled: Any, function: Callable[..., Any], folder: str) -> None:
    """Let a compiled function use the cache in ``folder``, if numba finds a place for it."""
    with _caching_in(folder), suppress(RuntimeError, OSError):  # numba's own words for "nowhere"
        compiled._cache = _Cache(function)  # type: ignore[no-untyped-call]


def _compile(function: _Function, **options: Any) -> _Function:
    compiled = numba.njit(nogil=True, **options)(function)
    _keep(compiled, function, CACHE_FOLDER)
    return compiled


def compile_step(function: Callable[..., None], signature: Any, constants: str) -> Any:
    """Compile ``function`` to a C function at once, or take it from the cache.

    ``constants``: text of whatever outside the function's own file is compiled into it, so that a
    change of it is not answered with what was compiled before.
    """
    digest = hashlib.blake2b(constants.encode(), digest_size=8).hexdigest()
    # what numba.cfunc does, with a cache of ours
    compiled = CFunc(function, sigutils.normalize_signature(signature), locals={}, options={})
    _keep(compiled, function, f"{CACHE_FOLDER}/{digest}")
    compiled.compile()
    return compiled


def kernel(function: _Function) -> _Function:
    """Compile ``function`` to machine code on first call and keep it in numba's cache.

    Bounds are not checked inside a kernel: callers validate shapes when a program is compiled.
    The GIL is released so that sessions can run in threads.
    """
    return _compile(function, boundscheck=False)


def inline_kernel(function: _Function) -> _Function:
    """Compile a scalar operation so that LLVM inlines it into the loops that call it."""
    return _compile(function, inline="never", forceinline=True)
