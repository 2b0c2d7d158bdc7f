"""SentencePiece models (``.model``) as Hugging Face tokenizers.

The file is a protocol buffer (google/sentencepiece, ``src/sentencepiece_model.proto``): pieces with
scores and types, how it was trained, how it normalises. Unigram and BPE models are taken; the
tokenizer gives their ids (tested against SentencePiece itself).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.vocabulary.characters import LISTED

LONGEST_PIECE = 512
"""Characters; trainers stop at 16. Each way to cut a piece in two is tried."""
LARGEST_FILE = 32 << 20
"""Bytes; the largest published models have about 5 MB."""
SPACE = "\u2581"
"""What SentencePiece writes for a space."""


class Kind(IntEnum):
    """Types of pieces."""

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


class _Trained(IntEnum):
    UNIGRAM, BPE, WORD, CHAR = 1, 2, 3, 4


_NEVER = -1e9
"""A score with which a piece is on no best path."""
_APART = "\ufdd0"
"""Around pieces that no text has, a character that none has either."""


@dataclass
class SentencePieceModel:
    """What of a model's file decides its tokens."""

    pieces: list[tuple[str, float, int]] = field(default_factory=list)
    algorithm: int = _Trained.UNIGRAM
    byte_fallback: bool = False
    suffixes: bool = False
    charsmap: bytes = b""
    dummy_prefix: bool = True
    fewer_spaces: bool = True
    escapes: bool = True


def message_fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of a message's fields: int, 4 or 8 bytes, or bytes. ``ValueError``."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(content) or shift > 63:
                raise ValueError("it ends within a number")
            byte = content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(content):
        key = varint()
        wire = key & 7
        if wire == 0:
            yield key >> 3, varint()
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"field {key >> 3} has the unknown form {wire}")
        size = {1: 8, 5: 4}.get(wire) or (varint() if wire == 2 else 0)
        if size > len(content) - at:
            raise ValueError(f"field {key >> 3} is longer than the file")
        yield key >> 3, content[at : at + size]
        at += size


def _piece(content: bytes) -> tuple[str, float, int]:
    text, score, kind = "", 0.0, int(Kind.NORMAL)
    for number, value in message_fields(content):
        if number == 1:
            text = value.decode("utf-8")
        elif number == 2:
            (score,) = struct.unpack("<f", value)
        elif number == 3:
            kind = Kind(value)
    return text, score, kind


def read_model(content: bytes, origin: str) -> SentencePieceModel:
    """Parse a model's file. Raises ``InputError``."""
    if len(content) > LARGEST_FILE:
        raise InputError(f"{origin} has more than {LARGEST_FILE >> 20} MB: not a vocabulary.")
    model = SentencePieceModel()
    try:
        for number, value in message_fields(content):
            if number == 1:
                model.pieces.append(_piece(value))
            elif number == 2:
                told = dict(message_fields(value))
                model.algorithm = _Trained(told.get(3, _Trained.UNIGRAM))
                model.byte_fallback = bool(told.get(35, 0))
                model.suffixes = bool(told.get(24, 0))
            elif number == 3:
                told = dict(message_fields(value))
                model.charsmap = told.get(2, b"")
                model.dummy_prefix = bool(told.get(3, 1))
                model.fewer_spaces = bool(told.get(4, 1))
                model.escapes = bool(told.get(5, 1))
    except (ValueError, TypeError, AttributeError, struct.error) as error:
        raise InputError(f"{origin} is not a SentencePiece model: {error}.") from error
    problems = []
    if not model.pieces:
        problems.append("it has no pieces")
    if model.algorithm not in (_Trained.UNIGRAM, _Trained.BPE):
        problems.append(f"its type is {_Trained(model.algorithm).name}, must be UNIGRAM or BPE")
    if model.suffixes:
        problems.append("its pieces end with spaces (treat_whitespace_as_suffix)")
    if not model.escapes:
        problems.append("it does not write spaces as a character of their own")
    names = [text for text, _, _ in model.pieces]
    problems += list(_piece_problems(model))
    if len(set(names)) < len(names):
        problems.append("several of its pieces are equal")
    if sum(kind == Kind.UNKNOWN for _, _, kind in model.pieces) != 1:
        problems.append("it must have one piece for what is unknown")
    if problems:
        more = [f"and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
        problems = problems[:LISTED] + more
        raise InputError(f"{origin} is no SentencePiece model that can be used:", problems)
    return model


def _piece_problems(model: SentencePieceModel) -> Iterator[str]:
    for index, (text, score, _) in enumerate(model.pieces):
        if not math.isfinite(score):
            yield f"piece {index}: its score is {score}"
        if not 0 < len(text) <= LONGEST_PIECE:
            yield f"piece {index}: has {len(text)} characters, must be 1..{LONGEST_PIECE}"


def to_tokenizer(content: bytes, origin: str) -> str:
    """The ``tokenizer.json`` that gives a model's ids and text. Raises ``InputError``."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    model = read_model(content, origin)
    names = [
        f"{_APART}{text}{_APART}" if kind in (Kind.CONTROL, Kind.UNKNOWN) else text
        for text, _, kind in model.pieces
    ]
    unknown = next(i for i, (_, _, kind) in enumerate(model.pieces) if kind == Kind.UNKNOWN)
    made: Any
    if model.algorithm == _Trained.UNIGRAM:
        scores = [
            (name, score if kind in (Kind.NORMAL, Kind.USER_DEFINED) else _NEVER)
            for name, (_, score, kind) in zip(names, model.pieces, strict=True)
        ]
        made = models.Unigram(scores, unk_id=unknown, byte_fallback=model.byte_fallback)
    else:
        made = models.BPE(
            vocab={text: i for i, text in enumerate(names)}, merges=_merges(model),
            unk_token=names[unknown], fuse_unk=True, byte_fallback=model.byte_fallback,
            ignore_merges=any(kind == Kind.USER_DEFINED for _, _, kind in model.pieces),
        )  # fmt: skip
    tokenizer = Tokenizer(made)
    steps: list[Any] = []
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    if model.fewer_spaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if model.dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    reading: list[Any] = [
        decoders.Replace(Regex(f"{_APART}.*{_APART}"), ""), decoders.Replace(SPACE, " "),
        decoders.ByteFallback(), decoders.Fuse(),
    ]  # fmt: skip
    if model.dummy_prefix:
        reading.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(reading)
    whole = [text for text, _, kind in model.pieces if kind == Kind.USER_DEFINED]
    if whole:
        longest_first = sorted(whole, key=len, reverse=True)
        pattern = Regex("|".join(map(re.escape, longest_first)))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, "isolated")
    return str(tokenizer.to_str())


def _merges(model: SentencePieceModel) -> list[tuple[str, str]]:
    """Every way two pieces make a third, best score first: SentencePiece keeps the pieces only."""
    ranks = {
        text: (-score, index)
        for index, (text, score, kind) in enumerate(model.pieces)
        if kind == Kind.NORMAL
    }
    found = [
        (rank, ranks[text[:cut]], ranks[text[cut:]], text[:cut], text[cut:])
        for text, rank in ranks.items()
        for cut in range(1, len(text))
        if text[:cut] in ranks and text[cut:] in ranks
    ]
    return [(left, right) for _, _, _, left, right in sorted(found)]
