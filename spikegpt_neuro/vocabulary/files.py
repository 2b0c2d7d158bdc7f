"""Reading vocabulary files: kinds are told apart by content, and by what lies beside the file."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers.guard import reason
from spikegpt_neuro.vocabulary import sentencepiece, world
from spikegpt_neuro.vocabulary.base import LARGEST_NUMBER_OF_TOKENS, Vocabulary
from spikegpt_neuro.vocabulary.characters import LISTED, CharacterVocabulary, character_problems
from spikegpt_neuro.vocabulary.tokenizer import TokenizerVocabulary, tokenizers_errors

LARGEST_FILE = 256 << 20
IN_FOLDER = ("tokenizer.json", "vocab.json", "tokenizer.model", "spiece.model", "vocab.txt")
"""The files of a folder that are a vocabulary, the best first."""
MERGES, SPECIAL = "merges.txt", "special_tokens_map.json"
_EXPECTED = (
    "Expected SpikeGPT's vocabulary, a Hugging Face tokenizer.json, GPT-2's vocab.json with "
    "merges.txt beside it, a SentencePiece .model or RWKV's World vocabulary."
)


def read_vocabulary(path: str | Path) -> Vocabulary:
    """Read a vocabulary file of any kind, or a folder's. Raises InputError listing all problems."""
    path = _file_of(Path(path))
    content = _content(path)
    digest = hashlib.sha256(content).hexdigest()
    if _is_sentencepiece(content):
        with tokenizers_errors(f"{path} is no SentencePiece model that can be used"):
            return TokenizerVocabulary(sentencepiece.to_tokenizer(content, str(path)), digest)
    text = _decoded(content, path)
    if world.is_world(text):
        return world.parse_world(text, str(path), digest)
    merges = path.with_name(MERGES)
    if merges.is_file() and _is_pieces(text):
        return _byte_level(path, text, merges)
    return parse_vocabulary(text, str(path), digest)


def _file_of(path: Path) -> Path:
    """The file to read of what was given: a folder's best, and the pieces beside merges."""
    if path.is_dir():
        return next((path / name for name in IN_FOLDER if (path / name).is_file()), path)
    pieces = path.with_name("vocab.json")
    return pieces if path.name == MERGES and pieces.is_file() else path


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{path} is not a file.", advice="Give the vocabulary file (--vocab).")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path} has more than {LARGEST_FILE >> 20} MB: not a vocabulary.")
    return path.read_bytes()


def _decoded(content: bytes, path: Path) -> str:
    """The text of a file: UTF-16 where a byte order mark or the zeros of ``{`` say so, or UTF-8."""
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if marked else "utf-8-sig"
    encoding = {b"{\0": "utf-16-le", b"\0{": "utf-16-be"}.get(content[:2], encoding)
    try:
        return content.decode(encoding, "surrogatepass")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is neither UTF-16 with a byte order mark nor UTF-8: {error}."
        ) from error


def _is_sentencepiece(content: bytes) -> bool:
    """Whether a file begins as SentencePiece's do: a piece, whose text is its first field."""
    if content[:1] != b"\n" or len(content) < 4:
        return False
    piece = 2 if content[1] < 0x80 else 3
    return content[piece : piece + 1] == b"\n"


