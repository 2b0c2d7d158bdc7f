"""From a checked request to orders for the engine, and from its events to chunks or an answer."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from spikegpt_neuro.errors import NO_MEMORY, InputError, lacks_memory
from spikegpt_neuro.generation import SavedState
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.sampling import Sampler
from spikegpt_neuro.sampling_settings import SamplingSettings
from spikegpt_neuro.serving.answers import Answer
from spikegpt_neuro.serving.engine import GONE, Busy, Closed, Engine, Ticket
from spikegpt_neuro.serving.refusals import Refused
from spikegpt_neuro.serving.requests import (
    CHAT_STOP,
    ChatRequest,
    CompletionRequest,
    Tokens,
    chat_text,
)
from spikegpt_neuro.serving.sessions import SessionError, Sessions
from spikegpt_neuro.serving.streams import End, Event, Failure, Order, Piece
from spikegpt_neuro.serving.usage import Usage
from spikegpt_neuro.vocabulary import Vocabulary

CHAT_TOKENS = 256
"""Tokens of a chat's answer at most, where the request does not say."""
_SEEDS = 1 << 64
Disconnected = Callable[[], Awaitable[None]]
"""Waits until the client has gone away."""


@dataclass
class Work:
    """A request that was checked: its orders and the answer they become."""

    orders: list[Order]
    answer: Answer
    prompt_tokens: int
    session: str | None = None
    with_usage: bool = True
    ends: dict[int, End] = field(default_factory=dict)


