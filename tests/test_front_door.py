"""``import spikegpt_neuro as sn``: what a notebook does, on a trained model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import spikegpt_neuro as sn
from spikegpt_neuro.errors import InputError

EXAMPLES = Path(__file__).parents[1] / "examples"
TEXT = (EXAMPLES / "kjv-4x192" / "kjv-valid.txt").read_text("ascii")[:600]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> object:
    path = tmp_path_factory.mktemp("front") / "model.net"
    sn.export(
        EXAMPLES / "spike-driven-graded" / "graded.pt", path,
        calibration=EXAMPLES / "kjv-4x192" / "kjv-valid.txt",
    )  # fmt: skip
    return sn.load(path)


def test_importing_is_light() -> None:
    code = (
        "import sys, spikegpt_neuro as sn; "
        "assert not {'torch', 'numpy', 'h5py', 'numba'} & set(sys.modules); print(dir(sn))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("export", "load", "open", "generate", "score", "trace", "verify", "energy", "map"):
        assert name in found.stdout


def test_text_and_bits(network: object) -> None:
    said = sn.generate(network, TEXT[:100], tokens=20)
    assert said == sn.generate(network, TEXT[:100], tokens=20)
    assert len(said) == 20
    assert said != sn.generate(network, TEXT[:100], tokens=20, temperature=1.5, seed=3)
    greedy = sn.generate(network, TEXT[:100], tokens=20, temperature=0)
    assert greedy == sn.generate(network, TEXT[:100], tokens=20, temperature=0, seed=3)
    scoring = sn.score(network, TEXT, context=256)
    assert scoring.characters == len(TEXT) - 1
    assert 1.0 < scoring.bits_per_character < 2.5


def test_spikes_of_a_layer_are_an_array(network: object) -> None:
    name = network.spiking_layers[0]  # type: ignore[attr-defined]
    spikes = sn.trace(network, TEXT[:50], name)
    assert spikes.shape == (50, 192)
    assert set(np.unique(spikes)) <= {0, 1, 2, 3} and spikes.any()
    with sn.open(network, trace=[name]) as session:
        session.score(range(10))
        assert session.trace(name).shape == (10, 192)
    with pytest.raises(InputError, match="give a list"):
        sn.open(network, trace=name)


def test_verify_energy_map(network: object) -> None:
    assert sn.verify(network, TEXT, ("emulator", "emulator"), tokens=20).equal
    for _ in range(2):  # the package of the same name is imported by the first call
        study = sn.energy(network, TEXT, tokens=40)
    assert study.main.energy is not None and study.main.energy.value > 0
    assert "loihi2" in repr(study)
    mapping = sn.map(network, "loihi2")
    assert mapping.chips >= 1
    least = sn.map(network, reads=TEXT[:40], aim="energy")
    priced = sn.energy(network, TEXT[:40], aim="energy").main
    assert priced.mapping is not None and priced.mapping.cores == least.cores
    assert len(least.cores) < len(mapping.cores)  # which cost power
    with pytest.raises(InputError, match="aim needs reads"):
        sn.map(network, aim="time")


def test_nothing_prints_a_novel(network: object) -> None:
    for value in (network, sn.energy(network, TEXT, tokens=20), sn.map(network)):
        assert len(repr(value)) < 1500
    assert repr(network).startswith("<LanguageModel: spike-driven layout, 4 blocks of width 192")
    html = network._repr_html_()  # type: ignore[attr-defined]
    assert "<table>" in html and "blocks.0.srwkv" in html


def test_a_network_may_be_a_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist|not a file"):
        sn.score(tmp_path / "none.net", TEXT)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sn.nonsense  # noqa: B018