def _is_pieces(text: str) -> bool:
    """Whether a JSON text maps pieces to ids, as GPT-2's does, and not ids to characters."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and all(type(index) is int for index in values.values())


def _byte_level(vocabulary: Path, text: str, merges: Path) -> TokenizerVocabulary:
    """GPT-2's tokenizer from its two files, and the two that transformers puts beside them.

    Tokens of ``added_tokens.json`` and of ``special_tokens_map.json`` are never cut.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    ids: dict[str, int] = json.loads(text)
    rules = _decoded(_content(merges), merges)
    pairs = [line.split(" ") for line in rules.split("\n") if line and line[:8] != "#version"]
    problems = [
        f"{merges.name}: {' '.join(pair)[:40]!r}, must be two pieces of {vocabulary.name} that "
        "make a third"
        for pair in pairs
        if len(pair) != 2 or not {*pair, "".join(pair)} <= ids.keys()
    ]
    added: dict[str, int] = {}
    beside = vocabulary.with_name("added_tokens.json")
    if beside.is_file():
        more = _decoded(_content(beside), beside)
        added = json.loads(more) if _is_pieces(more) else {}
        problems += [] if _is_pieces(more) else [f"{beside.name}: must map tokens to ids"]
    every = {**ids, **added}
    where = f"{vocabulary.name}, {beside.name}" if added else vocabulary.name
    problems += _id_problems(where, every)
    if problems:
        shown = problems[:LISTED]
        shown += [f"and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
        raise InputError(f"{vocabulary} is not GPT-2's vocabulary:", shown)
    told = (vocabulary, merges, beside, vocabulary.with_name(SPECIAL))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in told if file.is_file()))
    whole = {"<|endoftext|>", *added, *_special_tokens(vocabulary.with_name(SPECIAL))}
    special = [name for name in every if name in whole]
    with tokenizers_errors(f"{vocabulary} is not GPT-2's vocabulary"):
        tokenizer = Tokenizer(models.BPE(vocab=every, merges=[(a, b) for a, b in pairs]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_tokens([AddedToken(name, normalized=False) for name in special])
        return TokenizerVocabulary(tokenizer.to_str(), digest.hexdigest())


def _special_tokens(path: Path) -> list[str]:
    """The tokens in a ``special_tokens_map.json``: texts, objects with ``content``, lists of both.

    Raises ``InputError`` for a file that is none; empty where there is no file.
    """
    if not path.is_file():
        return []
    try:
        values = json.loads(_decoded(_content(path), path))
        given = [
            v for value in values.values() for v in (value if type(value) is list else [value])
        ]
        found = [value["content"] if isinstance(value, dict) else value for value in given]
    except (ValueError, RecursionError, AttributeError, KeyError) as error:
        raise InputError(f"{path} does not name special tokens: {reason(error)}.") from error
    if not all(isinstance(token, str) for token in found):
        raise InputError(f"{path} does not name special tokens: some are no text.")
    return found


def _id_problems(where: str, ids: dict[str, int]) -> list[str]:
    """What the library stops at or passes over: ids that no table has, pieces that are no text."""
    found = [
        f"{where}: {piece[:40]!a} is {index}, must be 0..{LARGEST_NUMBER_OF_TOKENS - 1}"
        for piece, index in ids.items() if not 0 <= index < LARGEST_NUMBER_OF_TOKENS
    ]  # fmt: skip
    counts = Counter(ids.values())
    found += [f"{where}: id {index} occurs {n} times" for index, n in counts.items() if n > 1]
    broken = (piece for piece in ids if any("\ud800" <= letter <= "\udfff" for letter in piece))
    return found + [f"{where}: {piece[:40]!a} holds half a surrogate pair" for piece in broken]


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
        raise InputError(f"{origin} is not JSON: {error}.", advice=_EXPECTED) from error
    if not isinstance(values, dict) or not values:
        raise InputError(
            f"{origin} must be a JSON object of token ids and characters, or a tokenizer.json."
        )
    if isinstance(values.get("model"), dict):
        return TokenizerVocabulary(text, sha256)
    if "reference" in values and "sha256" in values:
        return _follow_reference(values, origin)
    if set(values) == {world.KEY}:
        return world.from_json(values[world.KEY], origin, sha256)
    if _is_pieces(text) and not all(key.isdecimal() for key in values):
        raise InputError(
            f"{origin} maps pieces to ids, as GPT-2's vocab.json does, without the merges.",
            advice=f"Put {MERGES} beside it.",
        )
    problems = [f"token id {key!r} occurs more than once" for key in repeated]
    problems += character_problems(values)
    if problems:
        shown = problems[:LISTED]
        if len(problems) > LISTED:
            shown.append(f"and {len(problems) - LISTED} more")
        raise InputError(
            f"{origin} is not a character vocabulary ({len(problems)} problems):",
            shown,
            "Expected token ids 0, 1, 2, ... as text, each with one character.",
        )
    return CharacterVocabulary([values[str(i)] for i in range(len(values))], sha256)


def reference_to(path: str | Path) -> str:
    """A text that stands for the vocabulary in ``path``: where it is, and its hash."""
    vocabulary = read_vocabulary(path)
    return json.dumps({"reference": str(Path(path).resolve()), "sha256": vocabulary.sha256})


def _is_reference(path: Path) -> bool:
    try:
        values = json.loads(_decoded(_content(path), path))
    except (ValueError, RecursionError, InputError):
        return False
    return isinstance(values, dict) and {"reference", "sha256"} <= set(values)


def _follow_reference(values: dict[str, Any], origin: str) -> Vocabulary:
    path = _file_of(Path(str(values["reference"])))
    if _is_reference(path):
        raise InputError(f"{origin} refers to {path}, which itself refers to another file.")
    vocabulary = read_vocabulary(path)
    if vocabulary.sha256 != values["sha256"]:
        raise InputError(
            f"{origin} refers to {values['reference']}, which has changed: its SHA-256 is "
            f"{vocabulary.sha256[:16]}..., expected {str(values['sha256'])[:16]}...",
            advice="Restore the file, or export again.",
        )
    return vocabulary
