"""The same bytes whatever the hash seed, threads and locale; more by ``python -m attacks``."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from attacks.circumstances import CIRCUMSTANCES, OLDEST, SUITE, in_effect, known
from attacks.determinism import compare
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


def test_only_what_a_rule_names_may_differ() -> None:
    exports = ["export-4.out", "m.net", "m4.net"]
    assert known("PyTorch for SSE", [*exports, "e.json"]) == exports
    assert known("OpenBLAS for Prescott", exports) == ["export-4.out", "m4.net"]
    assert known("Python 3.10.13", ["m.net", "state.npz", "trace.npz"]) == [
        "state.npz",
        "trace.npz",
    ]
    for name in CIRCUMSTANCES:
        assert known(name, ["n.net", "score.out", "e.json", "trace.npz", "map.out"]) == []
    for name in ("as it is", "2 threads", "hash seed random", "kernels for a generic processor"):
        assert known(name, exports) == []


def test_what_another_processor_is_asked_for_is_in_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once; where the machine is no better than the one named, there is nothing to see."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")  # the environment around must not matter
    found = in_effect(sys.executable, CIRCUMSTANCES[OLDEST])
    own = in_effect(sys.executable, {})
    assert found["kernels"] == "generic" and found["kernels_with_avx512"] is False
    assert found["numpy"] == [] and found["pytorch"] == "DEFAULT"
    assert own["openblas"] != ["Nehalem"]
    if "X86_V3" in own["numpy"]:  # type: ignore[operator]
        assert found["openblas"] != own["openblas"] and found["glibc"] != own["glibc"]
