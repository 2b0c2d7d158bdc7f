"""SpikeGPT's character vocabulary."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from spikegpt_neuro.vocabulary.base import DecodingStream, Tokens, Vocabulary, unknown_characters

LISTED = 20
"""Problems of one kind that are listed one by one."""
SPECIAL = re.compile(r"<\|?\w{1,40}\|?>|\[\w{1,40}\]")
"""How a token is written that stands for no text: ``<|unk|>``, ``<pad>``, ``[UNK]``."""


class _CharacterStream(DecodingStream):
    def __init__(self, vocabulary: CharacterVocabulary) -> None:
        self._vocabulary = vocabulary
        self._high = ""

    def push(self, token: int) -> bytes:
        text = self._high + self._vocabulary.characters[self._vocabulary.check_token(token)]
        self._high = ""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._high = text[:-1], text[-1]
        return _utf8(text)

    def finish(self) -> bytes:
        text, self._high = self._high, ""
        return _utf8(text)


def _utf8(text: str) -> bytes:
    """UTF-8 of text in which surrogates may stand alone: pairs are joined, halves are U+FFFD."""
    # by the functions: the first use of a codec's name imports it, which takes a file descriptor
    halves, _ = codecs.utf_16_le_encode(text, "surrogatepass")
    joined, _ = codecs.utf_16_le_decode(halves, "replace", True)
    return joined.encode("utf-8")


class CharacterVocabulary(Vocabulary):
    """SpikeGPT's character vocabulary: token i is ``characters[i]``.

    Where it lists halves of surrogate pairs, characters beyond U+FFFF are two tokens. Special
    tokens (``SPECIAL``) are written out where a model gives them, and never read from a text.
    """

    kind = "characters"

    def __init__(self, characters: Sequence[str], sha256: str = "") -> None:
        self.characters = tuple(characters)
        self.size = len(self.characters)
        self.text = json.dumps({str(i): c for i, c in enumerate(self.characters)})
        self.sha256 = sha256 or hashlib.sha256(self.text.encode("ascii")).hexdigest()
        self._ids = {character: i for i, character in enumerate(self.characters)}

    def encode(self, text: str) -> Tokens:
        """See ``Vocabulary.encode``."""
        ids = self._ids
        try:
            return np.array([ids[character] for character in text], np.int64)
        except KeyError:
            return self._encode_slowly(text)

    def _encode_slowly(self, text: str) -> Tokens:
        """As ``encode``, splitting characters into surrogates where needed."""
        found: list[int] = []
        unknown: list[int] = []
        for position, character in enumerate(text):
            units = [character]
            if character not in self._ids and ord(character) > 0xFFFF:
                pair = character.encode("utf-16-be")
                units = [chr(int.from_bytes(pair[i : i + 2], "big")) for i in (0, 2)]
            if all(unit in self._ids for unit in units):
                found += [self._ids[unit] for unit in units]
            else:
                unknown.append(position)
        if unknown:
            raise unknown_characters(text, unknown)
        return np.array(found, np.int64)

    def _ends(self, text: str, tokens: Tokens) -> Tokens:
        if tokens.size == len(text):
            return np.arange(1, len(text) + 1)
        # characters beyond U+FFFF may be two tokens, surrogates
        sizes = [len(self.encode(character)) for character in text]
        return np.repeat(np.arange(1, len(text) + 1), sizes)

    def stream(self) -> DecodingStream:
        """See ``Vocabulary.stream``."""
        return _CharacterStream(self)


def character_problems(values: dict[str, Any]) -> list[str]:
    """What of a JSON object is not token ids 0, 1, 2, ... each with one character, or special."""
    wrong = {key for key in values if not re.fullmatch(r"0|[1-9][0-9]{0,8}", key)}
    problems = [f"{key[:40]!r} is not a token id" for key in sorted(wrong)]
    ids = {int(key) for key in values if key not in wrong}
    gaps = sorted(set(range(len(values))) - ids)
    if gaps and not wrong:
        named = ", ".join(map(str, gaps[:LISTED])) + (", ..." if len(gaps) > LISTED else "")
        problems.append(f"{len(values)} tokens, but these ids are missing: {named}")
    seen: dict[str, str] = {}
    for key, value in values.items():
        special = isinstance(value, str) and SPECIAL.fullmatch(value)
        if not special and (not isinstance(value, str) or len(value) != 1):
            problems.append(f"token {key[:40]} is {str(value)[:40]!r}, must be one character")
        elif value in seen:
            problems.append(f"tokens {seen[value]} and {key[:40]} are both {value!r}")
        else:
            seen[value] = key[:40]
    return problems
