"""Run the application until it is told to end, and end it without leaving anything behind."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.serving.app import make_app
from spikegpt_neuro.serving.engine import Engine
from spikegpt_neuro.serving.service import Service

_LINGER = 5
"""Seconds connections have beyond the streams' own to take their last bytes."""
_RETRY = "_start_serving"
"""asyncio's call that listens again a second after a connection found no descriptor."""
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hosts_of(host: str) -> Collection[str] | None:
    """Names a request may be for; None (any) where other machines are meant to reach it."""
    return {"127.0.0.1", "localhost", "[::1]", host.lower()} if is_loopback(host) else None


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InputError where the address cannot be had."""
    if not 0 <= port <= 65535:
        raise InputError(f"port {port}; allowed 0 (any free one) to 65535.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host} port {port}: {error.strerror or error}.",
            advice="Name another --port (0: any free one), or end what listens there.",
        ) from error


class _Server(uvicorn.Server):
    """Ends streams, too: ``grace`` seconds after the first signal, at once after the second."""

    def __init__(
        self, config: uvicorn.Config, engine: Engine, grace: float, ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._engine = engine
        self._grace = grace
        self._ready = ready
        self._signals = 0
        self._told = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn does, but a server that ended in order ends with exit code 0."""
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Only notes it: the thread that is interrupted may hold the engine's lock."""
        self.should_exit = True
        self._signals += 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so once requests are answered."""
        asyncio.get_running_loop().set_exception_handler(self._on_error)
        await super().startup(sockets)
        self._ready()

    def _on_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Where the system has no descriptor for a connection, asyncio tries again every second."""
        error = context.get("exception")
        if self.should_exit and isinstance(error, ValueError) and _RETRY in context["message"]:
            return  # the listening socket was closed before it was tried again
        if not isinstance(error, OSError) or error.errno not in _EXHAUSTED:
            loop.default_exception_handler(context)
        elif not self._told:
            self._told = True
            logging.getLogger("uvicorn.error").warning(
                "%s: new connections wait until others end.", error.strerror
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain the engine while connections end."""
        self._engine.drain(self._grace)
        hurrying = asyncio.create_task(self._hurry())
        await super().shutdown(sockets)
        hurrying.cancel()

    async def _hurry(self) -> None:
        while self._signals < 2:
            await asyncio.sleep(0.1)
        self._engine.drain(0.0)


def serve(
    service: Service, listening: socket.socket, host: str, *, grace: float,
    ready: Callable[[str], None],
) -> None:  # fmt: skip
    """Serve until SIGTERM or Ctrl-C. ``ready`` is told the URL once requests can come.

    Then: no new connection, waiting requests are refused, streams may finish for ``grace`` seconds
    and are told that the server ends otherwise; sessions stand after their last whole answer.
    """
    if not grace >= 0:
        raise InputError(f"{grace} seconds of grace; 0 or more are needed.")
    app = make_app(service, hosts=hosts_of(host))
    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", loop="asyncio", log_level="warning",
        access_log=False, server_header=False, timeout_keep_alive=30,
        timeout_graceful_shutdown=int(grace) + _LINGER,
    )  # fmt: skip
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{listening.getsockname()[1]}"
    try:
        _Server(config, service.engine, grace, lambda: ready(url)).run(sockets=[listening])
    finally:
        service.engine.close()
        listening.close()
