"""Hugging Face tokenizers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers.guard import reason
from spikegpt_neuro.vocabulary.base import (
    LARGEST_NUMBER_OF_TOKENS,
    DecodingStream,
    Tokens,
    Vocabulary,
    unknown_characters,
)


def _bytes_of_units() -> dict[str, int]:
    """The characters byte-level tokenizers write bytes with (GPT-2's table) -> those bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in plain}
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {**table, **{chr(256 + i): byte for i, byte in enumerate(others)}}


def byte_tokenizer() -> str:
    """A tokenizer.json whose 256 tokens are the bytes of UTF-8, each its own id."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocab=_bytes_of_units(), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return str(tokenizer.to_str())


@contextmanager
def tokenizers_errors(sentence: str) -> Iterator[None]:
    """Whatever the tokenizers library raises, as an ``InputError`` that begins with a sentence.

    It raises plain ``Exception`` for all it cannot read; a panic of its Rust is no ``Exception``.
    """
    try:
        yield
    except (InputError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise InputError(f"{sentence}: {reason(error)}.") from error


class _ByteLevelStream(DecodingStream):
    """Every token is a fixed string of bytes."""

    _TABLE = _bytes_of_units()

    def __init__(self, vocabulary: TokenizerVocabulary) -> None:
        self._vocabulary = vocabulary

    def push(self, token: int) -> bytes:
        piece = self._vocabulary.piece(token)
        if all(character in self._TABLE for character in piece):
            return bytes(self._TABLE[character] for character in piece)
        return piece.encode("utf-8")


class _TextStream(DecodingStream):
    """Any other decoder: text is emitted once later tokens cannot change it."""

    def __init__(self, vocabulary: TokenizerVocabulary) -> None:
        from tokenizers.decoders import DecodeStream

        self._vocabulary = vocabulary
        self._stream = DecodeStream(skip_special_tokens=False)
        self._tokens: list[int] = []
        self._emitted = ""

    def push(self, token: int) -> bytes:
        self._tokens.append(self._vocabulary.check_token(token))
        text = self._stream.step(self._vocabulary.tokenizer, token) or ""
        self._emitted += text
        return text.encode("utf-8")

    def finish(self) -> bytes:
        whole = self._vocabulary.tokenizer.decode(self._tokens, skip_special_tokens=False)
        return whole.removeprefix(self._emitted).encode("utf-8")


class TokenizerVocabulary(Vocabulary):
    """A Hugging Face tokenizer; ``text`` is its ``tokenizer.json``. No special tokens are added."""

    kind = "tokenizer"

    def __init__(self, text: str, sha256: str = "") -> None:
        from tokenizers import Tokenizer

        with tokenizers_errors("This is not a tokenizer.json that the tokenizers library reads"):
            self.tokenizer = Tokenizer.from_str(text)
        self.text = text
        self.sha256 = sha256 or hashlib.sha256(text.encode("utf-8")).hexdigest()
        ids = self.tokenizer.get_vocab(with_added_tokens=True)
        self.size = max(ids.values(), default=-1) + 1
        if not 0 < self.size <= LARGEST_NUMBER_OF_TOKENS:
            raise InputError(f"the tokenizer has ids up to {self.size - 1}, which cannot be right.")
        settings = json.loads(text)
        model, decoder = settings["model"], settings.get("decoder") or {}
        self._byte_level = decoder.get("type") == "ByteLevel"
        unknown = model.get("unk_token")
        if unknown is None and isinstance(model.get("unk_id"), int):
            unknown = self.tokenizer.id_to_token(model["unk_id"])
        self._unknown = ids.get(unknown, -1)

    def piece(self, token: int) -> str:
        """The token as the tokenizer writes it; empty for an id without a token."""
        return self.tokenizer.id_to_token(self.check_token(token)) or ""

    def encode(self, text: str) -> Tokens:
        """See ``Vocabulary.encode``."""
        with tokenizers_errors("The vocabulary's tokenizer cannot take this text"):
            encoding = self.tokenizer.encode(text, add_special_tokens=False)
        lost = [
            position
            for token, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if token == self._unknown
            for position in range(begin, end)
        ]
        if self._unknown < 0 and not self._byte_level:
            # without an unknown token the library drops what it does not know, silently
            dropped = {character for character in set(text) if self._drops(character)}
            lost = [i for i, character in enumerate(text) if character in dropped]
        if lost:
            raise unknown_characters(text, lost)
        return np.array(encoding.ids, np.int64)

    def _ends(self, text: str, tokens: Tokens) -> Tokens:
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return np.maximum.accumulate(np.array([end for _, end in offsets], np.int64))

    def _drops(self, character: str) -> bool:
        """True if the model has nothing for a character that its normaliser keeps."""
        normaliser = self.tokenizer.normalizer
        kept = normaliser.normalize_str(character) if normaliser else character
        return (
            bool(kept.strip())
            and not self.tokenizer.encode(character, add_special_tokens=False).ids
        )

    def stream(self) -> DecodingStream:
        """See ``Vocabulary.stream``."""
        return _ByteLevelStream(self) if self._byte_level else _TextStream(self)
