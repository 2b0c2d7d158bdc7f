"""Sessions: where named conversations stand, a bounded number of them, on disk if wanted."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from threading import RLock
from typing import Concatenate, ParamSpec, TypeVar

from spikegpt_neuro.errors import InputError, SpikeGPTNeuroError
from spikegpt_neuro.generation import SavedState, load_state, save_state
from spikegpt_neuro.network import Network

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
REMEMBERED = 1 << 16
"""Names of dropped sessions that are remembered, so that nobody goes on from the start unawares."""


class SessionError(SpikeGPTNeuroError):
    """A session cannot be used: ``status`` is HTTP's (404 unknown, 409 in use, 410 dropped)."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _locked(
    method: Callable[Concatenate[Sessions, _P], _R],
) -> Callable[Concatenate[Sessions, _P], _R]:
    """One thread at a time: requests read and write files beside the event loop."""

    @wraps(method)
    def run(self: Sessions, /, *arguments: _P.args, **options: _P.kwargs) -> _R:
        with self._lock:
            return method(self, *arguments, **options)

    return run


@dataclass
class _Kept:
    """``saved`` None: it is in its file."""

    saved: SavedState | None
    used: float


class Sessions:
    """At most ``limit`` sessions that are not in use; the one unused for longest goes first.

    One unused for ``idle_seconds`` goes too. ``folder``: each is also a state file there, as
    ``simulate --state`` reads and writes them, and a later server goes on from them. A session that
    goes takes its file with it.
    """

    def __init__(
        self, network: Network, limit: int, *, idle_seconds: float, folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        if limit < 0:
            raise InputError(f"{limit} sessions; allowed 0 (none is kept) or more.")
        if not idle_seconds > 0:
            raise InputError(f"sessions kept for {idle_seconds} seconds; more than 0 is needed.")
        self._network = network
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._folder = folder
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._in_use: set[str] = set()
        self._dropped: OrderedDict[str, None] = OrderedDict()
        self.evictions = 0
        self._lock = RLock()
        if folder is not None:
            self._find_files(folder)

    def _find_files(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder.", advice="Create it for the sessions.")
        files = [path for path in folder.glob("*.npz") if NAME.fullmatch(path.stem)]
        if len(files) > self._limit:
            raise InputError(
                f"{folder} holds {len(files)} sessions, and {self._limit} may be kept.",
                advice="Raise --sessions, or move some files away.",
            )
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
            self._kept[path.stem] = _Kept(None, self._clock())

    def __len__(self) -> int:
        return len(self._kept)

    @_locked
    def begin(self, name: str) -> SavedState | None:
        """Take a session into use; None where it is a new one. Raises SessionError.

        ``finish`` or ``abandon`` must follow.
        """
        if not NAME.fullmatch(name):
            raise SessionError(
                f"session {name[:80]!r} is no name for one: 1 to 64 of A-Z a-z 0-9 _ -, the first "
                "a letter or digit.",
                400,
            )
        if self._limit == 0:
            raise SessionError("this server keeps no sessions (--sessions 0).", 400)
        self._check_free(name)
        self.expire()
        if name in self._dropped:
            raise self._gone(name)
        kept = self._kept.get(name)
        saved = None
        if kept is not None:
            saved = kept.saved
            if saved is None:
                saved = self._read(name)
        self._in_use.add(name)
        return saved

    def _read(self, name: str) -> SavedState:
        try:
            return load_state(self._path(name), self._network)
        except (InputError, OSError) as error:
            raise SessionError(f"session {name!r} cannot be read: {error}", 409) from error

    def _check_free(self, name: str) -> None:
        if name in self._in_use:
            raise SessionError(
                f"session {name!r} is in use by another request; wait for its end.", 409
            )

    def _gone(self, name: str) -> SessionError:
        return SessionError(
            f"session {name!r} was dropped: unused for longer than {self._idle_seconds:g} seconds, "
            f"or the one unused for longest of more than {self._limit}. Its state is lost; delete "
            "the session to use its name again, and send the whole text.",
            410,
        )

    @_locked
    def finish(self, name: str, saved: SavedState) -> None:
        """The session stands at ``saved`` now; written to its file first, if it has one."""
        try:
            if self._folder is not None:
                save_state(self._path(name), saved)
            self._kept.pop(name, None)
            self._kept[name] = _Kept(saved, self._clock())
        finally:
            self.abandon(name)
        self.expire()

    @_locked
    def abandon(self, name: str) -> None:
        """The session stands where it stood before ``begin``."""
        self._in_use.discard(name)

    @_locked
    def forget(self, name: str) -> None:
        """Delete a session, or the memory of a dropped one. Raises SessionError."""
        self._check_free(name)
        if name in self._dropped:
            del self._dropped[name]
        elif name in self._kept:
            self._remove(name)
        else:
            raise SessionError(f"there is no session {name[:80]!r}.", 404)

    @_locked
    def tokens_seen(self, name: str) -> int | None:
        """Tokens a session has read; None where its file was not opened yet, or SessionError."""
        self.expire()
        if name in self._dropped:
            raise self._gone(name)
        if name not in self._kept:
            raise SessionError(f"there is no session {name[:80]!r}.", 404)
        saved = self._kept[name].saved
        return None if saved is None else saved.tokens_seen

    @_locked
    def expire(self) -> None:
        """Drop what is idle for too long, or too many."""
        now = self._clock()
        for name, kept in list(self._kept.items()):
            over = len(self._kept) > self._limit
            if name not in self._in_use and (over or now - kept.used > self._idle_seconds):
                self._remove(name)
                self.evictions += 1
                self._dropped[name] = None
                if len(self._dropped) > REMEMBERED:
                    self._dropped.popitem(last=False)

    def _remove(self, name: str) -> None:
        del self._kept[name]
        if self._folder is not None:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.npz"
