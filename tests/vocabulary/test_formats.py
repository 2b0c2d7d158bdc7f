"""Vocabularies of other projects: the same ids as their own readers give, or one clear error."""

from __future__ import annotations

import contextlib
import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.vocabulary import (
    Vocabulary,
    WorldVocabulary,
    byte_tokenizer,
    parse_vocabulary,
    read_vocabulary,
    reference_to,
)
from spikegpt_neuro.vocabulary.sentencepiece import read_model

TEXTS = (
    "the quick brown fox jumps over the lazy dog, and the dog sleeps on",
    "naïve café: 語 and 😀, x² tabs\tlines\nwindows\r\n end",
    "  two  leading spaces and   three between ",
    "a",
    "",
)
CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "naïve café sleeps, and the dog 語 sleeps on 😀 x²",
    "he said that she said that they said so",
] * 30


def random_texts(count: int) -> list[str]:
    draw = random.Random(4)
    words = [word for line in CORPUS for word in line.split()]
    return [
        "".join(draw.choice([*words, " ", " ", "  ", ".", "a", "th"]) for _ in range(30))
        for _ in range(count)
    ]


def assert_stored_alike(vocabulary: Vocabulary, text: str) -> None:
    """What model.net keeps of a vocabulary gives the same ids and text."""
    again = parse_vocabulary(vocabulary.text)
    tokens = vocabulary.encode(text)
    assert type(again) is type(vocabulary) and again.size == vocabulary.size
    assert np.array_equal(again.encode(text), tokens)
    assert again.decode_bytes(tokens) == vocabulary.decode_bytes(tokens)


# GPT-2


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"], show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def write_gpt2(tokenizer: Tokenizer, folder: Path) -> None:
    """``vocab.json`` and ``merges.txt`` as transformers saves them."""
    tokenizer.model.save(str(folder))
    merges = folder / "merges.txt"
    merges.write_text("#version: 0.2\n" + merges.read_text("utf-8").split("\n", 1)[1], "utf-8")


@pytest.mark.parametrize("given", ["", "vocab.json", "merges.txt"])
def test_gpt2s_two_files(given: str, gpt2: Tokenizer, tmp_path: Path) -> None:
    write_gpt2(gpt2, tmp_path)
    found = read_vocabulary(tmp_path / given)
    assert found.size == gpt2.get_vocab_size() > 300
    for text in (*TEXTS, *random_texts(20)):
        assert found.encode(text).tolist() == gpt2.encode(text).ids
        assert found.decode(found.encode(text)) == text
    end = gpt2.token_to_id("<|endoftext|>")
    assert found.encode("so<|endoftext|>so").tolist().count(end) == 1
    assert_stored_alike(found, TEXTS[1])


def test_gpt2s_added_tokens(gpt2: Tokenizer, tmp_path: Path) -> None:
    write_gpt2(gpt2, tmp_path)
    (tmp_path / "added_tokens.json").write_text(f'{{"<pad>": {gpt2.get_vocab_size()}}}')
    found = read_vocabulary(tmp_path)
    assert found.size == gpt2.get_vocab_size() + 1
    assert found.encode("a<pad>a").tolist().count(found.size - 1) == 1


def test_gpt2s_special_tokens(gpt2: Tokenizer, tmp_path: Path) -> None:
    """As ruGPT-3 has them: in the vocabulary, and named beside it."""
    write_gpt2(gpt2, tmp_path)
    path, size = tmp_path / "vocab.json", gpt2.get_vocab_size()
    path.write_text(json.dumps({**json.loads(path.read_text()), "<s>": size, "<pad>": size + 1}))
    assert size not in read_vocabulary(tmp_path).encode("a<s>a")
    special = tmp_path / "special_tokens_map.json"
    special.write_text(json.dumps({
        "bos_token": {"content": "<s>", "lstrip": False}, "pad_token": "<pad>",
        "additional_special_tokens": ["<not there>"],
    }))  # fmt: skip
    found = read_vocabulary(tmp_path)
    assert found.encode("a<s><pad>a").tolist()[1:3] == [size, size + 1]
    assert found.size == size + 2
    for content in ("[]", "{", '{"a": {}}', '{"a": 3}'):
        special.write_text(content)
        with pytest.raises(InputError, match=r"special_tokens_map\.json does not name"):
            read_vocabulary(tmp_path)


