"""Linear algebra in one thread: the same integers however many processors there are."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


@cache
def _libraries() -> Any:
    """Those loaded by now, numpy's among them; looking for them takes milliseconds."""
    return ThreadpoolController()


def in_one_thread(function: Callable[_Given, _Found]) -> Callable[_Given, _Found]:
    """``function``, while which is executed BLAS and LAPACK use one thread.

    OpenBLAS adds in another order with each number of threads: a sum's last bit decides between two
    integers where a weight lies half-way, and error compensation spreads that to the row's others.
    The number is the process's: what hands such functions to several threads is one itself.
    """

    @wraps(function)
    def limited(*arguments: _Given.args, **options: _Given.kwargs) -> _Found:
        with _libraries().limit(limits=1, user_api="blas"):
            return function(*arguments, **options)

    return limited
