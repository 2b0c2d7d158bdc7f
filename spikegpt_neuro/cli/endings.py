"""How the program ends: exceptions and signals as one sentence and an exit code."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from spikegpt_neuro.errors import NO_MEMORY, SpikeGPTNeuroError, lacks_memory

INTERRUPTED, TERMINATED = 130, 143
_EXHAUSTED = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.EMFILE,
    errno.ENFILE, errno.ENOSYS,
}  # fmt: skip
"""What the machine lacks, whoever's file it was asked for."""
_SPARE = 32 << 20
"""Bytes without which it is no wonder that something broke."""
_AGAIN_SECONDS = 0.02
_terminated = False
_kept: list[Any] = []
"""C must find its callback for as long as the program runs."""


def prepare() -> None:
    """Standard streams that are there, SIGTERM as an interrupt, a sentence for a cut file."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # closed: nothing else may get its number
            null = os.open(os.devnull, os.O_WRONLY)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
        # unbuffered (PYTHONUNBUFFERED), Python drops what the system did not take at once
        if stream is None or isinstance(getattr(stream, "buffer", None), io.RawIOBase):
            encoding = "utf-8" if stream is None else stream.encoding
            errors = "strict" if stream is None else stream.errors
            whole = os.fdopen(descriptor, "w", 1, encoding, errors, closefd=False)
            setattr(sys, name, whole)
    with suppress(ValueError):  # not in the main thread: signals are the caller's
        signal.signal(signal.SIGTERM, _stop)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, _stop)
        sys.unraisablehook = _not_lost
    if sys.platform == "linux":
        callback = ctypes.CFUNCTYPE(None, ctypes.c_int)(_bus_error)
        _kept.append(callback)
        ctypes.CDLL(None).signal(signal.SIGBUS, callback)


class _Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM. Not ``KeyboardInterrupt`` itself: where a module is just being made by
    ``exec``, Python would end by SIGINT whatever became of it. Its argument is the signal."""


def _stop(number: int, frame: FrameType | None) -> None:
    """SIGTERM as Ctrl-C: what can be kept is kept, children are ended, temporary files removed."""
    global _terminated
    _terminated = _terminated or number == signal.SIGTERM
    raise _Stopped(number)


def _not_lost(stumbled: Any) -> None:
    """Where no exception gets out of, a callback from C or a finaliser, a signal comes again."""
    if isinstance(stumbled.exc_value, _Stopped):
        again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), *stumbled.exc_value.args))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(stumbled)


def _bus_error(number: int) -> None:
    """A page of a mapped file is not there: there is nothing to go on with."""
    os.write(2, b"error: a file became shorter while it was in use; run it again.\n")
    os._exit(1)


def interrupted() -> NoReturn:
    """After Ctrl-C or SIGTERM."""
    if _terminated:
        fail("terminated", TERMINATED)
    fail("interrupted", INTERRUPTED)


@contextmanager
def interrupts_between_steps() -> Iterator[Callable[[], bool]]:
    """Within, Ctrl-C and SIGTERM are only noted: the yielded function says whether one came.

    A second one interrupts at once, wherever it comes. Where signals are ignored, or are another
    thread's, nothing changes.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        global _terminated
        _terminated = _terminated or number == signal.SIGTERM
        if came:
            raise _Stopped(number)
        came.append(number)

    with suppress(ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for changed, handler in before.items():
            signal.signal(changed, handler)


def broken_pipe() -> NoReturn:
    """The reader went away (`| head`); nothing is left to tell it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(1)


def fail(message: str, exit_code: int) -> NoReturn:
    """Say what is wrong and end."""
    _flush("stdout", 1)
    with suppress(OSError):
        print(f"error: {message}", file=sys.stderr, flush=True)
    _flush("stderr", 2)
    # what is put away from here on can stumble over what broke: numpy's archive over a write that
    # had no memory, Dask over a cluster that did not start
    sys.unraisablehook = lambda stumbled: None
    _leave_signals()
    sys.exit(exit_code)


def _leave_signals() -> None:
    """From here on only Python puts its things away: a signal ends that at once and silently."""
    with suppress(ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is _stop:
                signal.signal(number, signal.SIG_DFL)


def _flush(name: str, descriptor: int) -> bool:
    """Whether what was written to a standard stream got there."""
    try:
        getattr(sys, name).flush()
    except OSError:
        with suppress(OSError):  # else Python tries again at its end, and makes it exit code 120
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        return False
    return True


def finish(*, succeeded: bool) -> None:
    """At the end of a command: if it succeeded, what it printed has arrived, or it has not."""
    if not _flush("stdout", 1) and succeeded:
        fail("standard output cannot be written: the result is not complete.", 3)
    _flush("stderr", 2)
    _leave_signals()


def told(error: BaseException) -> tuple[str, int] | None:
    """An exception as a sentence and an exit code; None: a fault of this program's."""
    if isinstance(error, SpikeGPTNeuroError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno is not None:
        reason = error.strerror or os.strerror(error.errno)
        if error.filename is not None:
            return f"{error.filename}: {reason}.", 3 if error.errno in _EXHAUSTED else 2
        if error.errno in _EXHAUSTED:
            return f"{reason}; the work could not go on.", 3
    if lacks_memory(error):
        return NO_MEMORY, 3
    if _memory_is_short():  # libraries then raise what they were never tested for
        return f"There is not enough memory for this ({type(error).__name__}: {error}).", 3
    return None


def _memory_is_short() -> bool:
    try:
        bytearray(_SPARE)
    except MemoryError:
        return True
    return False