def test_gpt2s_vocabulary_without_its_merges(gpt2: Tokenizer, tmp_path: Path) -> None:
    write_gpt2(gpt2, tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(InputError, match=r"without the merges.*\n.*merges\.txt beside it"):
        read_vocabulary(tmp_path / "vocab.json")


@pytest.mark.parametrize("line", ["a", "a b c", "zz zz"])
def test_merges_that_make_no_piece(line: str, gpt2: Tokenizer, tmp_path: Path) -> None:
    write_gpt2(gpt2, tmp_path)
    with (tmp_path / "merges.txt").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(InputError, match=f"merges.txt: '{line}', must be two pieces"):
        read_vocabulary(tmp_path / "vocab.json")


@pytest.mark.parametrize(
    ("piece", "index", "named"),
    [
        ("new", 1 << 40, r"'new' is 1099511627776, must be 0\.\.16777215"),
        ("new", -1, "'new' is -1, must be 0"),
        ("new", 3, "id 3 occurs 2 times"),
        ("\ud800", 5000, "half a surrogate pair"),
    ],
)
@pytest.mark.parametrize("file", ["vocab.json", "added_tokens.json"])
def test_ids_and_pieces_that_no_table_holds(
    file: str, piece: str, index: int, named: str, gpt2: Tokenizer, tmp_path: Path
) -> None:
    """The library breaks at some of them, and drops tokens at others."""
    write_gpt2(gpt2, tmp_path)
    path = tmp_path / file
    values = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**values, piece: index}), "utf-8")
    with pytest.raises(InputError, match=named):
        read_vocabulary(tmp_path)


# SentencePiece


def train_sentencepiece(folder: Path, kind: str, **choices: Any) -> Any:
    (folder / "corpus.txt").write_text("\n".join(CORPUS), "utf-8")
    settings = {"vocab_size": 90, "hard_vocab_limit": False, **choices}
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"), model_prefix=str(folder / "m"), model_type=kind,
        minloglevel=2, **settings,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "m.model"))


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        ("unigram", {}),
        ("bpe", {}),
        ("bpe", {"byte_fallback": True, "vocab_size": 340}),
        ("unigram", {"byte_fallback": True, "vocab_size": 340}),
        ("bpe", {"normalization_rule_name": "identity", "add_dummy_prefix": False,
                 "remove_extra_whitespaces": False}),
        ("bpe", {"user_defined_symbols": ["<sep>", "fox"]}),
        ("unigram", {"user_defined_symbols": ["<sep>", "fox", "(a+b)"]}),
    ],
)  # fmt: skip
def test_sentencepieces_models(kind: str, choices: Any, tmp_path: Path) -> None:
    own = train_sentencepiece(tmp_path, kind, **choices)
    found = read_vocabulary(tmp_path / "m.model")
    assert found.size == own.get_piece_size()
    compared = 0
    for text in (*TEXTS, *random_texts(60), "the<sep>fox", "<s> is text", "a(a+b)b"):
        ids = own.encode(text)
        if own.unk_id() in ids:
            if text.strip():
                with pytest.raises(InputError, match="no token for"):
                    found.encode(text)
            continue
        compared += 1
        assert found.encode(text).tolist() == ids, text
        assert found.decode(ids) == own.decode(ids)
    assert compared > 50
    assert_stored_alike(found, CORPUS[0])


def test_what_sentencepiece_loses_is_said(tmp_path: Path) -> None:
    train_sentencepiece(tmp_path, "bpe", byte_fallback=True, vocab_size=340)
    found = read_vocabulary(tmp_path / "m.model")
    encoded = found.encode_text("two  spaces\n\nand a line")
    assert "does not give the text back" in found.loss(encoded)
    assert encoded.ends[-1] == len(encoded.text)


