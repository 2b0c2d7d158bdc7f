"""The web application: OpenAI's paths, sessions, health, figures for Prometheus, and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from spikegpt_neuro.errors import NO_MEMORY, lacks_memory
from spikegpt_neuro.serving.limits import Limits
from spikegpt_neuro.serving.metrics import prometheus
from spikegpt_neuro.serving.refusals import Refused, error_body, invalid_request
from spikegpt_neuro.serving.requests import ChatRequest, CompletionRequest
from spikegpt_neuro.serving.service import Service, Work
from spikegpt_neuro.serving.sessions import SessionError
from spikegpt_neuro.version import __version__

_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The page may speak to this server and to nobody else, and no other page may frame it."""


class EventStream(Response):
    """Server-sent events; however it ends, ``chunks`` is closed and ``end`` called before."""

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncIterator[str], end: Callable[[], None]) -> None:
        super().__init__(headers={"Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._chunks = chunks
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send chunk by chunk."""
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            async for chunk in self._chunks:
                await send(
                    {"type": "http.response.body", "body": chunk.encode(), "more_body": True}
                )
            await send({"type": "http.response.body", "body": b""})
        finally:
            await self._chunks.aclose()  # type: ignore[attr-defined]
            self._end()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def make_app(service: Service, *, hosts: Collection[str] | None = None) -> FastAPI:
    """The application; ``hosts``: see ``Limits``."""
    app = FastAPI(title="spikegpt-neuro", version=__version__, docs_url=None, redoc_url=None)
    statuses: Counter[int] = Counter()
    app.add_middleware(Limits, hosts=hosts, statuses=statuses)
    _refuse_in_form(app)
    page = (files("spikegpt_neuro.serving") / "page.html").read_text(encoding="utf-8")
    model = {
        "id": service.name,
        "object": "model",
        "created": 0,
        "owned_by": "local",
        "max_tokens": service.most_tokens,
        "vocabulary_size": service.network.info.vocabulary_size,
    }

    async def answer(request: Request, work: Work, stream: bool) -> Response:
        disconnected = partial(_disconnected, request)
        if stream:
            return EventStream(*service.chunks(work, disconnected))
        return JSONResponse(await service.whole(work, disconnected))

    @app.post("/v1/completions", response_model=None)
    async def completions(request: Request, body: CompletionRequest) -> Response:
        """Go on from a text."""
        return await answer(request, await service.completion(body), body.stream)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(request: Request, body: ChatRequest) -> Response:
        """Go on from a conversation, written out as a text."""
        return await answer(request, await service.chat(body), body.stream)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model."""
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name}")
    async def one_model(name: str) -> dict[str, Any]:
        """The model, by its name."""
        if name != service.name:
            raise Refused(404, f"there is no model {name[:80]!r} here.", code="model_not_found")
        return model

    @app.get("/v1/sessions/{name}")
    def session(name: str) -> dict[str, Any]:
        """Whether a session is kept, and how much it has read."""
        return {
            "id": name, "object": "session", "tokens_seen": service.sessions.tokens_seen(name),
        }  # fmt: skip

    @app.delete("/v1/sessions/{name}")
    def forget(name: str) -> dict[str, Any]:
        """Forget a session."""
        service.sessions.forget(name)
        return {"id": name, "object": "session", "deleted": True}

    @app.get("/health", response_model=None)
    async def health() -> Response:
        """200 while the engine works."""
        if service.engine.failure:
            return JSONResponse({"status": "failed", "why": service.engine.failure}, 503)
        return JSONResponse({"status": "ok", "model": service.name})

    @app.get("/metrics", response_model=None)
    async def metrics() -> Response:
        """Figures in Prometheus' text format."""
        text = prometheus(service.engine.load, service.sessions, statuses)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    @app.get("/", response_model=None)
    async def root() -> Response:
        """A page to type into."""
        return HTMLResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY})

    return app


def _refuse_in_form(app: FastAPI) -> None:
    """Every error leaves in OpenAI's form."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return JSONResponse(error.body(), error.status, error.headers)

    @app.exception_handler(SessionError)
    async def session_error(request: Request, error: SessionError) -> Response:
        return JSONResponse(error_body(error.status, str(error), param="session"), error.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        chat = request.url.path.endswith("/chat/completions")
        fields = (ChatRequest if chat else CompletionRequest).model_fields
        found = invalid_request(error.errors(), tuple(fields))
        return JSONResponse(found.body(), found.status)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, Refused):  # raised while the body was read
            return await refused(request, error.__cause__)
        message = f"{error.detail}: {request.method} {request.url.path[:200]}"
        if error.status_code == 400:
            message = "The body must be one JSON object."
        return JSONResponse(
            error_body(error.status_code, message), error.status_code, error.headers
        )

    @app.exception_handler(MemoryError)
    @app.exception_handler(RuntimeError)  # a thread that the system did not start
    async def short(request: Request, error: Exception) -> Response:
        if not lacks_memory(error):
            raise error
        return await refused(request, Refused(503, NO_MEMORY, headers={"Retry-After": "5"}))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        # the server's log has the traceback
        return JSONResponse(error_body(500, "The server failed at this request."), 500)
