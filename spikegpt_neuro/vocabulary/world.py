"""RWKV's World vocabulary: tokens are strings of bytes, and a text is cut into the longest ones.

Its file has a line a token: the id, a Python literal of the token (text or bytes), and its length
in bytes, as in ``257 '\t\t' 2``. Source: BlinkDL, RWKV-LM, ``rwkv_vocab_v20230424.txt``.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping

import numpy as np

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.vocabulary.base import (
    LARGEST_NUMBER_OF_TOKENS,
    DecodingStream,
    Tokens,
    Vocabulary,
    unknown_characters,
)

_LITERAL = r"""b?'(?:[^'\\]|\\.)*'|b?"(?:[^"\\]|\\.)*\""""
LINE = re.compile(rf"([0-9]{{1,8}}) ({_LITERAL}) ([0-9]{{1,4}})")
KEY = "rwkv-world"
"""The one key of a World vocabulary's JSON: ids -> bytes, each written as the character of its
number."""
_LONGEST_LINE = 1 << 16
_LISTED = 20


class _WorldStream(DecodingStream):
    def __init__(self, vocabulary: WorldVocabulary) -> None:
        self._vocabulary = vocabulary

    def push(self, token: int) -> bytes:
        return self._vocabulary.tokens.get(self._vocabulary.check_token(token), b"")


class WorldVocabulary(Vocabulary):
    """Tokens of bytes by id. From the left, the longest token that the text goes on with is taken.

    Ids without a token (0 ends a text) are never read from one, and stand for nothing.
    """

    kind = "world"

    def __init__(self, tokens: Mapping[int, bytes], sha256: str = "") -> None:
        self.tokens = dict(tokens)
        self.size = max(self.tokens, default=-1) + 1
        if not 0 < self.size <= LARGEST_NUMBER_OF_TOKENS:
            raise InputError(
                f"the vocabulary has ids up to {self.size - 1}, which cannot be right."
            )
        self.text = json.dumps({KEY: {str(i): t.decode("latin-1") for i, t in tokens.items()}})
        self.sha256 = sha256 or hashlib.sha256(self.text.encode("ascii")).hexdigest()
        self._ids = {token: i for i, token in self.tokens.items()}
        # by the first two bytes, the lengths to try, longest first
        self._lengths: dict[bytes, list[int]] = {}
        for token in sorted(self._ids, key=len, reverse=True):
            lengths = self._lengths.setdefault(token[:2], [])
            if len(token) not in lengths:
                lengths.append(len(token))

    def _cut(self, content: bytes) -> Iterator[tuple[int, int]]:
        """Id and end of each token; id -1 of a byte that no token begins with."""
        begin, ids, every = 0, self._ids, self._lengths
        while begin < len(content):
            for length in (*every.get(content[begin : begin + 2], ()), 1):
                found = ids.get(content[begin : begin + length])
                if found is not None:
                    break
            else:
                found, length = -1, 1
            begin += length
            yield found, begin

    def encode(self, text: str) -> Tokens:
        """See ``Vocabulary.encode``."""
        content = text.encode("utf-8", "surrogatepass")
        found = list(self._cut(content))
        unknown = [end - 1 for token, end in found if token < 0]
        if unknown:
            characters = _characters(text)
            raise unknown_characters(text, [int(characters[at + 1]) - 1 for at in unknown])
        return np.array([token for token, _ in found], np.int64)

    def _ends(self, text: str, tokens: Tokens) -> Tokens:
        sizes = np.array([len(self.tokens[int(token)]) for token in tokens], np.int64)
        return _characters(text)[np.cumsum(sizes)]

    def stream(self) -> DecodingStream:
        """See ``Vocabulary.stream``."""
        return _WorldStream(self)


def _characters(text: str) -> Tokens:
    """Characters of the text that begin before each byte of it, and behind the last [bytes + 1]."""
    content = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    begins = (content & 0xC0) != 0x80
    return np.concatenate(([0], np.cumsum(begins))).astype(np.int64)


def is_world(text: str) -> bool:
    """Whether a text is a World vocabulary's file."""
    return bool(LINE.fullmatch(text.split("\n", 1)[0].rstrip("\r")))


def parse_world(text: str, origin: str, sha256: str) -> WorldVocabulary:
    """Read the file. Raises ``InputError`` listing its problems."""
    tokens: dict[int, bytes] = {}
    seen: dict[bytes, int] = {}
    problems = []
    for number, ended in enumerate(text.split("\n"), 1):
        line = ended.rstrip("\r")
        if not line:
            continue
        found = LINE.fullmatch(line) if len(line) <= _LONGEST_LINE else None
        try:
            value = ast.literal_eval(found[2]) if found else None
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            value = None
        if found is None or not value:
            problems.append(f"line {number}: {line[:40]!r}, must be an id, a token and its length")
            continue
        token = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        index = int(found[1])
        if len(token) != int(found[3]):
            problems.append(f"line {number}: the token has {len(token)} bytes, not {found[3]}")
        if index in tokens or token in seen:
            problems.append(f"line {number}: {'id' if index in tokens else 'token'} occurs twice")
        tokens[index] = token
        seen[token] = index
    if problems:
        more = [f"and {len(problems) - _LISTED} more"] if len(problems) > _LISTED else []
        raise InputError(
            f"{origin} is not an RWKV World vocabulary ({len(problems)} problems):",
            problems[:_LISTED] + more,
        )
    return WorldVocabulary(tokens, sha256)


def from_json(values: object, origin: str, sha256: str) -> WorldVocabulary:
    """The vocabulary from its JSON, ``KEY``'s value. Raises ``InputError``."""
    if not isinstance(values, dict) or not all(
        isinstance(text, str) and text and max(text) < "\u0100" and re.fullmatch(r"\d{1,8}", key)
        for key, text in values.items()
    ):
        raise InputError(f"{origin} is not an RWKV World vocabulary: ids and bytes.")
    return WorldVocabulary({int(k): text.encode("latin-1") for k, text in values.items()}, sha256)
