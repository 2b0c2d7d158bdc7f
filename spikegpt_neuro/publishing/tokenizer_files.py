"""A vocabulary as files of a folder: our own form, and one that ``AutoTokenizer`` reads.

A vocabulary of characters is written in both: ``vocab.json`` (SpikeGPT's) and a
``tokenizer.json`` that gives the same tokens and, as ``Vocabulary.encode`` does, refuses a
character it does not know. RWKV's World vocabulary (the longest of its byte strings) is none that
the tokenizers library can express: it has ``vocab.json`` only.
"""

from __future__ import annotations

import json
from typing import Final

from spikegpt_neuro.converters.model_folder import TOKENIZER, VOCABULARY
from spikegpt_neuro.vocabulary import CharacterVocabulary, TokenizerVocabulary, Vocabulary

TOKENIZER_SETTINGS: Final = "tokenizer_config.json"
_UNKNOWN: Final = "<unknown character>"
"""Not in the vocabulary, so that the library raises an error where it would be needed."""


def tokenizer_files(vocabulary: Vocabulary | None) -> dict[str, bytes]:
    """Contents by file name; none without a vocabulary."""
    if vocabulary is None:
        return {}
    if isinstance(vocabulary, TokenizerVocabulary):
        return {TOKENIZER: vocabulary.text.encode("utf-8"), TOKENIZER_SETTINGS: _settings()}
    files = {VOCABULARY: vocabulary.text.encode("utf-8")}
    if isinstance(vocabulary, CharacterVocabulary) and _are_text(vocabulary):
        files[TOKENIZER] = character_tokenizer(vocabulary).encode("utf-8")
        files[TOKENIZER_SETTINGS] = _settings()
    return files


def character_tokenizer(vocabulary: CharacterVocabulary) -> str:
    """The ``tokenizer.json`` that splits a text into single characters, each a token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    ids = {character: index for index, character in enumerate(vocabulary.characters)}
    tokenizer = Tokenizer(models.WordLevel(vocab=ids, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return str(tokenizer.to_str())


def _are_text(vocabulary: CharacterVocabulary) -> bool:
    """Whether every token is one character: no half of a surrogate pair, nothing special."""
    return all(
        len(character) == 1 and not "\ud800" <= character <= "\udfff"
        for character in vocabulary.characters
    )


def _settings() -> bytes:
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids"],
    }
    return (json.dumps(settings, indent=2) + "\n").encode("utf-8")
