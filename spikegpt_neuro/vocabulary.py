"""Vocabularies: text to token ids and back, exactly, with a clear error where they do not match.

Two kinds, told apart by content: SpikeGPT's character vocabulary (a JSON object, token id as text
-> character, UTF-16 with byte order mark or UTF-8) and a Hugging Face ``tokenizer.json``.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError

Tokens = npt.NDArray[np.int64]

LARGEST_FILE = 256 << 20
LARGEST_NUMBER_OF_TOKENS = 1 << 24
_LISTED = 20
"""Problems of one kind that are listed one by one."""


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
        """Check that the vocabulary fits a model. A tokenizer may be smaller (padded models)."""
        if self.size == model_size or (self.kind == "tokenizer" and self.size < model_size):
            return
        raise InputError(
            f"The vocabulary has {self.size} tokens, the model {model_size}.",
            advice="Give the vocabulary the model was trained with.",
        )


def _unknown_characters(text: str, positions: Sequence[int]) -> InputError:
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
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode("utf-8")


class CharacterVocabulary(Vocabulary):
    """SpikeGPT's character vocabulary: token i is ``characters[i]``.

    Where it lists halves of surrogate pairs, characters beyond U+FFFF are two tokens.
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
            raise _unknown_characters(text, unknown)
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

        try:
            self.tokenizer = Tokenizer.from_str(text)
        # the library raises plain Exception for everything it cannot read
        except Exception as error:
            raise InputError(
                f"This is not a tokenizer.json that the tokenizers library reads: {error}"
            ) from error
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
            raise _unknown_characters(text, lost)
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


def read_vocabulary(path: str | Path) -> Vocabulary:
    """Read a vocabulary file of either kind. Raises InputError listing all its problems."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file.", advice="Give the vocabulary file (--vocab).")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path} has more than {LARGEST_FILE >> 20} MB: not a vocabulary.")
    content = path.read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig", "surrogatepass")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is neither UTF-16 with a byte order mark nor UTF-8: {error}."
        ) from error
    return parse_vocabulary(text, str(path), hashlib.sha256(content).hexdigest())


def parse_vocabulary(text: str, origin: str = "the vocabulary", sha256: str = "") -> Vocabulary:
    """Read a vocabulary from its JSON text; ``origin`` names it in errors."""
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) != len(items):
            counts = Counter(key for key, _ in items)
            repeated.extend(sorted(key for key, count in counts.items() if count > 1))
        return made

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        values = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{origin} is not JSON: {error}.",
            advice="Expected SpikeGPT's vocabulary or a Hugging Face tokenizer.json.",
        ) from error
    if not isinstance(values, dict) or not values:
        raise InputError(
            f"{origin} must be a JSON object of token ids and characters, or a tokenizer.json."
        )
    if isinstance(values.get("model"), dict):
        return TokenizerVocabulary(text, sha256)
    if "reference" in values and "sha256" in values:
        return _follow_reference(values, origin)
    problems = [f"token id {key!r} occurs more than once" for key in repeated]
    problems += _character_problems(values)
    if problems:
        shown = problems[:_LISTED]
        if len(problems) > _LISTED:
            shown.append(f"and {len(problems) - _LISTED} more")
        raise InputError(
            f"{origin} is not a character vocabulary ({len(problems)} problems):",
            shown,
            "Expected token ids 0, 1, 2, ... as text, each with one character.",
        )
    return CharacterVocabulary([values[str(i)] for i in range(len(values))], sha256)


def _character_problems(values: dict[str, Any]) -> list[str]:
    wrong = {key for key in values if not re.fullmatch(r"0|[1-9][0-9]{0,8}", key)}
    problems = [f"{key[:40]!r} is not a token id" for key in sorted(wrong)]
    ids = {int(key) for key in values if key not in wrong}
    gaps = sorted(set(range(len(values))) - ids)
    if gaps and not wrong:
        named = ", ".join(map(str, gaps[:_LISTED])) + (", ..." if len(gaps) > _LISTED else "")
        problems.append(f"{len(values)} tokens, but these ids are missing: {named}")
    seen: dict[str, str] = {}
    for key, value in values.items():
        if not isinstance(value, str) or len(value) != 1:
            problems.append(f"token {key[:40]} is {str(value)[:40]!r}, must be one character")
        elif value in seen:
            problems.append(f"tokens {seen[value]} and {key[:40]} are both {value!r}")
        else:
            seen[value] = key[:40]
    return problems


def reference_to(path: str | Path) -> str:
    """A text that stands for the vocabulary in ``path``: where it is, and its hash."""
    path = Path(path).resolve()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return json.dumps({"reference": str(path), "sha256": digest})


def _follow_reference(values: dict[str, Any], origin: str) -> Vocabulary:
    vocabulary = read_vocabulary(str(values["reference"]))
    if vocabulary.sha256 != values["sha256"]:
        raise InputError(
            f"{origin} refers to {values['reference']}, which has changed: its SHA-256 is "
            f"{vocabulary.sha256[:16]}..., expected {str(values['sha256'])[:16]}...",
            advice="Restore the file, or export again.",
        )
    return vocabulary
