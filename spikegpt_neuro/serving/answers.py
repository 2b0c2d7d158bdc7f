"""Answers in OpenAI's form: whole, or chunk by chunk."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from spikegpt_neuro.serving.streams import Piece, Scored
from spikegpt_neuro.vocabulary import Vocabulary


@dataclass
class Answer:
    """What all chunks of one answer, or the whole of it, say.

    ``prompts``: tokens of each choice's prompt. ``seed``: of the first choice.
    """

    model: str
    fingerprint: str
    vocabulary: Vocabulary
    prompts: Sequence[Sequence[int]]
    seed: int | None
    echo: bool = False
    chat: bool = False
    wants_logprobs: bool = False
    session: dict[str, Any] | None = None
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self._echoes = [self._echo(prompt) if self.echo else ("", []) for prompt in self.prompts]
        self._scored_prompt = [0] * len(self.prompts)

    def _echo(self, prompt: Sequence[int]) -> tuple[str, list[int]]:
        """A prompt's text and where in it each of its tokens begins."""
        stream = self.vocabulary.stream()
        content, ends = b"", [0]
        for token in prompt:
            content += stream.push(token)
            ends.append(len(content.decode("utf-8", "ignore")))
        content += stream.finish()
        return content.decode("utf-8", "replace"), ends[:-1]

    def envelope(self, *, chunk: bool) -> dict[str, Any]:
        """The outer object, without choices."""
        kind = "text_completion"
        if self.chat:
            kind = "chat.completion.chunk" if chunk else "chat.completion"
        found: dict[str, Any] = {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.identity}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": [],
        }
        if self.seed is not None:
            found["seed"] = self.seed
        if self.session is not None:
            found["session"] = self.session
        return found

    def first(self, index: int) -> list[dict[str, Any]]:
        """Choices that open a stream of chunks: the echo, or the assistant's role."""
        if self.chat:
            delta = {"role": "assistant", "content": ""}
            return [{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}]
        return [self._text_choice(index, self._echoes[index][0], (), None)] if self.echo else []

    def piece(self, index: int, piece: Piece) -> dict[str, Any]:
        """A choice of a chunk."""
        if not self.chat:
            return self._text_choice(index, piece.text, piece.scored, None)
        return {
            "index": index,
            "delta": {"content": piece.text},
            "logprobs": self._chat_logprobs(piece.scored),
            "finish_reason": None,
        }

    def last(self, index: int, reason: str) -> dict[str, Any]:
        """The choice of the last chunk."""
        if not self.chat:
            return self._text_choice(index, "", (), reason)
        return {"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}

    def whole(self, index: int, pieces: Sequence[Piece], reason: str) -> dict[str, Any]:
        """A choice of an answer in one piece."""
        text = "".join(piece.text for piece in pieces)
        scored = tuple(s for piece in pieces for s in piece.scored)
        if not self.chat:
            return self._text_choice(index, self._echoes[index][0] + text, scored, reason)
        return {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": self._chat_logprobs(scored),
            "finish_reason": reason,
        }

    def _text_choice(
        self, index: int, text: str, scored: Sequence[Scored], reason: str | None
    ) -> dict[str, Any]:
        logprobs = self._logprobs(index, scored) if self.wants_logprobs and scored else None
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}

    def _token(self, token: int) -> str:
        return self.vocabulary.decode([token])

    def _logprobs(self, index: int, scored: Sequence[Scored]) -> dict[str, Any]:
        """As completions have them; offsets are those in ``text``."""
        echoed, begins = self._echoes[index]
        offsets = []
        for found in scored:
            done = self._scored_prompt[index]
            if done < len(begins):
                offsets.append(begins[done])
                self._scored_prompt[index] += 1
            else:
                offsets.append(len(echoed) + found.offset)
        return {
            "tokens": [self._token(found.token) for found in scored],
            "token_logprobs": [found.logprob for found in scored],
            "top_logprobs": [self._top(found) for found in scored],
            "text_offset": offsets,
        }

    def _top(self, scored: Scored) -> dict[str, float] | None:
        if scored.logprob is None:
            return None
        # the most probable last: it stands where two tokens have one text
        listed = {self._token(token): value for token, value in reversed(scored.top)}
        if scored.top:
            listed.setdefault(self._token(scored.token), scored.logprob)
        return listed

    def _chat_logprobs(self, scored: Sequence[Scored]) -> dict[str, Any] | None:
        if not self.wants_logprobs:
            return None

        def entry(token: int, value: float | None) -> dict[str, Any]:
            content = self.vocabulary.decode_bytes([token])
            text = content.decode("utf-8", "replace")
            return {"token": text, "logprob": value, "bytes": list(content)}

        content = [
            {**entry(s.token, s.logprob), "top_logprobs": [entry(*other) for other in s.top]}
            for s in scored
        ]
        return {"content": content, "refusal": None}
