"""Import lava-nc and lava-dl on Python 3.10 to 3.13; all their incompatibilities live here."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import logging
import multiprocessing
import sys
import types
import warnings
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import Unavailable

INSTALL_COMMAND = (
    "python -m pip install --no-deps --ignore-requires-python lava-nc==0.10.0 lava-dl==0.6.0"
)
"""Adds Lava on every supported Python: what the two import is a dependency of this package, and
their own pins (Python below 3.11, torch below 2.4, numpy below 2) can be met by none."""
INSTALL_ADVICE = f"Add Lava with: {INSTALL_COMMAND}"
_UNHASHABLE_DEFAULT = ("lava.magma.compiler.var_model", "ByteEncoder")


@cache
def prepare_lava() -> None:
    """Make ``import lava`` work; call it before any lava import.

    lava-nc 0.10.0 uses one dataclass as a default of another's field, which Python 3.11 and later
    accept only if it is hashable; it is made so while its module is imported. It chooses how
    processes start (fork), and fails where anything before it has, be it the same way: a program
    that drew a progress bar of tqdm could not import it. Raises ``Unavailable`` if lava-nc is not
    installed, or processes start in another way already.
    """
    if importlib.util.find_spec("lava") is None or importlib.util.find_spec("lava.magma") is None:
        raise Unavailable("lava-nc is not installed.", ["import lava.magma"], INSTALL_ADVICE)
    logging.getLogger("lava").setLevel(logging.ERROR)
    original = dataclasses.dataclass

    def hashable(cls: Any = None, /, **options: Any) -> Any:
        if cls is None:
            return lambda decorated: hashable(decorated, **options)
        if (cls.__module__, cls.__name__) == _UNHASHABLE_DEFAULT:
            options["unsafe_hash"] = True
        return original(cls, **options)

    choose = multiprocessing.set_start_method

    def choose_once(method: str | None, force: bool = False) -> None:
        chosen: Any = multiprocessing.get_start_method(allow_none=True)
        if chosen is not None and chosen != method:
            raise Unavailable(
                f"Lava's processes start by {method}; this program has chosen {chosen}.",
                advice=f"Leave out multiprocessing.set_start_method({chosen!r}).",
            )
        if chosen is None:
            choose(method, force)

    dataclasses.dataclass = hashable
    multiprocessing.set_start_method = choose_once
    try:
        importlib.import_module("lava.magma.compiler.var_model")
        importlib.import_module("lava.magma.runtime.message_infrastructure.multiprocessing")
    except ImportError as error:
        raise Unavailable(
            f"lava-nc is installed but cannot be imported: {error}.", advice=INSTALL_ADVICE
        ) from error
    finally:
        dataclasses.dataclass = original
        multiprocessing.set_start_method = choose
    ports = importlib.import_module("lava.magma.core.process.ports.ports")
    # numpy 2.4 has no argument `newshape` any more
    ports.ReshapePort.get_transform_func_fwd = lambda port: partial(_reshape, shape=port.shape)
    ports.ReshapePort.get_transform_func_bwd = lambda port: partial(_reshape, shape=port.old_shape)
    channels = importlib.import_module("lava.magma.compiler.channels.pypychannel")
    channels.CspRecvPort._req_callback = _put_and_wake


@cache
def prepare_convolutions() -> None:
    """Make stock ``Conv`` take inputs wider than 127 with numpy 2; call it before building one.

    It keeps its geometry in int8, and numpy 2 does not widen that for a larger Python integer.
    """
    prepare_lava()
    module: Any = importlib.import_module("lava.proc.conv.utils")
    original = module.conv

    def conv(
        values: Any, weight: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
        groups: Any,
    ) -> Any:  # fmt: skip
        geometry = (np.asarray(v, np.int64) for v in (kernel_size, stride, padding, dilation))
        return original(values, weight, *geometry, int(groups))

    module.conv = conv


def _put_and_wake(port: Any, requests: Any) -> None:
    """A port's thread: take messages in, and wake whoever waits for one.

    lava-nc 0.10.0 wakes only if its port was empty before the message. Between that look and the
    message the port's owner may take the one before, find nothing more and wait: for ever. Two
    messages wait where a run ends and the next begins, so it was long generations that stopped.
    """
    try:
        while requests.acquire() and not port._done:
            port._queue.put_nowait(0)
            observer = port.observer  # its owner may take it away meanwhile
            if observer:
                observer()
    except EOFError:
        pass


def _reshape(values: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return np.reshape(values, shape)


def _int_of_one(value: Any) -> int:
    """``int(value)``, of an array of one element too, which numpy 2.4 refuses."""
    return int(np.asarray(value).reshape(-1)[0])


@cache
def import_lava_dl(module: str) -> Any:
    """A module of lava-dl, for example ``lava.lib.dl.netx.hdf5``.

    lava-dl's SLAYER imports its object detection package only to offer it, and with it torchvision
    and OpenCV; an empty module in its place spares both. Raises ``Unavailable``.
    """
    prepare_lava()
    if importlib.util.find_spec("lava.lib") is None or not importlib.util.find_spec("lava.lib.dl"):
        raise Unavailable("lava-dl is not installed.", ["import lava.lib.dl"], INSTALL_ADVICE)
    unneeded = "lava.lib.dl.slayer.object_detection"
    sys.modules.setdefault(unneeded, types.ModuleType(unneeded))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found: Any = importlib.import_module(module)
        except ImportError as error:
            raise Unavailable(
                f"lava-dl is installed but {module} cannot be imported: {error}.",
                advice=INSTALL_ADVICE,
            ) from error
    if module == "lava.lib.dl.netx.hdf5":
        found.int = _int_of_one
        prepare_convolutions()
    return found
