"""What may be asked: OpenAI's parameters that mean something here; every other one is refused."""

# pydantic reads these annotations when the module is imported, so nothing here is imported lazily

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_CHOICES = 128
Seed = Annotated[int, Field(ge=0, lt=1 << 64)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]
Tokens = list[int]


class _Strict(BaseModel):
    """No unknown keys, no conversions, no infinities; null means not given."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {key: value for key, value in values.items() if value is not None}
        return values


class StreamOptions(_Strict):
    """``include_usage``: a last chunk with ``usage``."""

    include_usage: bool = False


class _Request(_Strict):
    """What completions and chat have in common."""

    model: str
    n: int = Field(1, ge=1, le=MOST_CHOICES, description="Choices a prompt; choice i: seed + i.")
    temperature: float = Field(1.0, description="0: greedy and exact. 1: as trained.")
    top_p: float = 1.0
    top_k: int = Field(0, description="Choose among so many at most; 0: all. Not OpenAI's.")
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: Seed | None = Field(None, description="Not given: drawn, and told in the answer.")
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] = Field(default_factory=list)
    stream: bool = False
    stream_options: StreamOptions = Field(default_factory=StreamOptions)
    user: str | None = Field(None, description="Read and ignored: it changes no result.")
    metadata: dict[str, str] | None = Field(None, description="Read and ignored.")

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end a choice."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class CompletionRequest(_Request):
    """``POST /v1/completions``."""

    prompt: str | list[str] | Tokens | list[Tokens] = ""
    max_tokens: int = Field(16, ge=0)
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=5)
    best_of: int | None = Field(None, description="Only as many as n.")
    session: str | None = Field(None, description="Go on from this session and keep it. Ours.")

    @property
    def prompts(self) -> list[str | Tokens]:
        """Each text or list of tokens to go on from."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [prompt for prompt in self.prompt if not isinstance(prompt, int)]


class TextPart(_Strict):
    """A part of a message; only texts are known."""

    type: Literal["text"]
    text: str


class Message(_Strict):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = Field(None, description="Read and ignored: the template has no names.")

    @property
    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ResponseFormat(_Strict):
    """Only plain text is known."""

    type: Literal["text"]


class ChatRequest(_Request):
    """``POST /v1/chat/completions``."""

    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None


_TITLES = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant"}
CHAT_STOP = "\nUser:"
"""Where a base model begins to write the user's next turn."""


def chat_text(messages: list[Message]) -> str:
    """The conversation as a text a base model can go on with.

    ``System: ...``, ``User: ...`` and ``Assistant: ...``, an empty line after each, and at the end
    ``Assistant:``.
    """
    turns = [f"{_TITLES[message.role]}: {message.text}\n\n" for message in messages]
    return "".join(turns) + "Assistant:"