class Service:
    """One network as a model of that name; see ``docs/serve.md`` for what it answers."""

    def __init__(
        self, name: str, network: LanguageModel, vocabulary: Vocabulary, engine: Engine,
        sessions: Sessions, usage: Usage, *, most_tokens: int,
    ) -> None:  # fmt: skip
        if most_tokens < 1:
            raise InputError(f"at most {most_tokens} tokens a request; at least 1 is needed.")
        self.name = name
        self.network = network
        self.engine = engine
        self.sessions = sessions
        self.most_tokens = most_tokens
        self._vocabulary = vocabulary
        self._usage = usage

    async def completion(self, body: CompletionRequest) -> Work:
        """Orders of a completion. Raises Refused; takes its session into use."""
        if body.best_of not in (None, body.n):
            raise Refused(400, "best_of: only as many as n.", param="best_of")
        prompts = [self._tokens(prompt) for prompt in body.prompts]
        if not prompts:
            raise Refused(400, "prompt: the list is empty.", param="prompt")
        name = body.session
        if name is not None and (len(prompts) > 1 or body.n > 1):
            raise Refused(
                400, "session: one prompt and n = 1 at a time; a session goes on in one way.",
                param="session",
            )  # fmt: skip
        self._check_request(body, prompts, body.max_tokens)
        saved = None if name is None else await self._begin(name)
        try:
            top = body.logprobs
            return self._work(
                body, prompts, body.max_tokens, stops=body.stops, top=top, chat=False,
                echo=body.echo, session=name, saved=saved,
            )  # fmt: skip
        except BaseException:
            if name is not None:
                self.sessions.abandon(name)
            raise

    async def chat(self, body: ChatRequest) -> Work:
        """Orders of a turn of a conversation. Raises Refused."""
        counts = {body.max_tokens, body.max_completion_tokens} - {None}
        if len(counts) > 1:
            raise Refused(
                400, "max_tokens and max_completion_tokens differ; give one.", param="max_tokens"
            )
        if body.top_logprobs is not None and not body.logprobs:
            raise Refused(400, "top_logprobs: needs logprobs.", param="top_logprobs")
        prompt = self._tokens(chat_text(body.messages), "messages")
        left = self.most_tokens - len(prompt)
        count = next(iter(counts), None)
        if count is None:
            count = max(1, min(CHAT_TOKENS, left))
        self._check_request(body, [prompt], count)
        return self._work(
            body, [prompt], count, stops=(*body.stops, CHAT_STOP),
            top=(body.top_logprobs or 0) if body.logprobs else None, chat=True,
        )  # fmt: skip

    def _tokens(self, prompt: str | Tokens, param: str = "prompt") -> Tokens:
        try:
            if isinstance(prompt, str):
                return self._vocabulary.encode(prompt).tolist()
            return [self._vocabulary.check_token(token) for token in prompt]
        except InputError as error:
            raise Refused(400, f"{param}: {error}", param=param) from error

    def _check_request(
        self, body: CompletionRequest | ChatRequest, prompts: Sequence[Tokens], count: int
    ) -> None:
        if body.model != self.name:
            raise Refused(
                404, f"there is no model {body.model[:80]!r} here; {self.name!r} is.",
                param="model", code="model_not_found",
            )  # fmt: skip
        longest = max(map(len, prompts))
        if longest + count > self.most_tokens:
            raise Refused(
                400,
                f"{longest} tokens of prompt and {count} to generate are {longest + count}; this "
                f"server allows {self.most_tokens} together.",
                param="max_tokens", code="context_length_exceeded",
            )  # fmt: skip
        if len(prompts) * body.n > self.engine.most_streams:
            raise Refused(
                400,
                f"{len(prompts)} prompts x {body.n} choices; this server takes "
                f"{self.engine.most_streams} in one request at most.",
                param="n",
            )

    async def _begin(self, name: str) -> SavedState | None:
        try:
            return await asyncio.to_thread(self.sessions.begin, name)
        except SessionError as error:
            raise Refused(error.status, str(error), param="session") from error

    def _work(
        self, body: CompletionRequest | ChatRequest, prompts: Sequence[Tokens], count: int, *,
        stops: tuple[str, ...], top: int | None, chat: bool, echo: bool = False,
        session: str | None = None, saved: SavedState | None = None,
    ) -> Work:  # fmt: skip
        drawn = secrets.randbits(53) if body.seed is None and saved is None else None
        seed = body.seed if body.seed is not None else drawn
        orders = []
        try:
            for prompt in prompts:
                for choice in range(body.n):
                    settings = SamplingSettings(
                        body.temperature, body.top_p, body.top_k, body.presence_penalty,
                        body.frequency_penalty, ((seed or 0) + choice) % _SEEDS,
                    )  # fmt: skip
                    sampler = self._sampler(settings, saved, keeps_random=seed is None)
                    scores = echo and top is not None
                    orders.append(Order(prompt, count, sampler, stops, top, scores, saved))
        except InputError as error:
            raise Refused(400, str(error)) from error
        told = None
        if session is not None:
            before = 0 if saved is None else saved.tokens_seen
            told = {"id": session, "resumed": saved is not None, "tokens_before": before}
        answer = Answer(
            self.name, f"sha256-{self.engine.digest[:16]}", self._vocabulary,
            [order.tokens for order in orders], seed, echo, chat, top is not None, told,
        )  # fmt: skip
        wanted = body.stream_options.include_usage if body.stream else True
        return Work(orders, answer, sum(map(len, prompts)), session, wanted)

    def _sampler(
        self, settings: SamplingSettings, saved: SavedState | None, *, keeps_random: bool
    ) -> Sampler:
        """As ``simulate --state``: what was chosen counts on, a given seed starts afresh."""
        sampler = Sampler(settings, self.network.logit_scale, self._vocabulary.size)
        if saved is not None:
            state = dict(saved.sampler)
            if not keeps_random:
                state["random"] = sampler.state["random"]
            sampler.state = state
        return sampler

    def submit(self, work: Work) -> tuple[Ticket, asyncio.Queue[tuple[int, Event]]]:
        """Give the orders to the engine. Raises Refused."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()

        def deliver(index: int, event: Event) -> None:
            # once the loop is closed nobody waits for the event
            if not loop.is_closed():
                loop.call_soon_threadsafe(events.put_nowait, (index, event))

        try:
            return self.engine.submit(work.orders, deliver), events
        except Busy as error:
            self.release(work)
            raise Refused(
                429, f"{error} Try again in {error.retry_after} s.", code="queue_full",
                headers={"Retry-After": str(error.retry_after)},
            ) from error  # fmt: skip
        except Closed as error:
            self.release(work)
            raise Refused(503, str(error), headers={"Retry-After": "5"}) from error

    def release(self, work: Work) -> None:
        """The request is over. Its session, if it was not kept, stands where it stood."""
        name, work.session = work.session, None  # from now on it may be another request's
        if name is not None:
            self.sessions.abandon(name)

    def end(self, work: Work, ticket: Ticket) -> None:
        """Whatever ended the request, no stream of it stays behind, and its session is free."""
        ticket.abandon()
        self.release(work)

    async def events(
        self, work: Work, ticket: Ticket, queue: asyncio.Queue[tuple[int, Event]],
        disconnected: Disconnected,
    ) -> AsyncIterator[tuple[int, Event]]:  # fmt: skip
        """All events of the streams, until the last has ended. Raises Refused where one fails.

        ``end`` is called however this ends.
        """

        async def watch() -> None:
            await disconnected()
            queue.put_nowait((0, Failure("the client went away.", GONE)))

        watching = asyncio.create_task(watch())
        try:
            while len(work.ends) < len(work.orders):
                index, event = await queue.get()
                if isinstance(event, Failure):
                    raise Refused(event.status, event.message)
                if isinstance(event, End):
                    work.ends[index] = event
                    await self._keep(work, event)
                yield index, event
        finally:
            watching.cancel()
            self.end(work, ticket)

    async def _keep(self, work: Work, end: End) -> None:
        if work.session is None:
            return
        try:
            await asyncio.to_thread(self.sessions.finish, work.session, end.left)
        except (OSError, InputError) as error:
            message = f"session {work.session!r} could not be saved: {error}"
            raise Refused(500, message) from error
        finally:
            work.session = None  # it is free

    async def usage(self, work: Work) -> dict[str, Any]:
        """See ``Usage.of``."""
        ends = [work.ends[index] for index in sorted(work.ends)]
        return await asyncio.to_thread(self._usage.of, ends, work.prompt_tokens)

    async def whole(self, work: Work, disconnected: Disconnected) -> dict[str, Any]:
        """The answer in one piece. Raises Refused."""
        ticket, queue = self.submit(work)
        pieces: list[list[Piece]] = [[] for _ in work.orders]
        async for index, event in self.events(work, ticket, queue, disconnected):
            if isinstance(event, Piece):
                pieces[index].append(event)
        found = work.answer.envelope(chunk=False)
        found["choices"] = [
            work.answer.whole(index, pieces[index], work.ends[index].reason)
            for index in range(len(work.orders))
        ]
        found["usage"] = await self.usage(work)
        return found

    def chunks(
        self, work: Work, disconnected: Disconnected
    ) -> tuple[AsyncIterator[str], Callable[[], None]]:
        """The answer as server-sent events, and what must be called if nobody takes the first.

        Raises Refused at once where it is not taken.
        """
        ticket, queue = self.submit(work)
        return self._chunks(work, ticket, queue, disconnected), partial(self.end, work, ticket)

    async def _chunks(
        self, work: Work, ticket: Ticket, queue: asyncio.Queue[tuple[int, Event]],
        disconnected: Disconnected,
    ) -> AsyncIterator[str]:  # fmt: skip
        answer = work.answer
        outer = answer.envelope(chunk=True)

        def chunk(choices: Sequence[dict[str, Any]], **more: Any) -> str:
            return server_sent({**outer, "choices": list(choices), **more})

        events = self.events(work, ticket, queue, disconnected)
        try:
            for index in range(len(work.orders)):
                if first := answer.first(index):
                    yield chunk(first)
            async for index, event in events:
                if isinstance(event, Piece) and (event.text or event.scored):
                    yield chunk([answer.piece(index, event)])
                elif isinstance(event, End):
                    yield chunk([answer.last(index, event.reason)])
            if work.with_usage:
                yield chunk([], usage=await self.usage(work))
            yield "data: [DONE]\n\n"
        except Refused as refused:
            yield server_sent(refused.body())
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            yield server_sent(Refused(503, NO_MEMORY).body())
        finally:
            await events.aclose()  # type: ignore[attr-defined]


def server_sent(value: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, allow_nan=False)}\n\n"