@pytest.mark.parametrize("kind", ["word", "char"])
def test_other_types_of_sentencepiece_are_named(kind: str, tmp_path: Path) -> None:
    train_sentencepiece(tmp_path, kind, vocab_size=30)
    with pytest.raises(InputError, match=f"its type is {kind.upper()}, must be UNIGRAM or BPE"):
        read_vocabulary(tmp_path / "m.model")


def test_a_damaged_sentencepiece_model(tmp_path: Path) -> None:
    train_sentencepiece(tmp_path, "bpe")
    content = (tmp_path / "m.model").read_bytes()
    draw = random.Random(2)
    for _ in range(300):
        damaged = bytearray(content[: draw.randrange(4, len(content))])
        for _ in range(draw.randrange(4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        with contextlib.suppress(InputError):
            read_model(bytes(damaged), "m.model")


def message(*fields: tuple[int, int | float | bytes]) -> bytes:
    """A protocol buffer of small fields."""
    written = b""
    for number, value in fields:
        if isinstance(value, bytes):
            size = len(value)
            length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
            written += bytes([number << 3 | 2]) + length + value
        elif isinstance(value, float):
            written += bytes([number << 3 | 5]) + struct.pack("<f", value)
        else:
            written += bytes([number << 3, value])
    return written


@pytest.mark.parametrize(
    ("piece", "settings", "named"),
    [
        (((1, b"a"), (2, float("nan"))), b"", "piece 1: its score is nan"),
        (((1, b"a" * 600), (2, -1.0)), b"", r"piece 1: has 600 characters, must be 1\.\.512"),
        (((2, -1.0),), b"", "piece 1: has 0 characters"),
        (((1, b"a"), (2, -1.0)), b"\1\2\3", "no SentencePiece model that can be used: .*charsmap"),
    ],
)
@pytest.mark.parametrize("algorithm", [1, 2])
def test_models_that_break_the_library_are_refused(
    algorithm: int, piece: Any, settings: bytes, named: str, tmp_path: Path
) -> None:
    unknown = message((1, b"<unk>"), (2, 0.0), (3, 2))
    content = message(
        (1, unknown), (1, message(*piece)), (2, message((3, algorithm))),
        (3, message((2, settings))),
    )  # fmt: skip
    (tmp_path / "m.model").write_bytes(content)
    with pytest.raises(InputError, match=named):
        read_vocabulary(tmp_path / "m.model")


# RWKV World


def world_lines() -> list[str]:
    single = [bytes([byte]) for byte in range(256)]
    words = [b"the", b"th", b" the", b"\t\t", b"qu", b"quick", "é".encode(), "語".encode(), b"\r\n"]
    lines = []
    for index, token in enumerate([*single, *words, "語".encode()[:2]], 1):
        try:
            literal = repr(token.decode())
        except UnicodeDecodeError:
            literal = repr(token)
        lines.append(f"{index} {literal} {len(token)}")
    return lines


def greedily(lines: list[str], text: str) -> list[int]:
    """The longest token at every place, by trying all of them."""
    tokens = {}
    for line in lines:
        index, literal = line.split(" ", 1)
        value = eval(literal.rsplit(" ", 1)[0])
        tokens[value.encode() if isinstance(value, str) else value] = int(index)
    content, found = text.encode(), []
    while content:
        best = max((t for t in tokens if content.startswith(t)), key=len)
        found.append(tokens[best])
        content = content[len(best) :]
    return found


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_rwkvs_world_vocabulary(ends: str, tmp_path: Path) -> None:
    lines = world_lines()
    path = tmp_path / "rwkv_vocab_v20230424.txt"
    path.write_bytes((ends.join(lines) + ends).encode())
    found = read_vocabulary(path)
    assert isinstance(found, WorldVocabulary) and found.size == 267
    found.check_size(300)  # the released models have more rows than tokens
    for text in (*TEXTS[:4], *random_texts(20)):
        encoded = found.encode_text(text)
        assert encoded.tokens.tolist() == greedily(lines, text)
        assert found.decode(encoded.tokens) == text and found.loss(encoded) == ""
        assert (np.diff(encoded.ends) >= 0).all() and encoded.ends[-1] == len(text)
    assert found.encode_text("é the").ends.tolist() == [1, 5]
    assert found.decode([0, *found.encode("a"), 0]) == "a"
    assert_stored_alike(found, TEXTS[1])


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("300 'ab' 3", "the token has 2 bytes, not 3"),
        ("1 'zz' 2", "id occurs twice"),
        ("300 'the' 3", "token occurs twice"),
        ("300 __import__('os') 2", "must be an id, a token and its length"),
        ("300 'a'*10**9 + 'b' 2", "must be an id, a token and its length"),
        ("300 '' 0", "must be an id, a token and its length"),
        ("300 'a', 'b' 2", "must be an id, a token and its length"),
        ("300 'a' 'b' 2", "must be an id, a token and its length"),
        ("\u0663\u0660 'ab' 2", "must be an id, a token and its length"),
    ],
)
def test_lines_that_are_no_tokens(line: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "world.txt"
    path.write_text("\n".join([*world_lines(), line]), "utf-8")
    with pytest.raises(InputError, match=f"line 267: .*{named}"):
        read_vocabulary(path)


def test_a_world_without_a_byte(tmp_path: Path) -> None:
    path = tmp_path / "world.txt"
    path.write_text("\n".join(line for line in world_lines() if "'q" not in line), "utf-8")
    with pytest.raises(InputError, match=r"no token for 'q' .* line 1, column 5"):
        read_vocabulary(path).encode("the quick")


# SpikeGPT's JSON


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8", "utf-8-sig"])
def test_special_tokens_among_characters(encoding: str, tmp_path: Path) -> None:
    values = {"0": "\n", "1": "<|unk|>", "2": "é", "3": "[PAD]", "4": "<pad>", "5": "<"}
    path = tmp_path / "vocab.json"
    path.write_bytes(json.dumps(values, ensure_ascii=False).encode(encoding))
    found = read_vocabulary(path)
    assert found.encode("é<\n").tolist() == [2, 5, 0]
    assert found.decode([2, 1, 3]) == "é<|unk|>[PAD]"
    with pytest.raises(InputError, match="no token for '\\|'"):
        found.encode("<|unk|>")
    assert_stored_alike(found, "é<")


def test_bytes_as_their_own_ids() -> None:
    found = parse_vocabulary(byte_tokenizer())
    assert found.encode("aé\n").tolist() == [97, 0xC3, 0xA9, 10]
    assert found.size == 256 and found.decode(range(97, 100)) == "abc"


def test_references_to_every_kind(gpt2: Tokenizer, tmp_path: Path) -> None:
    write_gpt2(gpt2, tmp_path)
    (tmp_path / "world.txt").write_text("\n".join(world_lines()), "utf-8")
    for name in ("vocab.json", "world.txt"):
        found = parse_vocabulary(reference_to(tmp_path / name))
        assert np.array_equal(found.encode("the"), read_vocabulary(tmp_path / name).encode("the"))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(InputError, match="which has changed"):
        parse_vocabulary(reference_to_before(tmp_path, gpt2))


@pytest.mark.parametrize("named", ["tokenizer.json", "."])
def test_a_reference_to_a_reference(named: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"reference": str(tmp_path / named), "sha256": ""}))
    with pytest.raises(InputError, match="which itself refers to another file"):
        read_vocabulary(path)


def reference_to_before(folder: Path, gpt2: Tokenizer) -> str:
    """A reference made while the merges were whole."""
    broken = (folder / "merges.txt").read_bytes()
    write_gpt2(gpt2, folder)
    text = reference_to(folder / "vocab.json")
    (folder / "merges.txt").write_bytes(broken)
    return text
