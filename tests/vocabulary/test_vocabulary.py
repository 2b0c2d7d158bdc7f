"""Vocabularies: exact both ways, also token by token; everything malformed is one clear error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.vocabulary import (
    CharacterVocabulary,
    TokenizerVocabulary,
    Vocabulary,
    parse_vocabulary,
    read_vocabulary,
    reference_to,
)

EXAMPLE = Path(__file__).parents[2] / "examples/kjv-4x192/kjv-4x192.vocab.json"
TEXT = "naïve café — 語 😀 x²\n\ttabs  and spaces 🧑‍🚀"


def byte_level() -> TokenizerVocabulary:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>"], show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(["the quick brown fox café café"] * 20, trainer)
    return TokenizerVocabulary(tokenizer.to_str())


def byte_fallback() -> TokenizerVocabulary:
    """As SentencePiece models do it: unknown characters as <0xNN> tokens."""
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = {piece: i for i, piece in enumerate(["<unk>", *pieces, "▁", "a", "b", "▁a"])}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, [("▁", "a")], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return TokenizerVocabulary(tokenizer.to_str())


def surrogates() -> CharacterVocabulary:
    units = sorted(
        {*(chr(c) for c in range(32, 127)), *"\n\tï²é—語\u200d", *"\ud83d\ud83e\ude00\uddd1\ude80"}
    )
    return CharacterVocabulary(units)


VOCABULARIES = {
    "characters": lambda: CharacterVocabulary(sorted(set(TEXT))),
    "surrogates": surrogates,
    "byte level": byte_level,
    "byte fallback": byte_fallback,
}


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_text_survives_encoding_and_decoding(kind: str) -> None:
    vocabulary = VOCABULARIES[kind]()
    tokens = vocabulary.encode(TEXT)
    assert tokens.min() >= 0 and tokens.max() < vocabulary.size
    assert vocabulary.decode_bytes(tokens) == TEXT.encode()
    assert vocabulary.decode(tokens) == TEXT
    encoded = vocabulary.encode_text(TEXT)
    assert (encoded.tokens == tokens).all() and encoded.ends[-1] == len(TEXT)
    assert (np.diff(encoded.ends) >= 0).all()
    assert vocabulary.loss(encoded) == ""


def test_what_a_tokenizer_loses_is_said_and_characters_are_the_texts_own() -> None:
    words = ["[UNK]", "line", "one", "two", "hello", "world"]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vocabulary = TokenizerVocabulary(tokenizer.to_str())
    text = "line one\n\n\n\nline two      hello\n\n\t\tworld\n" * 5
    encoded = vocabulary.encode_text(text)
    assert encoded.tokens.size == 30
    assert encoded.ends[:2].tolist() == [4, 8]
    assert encoded.ends[-1] == len(text)
    assert encoded.characters_per_token == (len(text) - 4) / 29
    assert f"of {len(text)} characters" in vocabulary.loss(encoded)


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_streamed_bytes_are_the_whole_text(kind: str) -> None:
    vocabulary = VOCABULARIES[kind]()
    stream = vocabulary.stream()
    parts = [stream.push(int(token)) for token in vocabulary.encode(TEXT)]
    assert b"".join(parts) + stream.finish() == TEXT.encode()
    assert sum(map(bool, parts)) > len(parts) / 3, "nothing is held back longer than needed"


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_serialised_form_is_the_same_vocabulary(kind: str) -> None:
    vocabulary = VOCABULARIES[kind]()
    again = parse_vocabulary(vocabulary.text.encode("utf-8").decode("utf-8"))
    assert type(again) is type(vocabulary) and again.size == vocabulary.size
    assert again.encode(TEXT).tolist() == vocabulary.encode(TEXT).tolist()


def test_byte_level_tokens_that_are_no_text_alone() -> None:
    """Any byte sequence comes out as it is, as the library's own decoder would have it whole."""
    vocabulary = byte_level()
    euro = [vocabulary.tokenizer.token_to_id(c) for c in "âĤ¬"]
    assert vocabulary.decode_bytes(euro) == "€".encode()
    assert vocabulary.decode_bytes(euro[:2]) == "€".encode()[:2]
    assert vocabulary.decode(euro[:2]) == "\ufffd"
    assert vocabulary.decode([0]) == "<|end|>"


def test_half_a_surrogate_pair_is_replaced_not_lost() -> None:
    vocabulary = surrogates()
    high = vocabulary.characters.index("\ud83d")
    assert vocabulary.decode([high]) == "\ufffd"
    assert vocabulary.decode([high, vocabulary.characters.index("x")]) == "\ufffdx"


