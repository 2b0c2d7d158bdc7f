"""The same bytes whatever the hash seed, threads and locale; more by ``python -m attacks``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from attacks.determinism import SUITE, compare
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.vocabulary import CharacterVocabulary

TEXT = Path(__file__).parents[2] / "examples/kjv-4x192/kjv-valid.txt"


def test_files_and_results_do_not_depend_on_the_circumstances(tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    characters = sorted(set(TEXT.read_text("utf-8")[:1500]))
    shape = RandomShape(n_layer=1, n_embd=16, vocabulary_size=len(characters))
    vocabulary = CharacterVocabulary(characters).text
    write_network(dataclasses.replace(random_network(shape), vocabulary=vocabulary), path)
    found = compare(SUITE, (), path)
    assert found["bad"] == []
    assert list(found["circumstances"]) == list(SUITE)
    assert {"e.json", "e.html", "trace.npz", "score.out", "o.npy"} <= set(found["digests"])
