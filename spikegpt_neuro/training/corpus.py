"""A training corpus: its vocabulary and its texts as token tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from spikegpt_neuro.training.data import read_folder, token_tensor
from spikegpt_neuro.vocabulary import (
    CharacterVocabulary,
    TokenizerVocabulary,
    Vocabulary,
    read_vocabulary,
)


@dataclass(frozen=True)
class Corpus:
    """Token ids int64 [N] of the training text and, where given, the validation text.

    ``characters_per_token``: of the training and of the validation text. ``loss``: what the
    vocabulary does not give back of them, a sentence, or empty.
    """

    vocabulary: Vocabulary
    train: Tensor
    valid: Tensor | None
    characters_per_token: tuple[float, float]
    loss: str


def byte_vocabulary() -> Vocabulary:
    """256 tokens, the bytes of UTF-8, as a byte-level tokenizer without merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {unit: i for i, unit in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return TokenizerVocabulary(tokenizer.to_str())


def read_corpus(train: Path, valid: Path | None, tokens: str, context: int) -> Corpus:
    """Read texts and vocabulary. ``tokens``: 'characters' that occur, 'bytes', or a file."""
    train_text = read_folder(train)
    valid_text = None if valid is None else read_folder(valid)
    vocabulary: Vocabulary
    if tokens == "characters":
        vocabulary = CharacterVocabulary(sorted(set(train_text) | set(valid_text or "")))
    elif tokens == "bytes":
        vocabulary = byte_vocabulary()
    else:
        vocabulary = read_vocabulary(tokens)
    size = vocabulary.size
    encoded = vocabulary.encode_text(train_text)
    loss = vocabulary.loss(encoded)
    train_ids = token_tensor(encoded.tokens, size, context, str(train))
    per_token = encoded.characters_per_token
    if valid_text is None:
        return Corpus(vocabulary, train_ids, None, (per_token, per_token), loss)
    encoded = vocabulary.encode_text(valid_text)
    valid_ids = token_tensor(encoded.tokens, size, context, str(valid))
    return Corpus(vocabulary, train_ids, valid_ids, (per_token, encoded.characters_per_token), loss)
