"""Around every request: whose host it names, how large and how slow it may be, how it ended."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spikegpt_neuro.serving.refusals import Refused

LARGEST_BODY = 1 << 20
"""Bytes of a request's body."""
CLIENT_SECONDS = 60.0
"""How long a client may take to send the next part of a body, or to take the next of an answer."""


class Limits:
    """ASGI middleware; ``hosts``: names a request may be for, None: any.

    A page of another site whose name was made to lead to this machine (DNS rebinding) names its own
    host, and is refused.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Collection[str] | None, statuses: Counter[int],
        largest_body: int = LARGEST_BODY, client_seconds: float = CLIENT_SECONDS,
    ) -> None:  # fmt: skip
        self._app = app
        self._hosts = hosts
        self._statuses = statuses
        self._largest_body = largest_body
        self._client_seconds = client_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application within the limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guard = _Guard(self._statuses, receive, send, self._largest_body, self._client_seconds)
        try:
            self._check(scope)
            await self._app(scope, guard.receive, guard.send)
        except Refused as refused:
            if not guard.began:
                await guard.refuse(refused)
        except TimeoutError:
            pass  # the client does not take its answer; the connection is closed

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self._hosts is not None and name.lower() not in self._hosts:
            raise Refused(
                421, f"this server is not {name[:80]!r}; it is {', '.join(sorted(self._hosts))}.",
                code="wrong_host",
            )  # fmt: skip
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._largest_body:
            raise _too_large(self._largest_body)


def _too_large(largest: int) -> Refused:
    return Refused(
        413, f"The body is larger than {largest} bytes.", code="body_too_large",
        headers={"Connection": "close"},
    )  # fmt: skip


class _Guard:
    """``receive`` and ``send`` of one request, watched."""

    def __init__(
        self, statuses: Counter[int], receive: Receive, send: Send, largest: int, seconds: float
    ) -> None:
        self._statuses = statuses
        self._receive = receive
        self._send = send
        self._largest = largest
        self._seconds = seconds
        self._bytes = 0
        self._read = False
        self.began = False

    async def receive(self) -> Message:
        """The next part of the body, in time and within the limit; later the client's going."""
        if self._read:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._seconds)
        except asyncio.TimeoutError as error:
            raise Refused(
                408, f"the body did not come within {self._seconds:g} seconds.",
                headers={"Connection": "close"},
            ) from error  # fmt: skip
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if self._bytes > self._largest:
                raise _too_large(self._largest)
            self._read = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer, if the client takes it in time."""
        if message["type"] == "http.response.start":
            self.began = True
            self._statuses[message["status"]] += 1
        try:
            await asyncio.wait_for(self._send(message), self._seconds)
        except asyncio.TimeoutError as error:
            raise TimeoutError("the client takes nothing") from error

    async def refuse(self, refused: Refused) -> None:
        """Answer in place of the application."""
        content = json.dumps(refused.body()).encode()
        headers: list[Any] = [(b"content-type", b"application/json")]
        headers += [(k.lower().encode(), v.encode()) for k, v in refused.headers.items()]
        headers.append((b"content-length", str(len(content)).encode()))
        await self.send(
            {"type": "http.response.start", "status": refused.status, "headers": headers}
        )
        await self.send({"type": "http.response.body", "body": content})