def test_the_example_vocabulary() -> None:
    vocabulary = read_vocabulary(EXAMPLE)
    assert (vocabulary.size, vocabulary.kind) == (63, "characters")
    assert vocabulary.sha256 == hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
    assert vocabulary.encode("In the beginning\n").tolist()[-1] == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-8-sig"])
def test_encodings_of_the_file(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "v.json"
    path.write_text('{"1": "é", "0": "語"}', encoding=encoding)
    vocabulary = read_vocabulary(path)
    assert isinstance(vocabulary, CharacterVocabulary)
    assert vocabulary.characters == ("語", "é")


def test_text_that_does_not_match() -> None:
    vocabulary = CharacterVocabulary("\nabc")
    with pytest.raises(InputError) as caught:
        vocabulary.encode("abc\nabXc\nYX")
    message = str(caught.value)
    assert "'X' (U+0058) at line 2, column 3" in message
    assert "2 more characters (2 different ones in all)" in message
    with pytest.raises(InputError, match="Windows line ends"):
        vocabulary.encode("a\r\nb")


@pytest.mark.parametrize("unknown", [None, "[UNK]"])
def test_tokenizer_text_that_does_not_match(unknown: str | None) -> None:
    """Without an unknown token the library drops characters silently; that is an error too."""
    ids = {"a": 0, "b": 1, "[UNK]": 2}
    tokenizer = Tokenizer(models.BPE(ids, [], unk_token=unknown))
    with pytest.raises(InputError, match=r"'z'.*line 1, column 3; 1 more"):
        TokenizerVocabulary(tokenizer.to_str()).encode("abzay")


MALFORMED = {
    "": "is not JSON",
    "{": "is not JSON",
    "[1]": "must be a JSON object",
    "{}": "must be a JSON object",
    "NaN": "NaN is not JSON",
    '{"0": NaN}': "NaN is not JSON",
    '{"0": "a", "2": "b"}': "these ids are missing: 1",
    '{"1": "a", "2": "b"}': "these ids are missing: 0",
    '{"0": "a", "1": "a"}': "tokens 0 and 1 are both 'a'",
    '{"0": "a", "0": "b"}': "'0' occurs more than once",
    '{"0": ""}': "must be one character",
    '{"0": "ab"}': "must be one character",
    '{"0": 7}': "must be one character",
    '{"00": "a"}': "'00' is not a token id",
    '{"-1": "a"}': "'-1' is not a token id",
    '{"1e0": "a"}': "'1e0' is not a token id",
    '{"x": "a", "1": "a"}': "'x' is not a token id",
    '{"99999999999999999999": "a"}': "is not a token id",
    '{"model": {"type": "Magic"}}': "tokenizers library",
    "[" * 100_000: "is not JSON",
}


@pytest.mark.parametrize("content", MALFORMED, ids=[text[:20] for text in MALFORMED])
def test_malformed_files(tmp_path: Path, content: str) -> None:
    path = tmp_path / "v.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_vocabulary(path)
    assert MALFORMED[content] in str(caught.value)


def test_all_problems_of_a_vocabulary_are_listed() -> None:
    with pytest.raises(InputError) as caught:
        parse_vocabulary('{"0": "a", "1": "a", "x": "b", "5": "cd"}')
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'{"0": "\xff"}', bytes(range(256))])
def test_undecodable_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "v.json"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_vocabulary(path)
    with pytest.raises(InputError, match="not a file"):
        read_vocabulary(tmp_path)


def test_sizes_must_fit_the_model() -> None:
    CharacterVocabulary("abc").check_size(3)
    for size in (2, 4):
        with pytest.raises(InputError, match="The vocabulary has 3 tokens, the model"):
            CharacterVocabulary("abc").check_size(size)
    padded = byte_level()
    padded.check_size(padded.size + 40)
    with pytest.raises(InputError):
        padded.check_size(padded.size - 1)


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_tokens_outside_the_vocabulary(kind: str) -> None:
    vocabulary: Vocabulary = VOCABULARIES[kind]()
    for token in (-1, vocabulary.size):
        with pytest.raises(InputError, match="outside the vocabulary"):
            vocabulary.decode([token])


def test_a_reference_is_followed_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    path.write_text(json.dumps({"0": "a"}))
    text = reference_to(path)
    assert parse_vocabulary(text).size == 1
    path.write_text(json.dumps({"0": "b"}))
    with pytest.raises(InputError, match="has changed"):
        parse_vocabulary(text)
