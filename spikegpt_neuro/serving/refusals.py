"""What is refused, in OpenAI's form: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spikegpt_neuro.errors import SpikeGPTNeuroError

_TYPES = {
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}

_LISTED = 20
"""Parameters that one refusal names."""


class Refused(SpikeGPTNeuroError):
    """A request is answered with an HTTP ``status`` and a sentence.

    ``param``: the parameter at fault; ``code``: a word for programs.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        """The answer's JSON value."""
        return error_body(self.status, str(self), param=self.param, code=self.code)


def error_body(
    status: int, message: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error in OpenAI's form."""
    kind = _TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def invalid_request(errors: Sequence[Mapping[str, Any]], allowed: Sequence[str]) -> Refused:
    """One refusal of everything pydantic found; ``allowed``: parameters that are known."""
    found: dict[str, list[str]] = {}
    code = "invalid_value"
    for error in errors:
        place = [part for part in error["loc"] if part != "body"]
        if error["type"] == "json_invalid" or not place:
            detail = (error.get("ctx") or {}).get("error", "")
            return Refused(
                400,
                f"The body must be one JSON object, sent as application/json. {detail}".strip(),
                code="invalid_json",
            )
        # a key may hold half a surrogate pair, which is no text to send back
        name = str(place[0])[:80].encode("utf-8", "backslashreplace").decode()
        if error["type"] == "extra_forbidden" and len(place) == 1:
            code = "unknown_parameter"
            message = f"is not known here; known are {', '.join(sorted(allowed))}"
        elif error["type"] == "missing" and len(place) == 1:
            message = "is missing"
        else:
            inner = ".".join(str(part) for part in place[1:])
            message = f"{error['msg']}{f' ({inner})' if inner else ''}"
        found.setdefault(name, []).append(message)
    listed = list(found.items())[:_LISTED]
    sentences = [f"{name}: {'; '.join(dict.fromkeys(texts))}." for name, texts in listed]
    if len(found) > _LISTED:
        sentences.append(f"And {len(found) - _LISTED} more.")
    param = next(iter(found)) if len(found) == 1 else None
    return Refused(400, " ".join(sentences), param=param, code=code)
