"""What a vocabulary is: text to token ids and back, with a clear error where they do not match."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError

Tokens = npt.NDArray[np.int64]

LARGEST_NUMBER_OF_TOKENS = 1 << 24


class DecodingStream(ABC):
    """Token ids in, bytes of UTF-8 text out, as soon as they are certain."""

    @abstractmethod
    def push(self, token: int) -> bytes:
        """Bytes that this token completes; may be empty."""

    def finish(self) -> bytes:
        """What is left at the end."""
        return b""


@dataclass(frozen=True)
class EncodedText:
    """A text as tokens: ``tokens`` int64 [T]; ``ends`` int64 [T], characters of ``text`` that are
    behind one after each token, the whole text after the last.
    """

    text: str
    tokens: Tokens
    ends: Tokens

    @property
    def characters_per_token(self) -> float:
        """Characters of the text a predicted token stands for; the first token is given."""
        if self.tokens.size < 2:
            return 1.0
        return (len(self.text) - int(self.ends[0])) / (self.tokens.size - 1)


class Vocabulary(ABC):
    """A bijection between text and token ids, as good as the kind allows.

    ``text`` is its serialised form (JSON, encodable as UTF-8); ``sha256`` the hash of its file.
    """

    kind: str
    size: int
    text: str
    sha256: str

    @abstractmethod
    def encode(self, text: str) -> Tokens:
        """Token ids [T]. Raises InputError naming the first character it cannot express."""

    @abstractmethod
    def stream(self) -> DecodingStream:
        """A decoder that takes one token at a time."""

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        """The bytes of the text of these tokens."""
        stream = self.stream()
        return b"".join([stream.push(int(token)) for token in tokens]) + stream.finish()

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of these tokens; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(tokens).decode("utf-8", "replace")

    def encode_text(self, text: str) -> EncodedText:
        """Token ids, and where in ``text`` each token ends. Raises InputError as ``encode``."""
        tokens = self.encode(text)
        ends = self._ends(text, tokens)
        if ends.size:
            ends[-1] = len(text)
        return EncodedText(text, tokens, ends)

    @abstractmethod
    def _ends(self, text: str, tokens: Tokens) -> Tokens:
        """Characters of ``text`` up to the end of each token."""

    def loss(self, encoded: EncodedText) -> str:
        """What decoding the tokens does not give back, as a sentence; empty if nothing is lost.

        Tokenizers whose pre-tokenizer drops white space, or whose normaliser changes letters, give
        another text: what a model of them writes, and what bits per token mean, is of that one.
        """
        decoded = self.decode(encoded.tokens)
        if decoded == encoded.text:
            return ""
        same = (a == b for a, b in zip(decoded, encoded.text, strict=False))
        place = next((i for i, equal in enumerate(same) if not equal), len(decoded))
        return (
            f"the tokenizer does not give the text back: {len(decoded)} of {len(encoded.text)} "
            f"characters, different from character {place + 1} on; bits per character are shared "
            "by the text's own characters"
        )

    def check_token(self, token: int) -> int:
        """The token, if this vocabulary has it. Raises InputError otherwise."""
        if not 0 <= token < self.size:
            raise InputError(f"token {token} is outside the vocabulary (0..{self.size - 1}).")
        return token

    def check_size(self, model_size: int) -> None:
        """Check that the vocabulary fits a model. Others than of characters may be smaller (padded
        models)."""
        if self.size == model_size or (self.kind != "characters" and self.size < model_size):
            return
        raise InputError(
            f"The vocabulary has {self.size} tokens, the model {model_size}.",
            advice="Give the vocabulary the model was trained with.",
        )


def unknown_characters(text: str, positions: Sequence[int]) -> InputError:
    """Which character, where, and how many others."""
    first = positions[0]
    character = text[first]
    line = text.count("\n", 0, first) + 1
    column = first - text.rfind("\n", 0, first)
    others = len(positions) - 1
    kinds = len({text[position] for position in positions})
    more = f"; {others} more characters ({kinds} different ones in all)" if others else ""
    hint = ""
    if character == "\r":
        hint = " The text has Windows line ends; convert them to plain newlines."
    return InputError(
        f"The vocabulary has no token for {character!r} (U+{ord(character):04X}) at line {line}, "
        f"column {column}{more}.",
        advice=f"Use text like that the model was trained on, or another vocabulary.{hint}",
    )
