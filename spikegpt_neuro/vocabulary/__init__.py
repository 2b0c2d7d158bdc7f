"""Vocabularies: text to token ids and back, exactly, with a clear error where they do not match."""

from spikegpt_neuro.vocabulary.base import DecodingStream, EncodedText, Tokens, Vocabulary
from spikegpt_neuro.vocabulary.characters import CharacterVocabulary
from spikegpt_neuro.vocabulary.files import (
    IN_FOLDER,
    parse_vocabulary,
    read_vocabulary,
    reference_to,
)
from spikegpt_neuro.vocabulary.tokenizer import TokenizerVocabulary, byte_tokenizer
from spikegpt_neuro.vocabulary.world import WorldVocabulary

__all__ = [
    "IN_FOLDER",
    "CharacterVocabulary",
    "DecodingStream",
    "EncodedText",
    "TokenizerVocabulary",
    "Tokens",
    "Vocabulary",
    "WorldVocabulary",
    "byte_tokenizer",
    "parse_vocabulary",
    "read_vocabulary",
    "reference_to",
]
