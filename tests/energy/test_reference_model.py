"""The trained model in examples/: its report is quick, exact, and says what the layout is."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.energy import Study, TextRun, build_study, run_text
from spikegpt_neuro.hardware_profiles import list_profiles, load_profile
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.reports.html import html_page
from spikegpt_neuro.reports.tabular import as_json
from spikegpt_neuro.vocabulary import read_vocabulary

EXAMPLE = Path(__file__).parents[2] / "examples" / "kjv-4x192"
CHARACTERS = 20_000
SECONDS = 30.0
"""Of processor time, which does not grow when other programs keep the machine busy."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Network, TextRun, float]]:
    """The exported model, its run over 20,000 characters, and the processor seconds that took."""
    vocabulary = read_vocabulary(EXAMPLE / "kjv-4x192.vocab.json")
    calibration = vocabulary.encode((EXAMPLE / "kjv-train.txt").read_text("utf-8")[:10_240])
    path = tmp_path_factory.mktemp("reference") / "kjv.net"
    export_checkpoint(EXAMPLE / "kjv-4x192.pth", path, calibration=calibration.tolist())
    network = read_network(path)
    text = (EXAMPLE / "kjv-valid.txt").read_text("utf-8")[:CHARACTERS]
    tokens = vocabulary.encode(text).tolist()
    started = time.process_time()
    run = run_text(Emulator(), network, tokens)
    yield network, run, time.process_time() - started


def _study(model: tuple[Network, TextRun, float], *names: str) -> Study:
    network, run, _ = model
    return build_study(network, run, [load_profile(n) for n in names], text="kjv-valid.txt")


@pytest.mark.slow
@pytest.mark.parametrize("name", list_profiles())
def test_a_report_per_profile_takes_less_than_thirty_seconds(
    model: tuple[Network, TextRun, float], name: str
) -> None:
    started = time.process_time()
    study = _study(model, name)
    as_json(study.to_dict())
    html_page(study)
    assert model[2] + time.process_time() - started < SECONDS
    for report in study.reports:
        parts = [p["energy_joules_per_token"] for p in report.to_dict()["parts"]]
        assert sum(parts) == math.fsum(parts) == (report.energy.value if report.energy else 0)


@pytest.mark.slow
def test_the_released_layout_multiplies_everywhere(
    model: tuple[Network, TextRun, float],
) -> None:
    study = _study(model, "cmos45-int8")
    report = study.main
    assert report.per_token("accumulates") == 0
    assert report.per_token("dense_operations") == 4 * 13 * 192 * 192 + 63 * 192
    rates = {layer.name: layer.input_rate for layer in report.layers if layer.role == "synapse"}
    values = [rate for name, rate in rates.items() if name.endswith("srffn.value")]
    others = [rate for name, rate in rates.items() if not name.endswith("srffn.value")]
    # the squared ReLU is the only layer that saves much
    assert max(values) < 0.7 < sum(others) / len(others)
    gain = next(b.ratio for b in study.comparisons[0].baselines if b.name == "dense int8")
    assert gain is not None and 1.0 < gain < 2.0
    answers = study.comparisons[0].answers
    assert "Five times less: no." in answers[0]
