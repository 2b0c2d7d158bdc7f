"""A search keeps its budget, loses least of what was tried, and goes on where it was broken off."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.converters import sensitivity
from spikegpt_neuro.converters.export import export_checkpoint
from spikegpt_neuro.converters.moments import sample_windows
from spikegpt_neuro.converters.reduction import Candidate, adopt
from spikegpt_neuro.converters.sensitivity import mean_bits
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.fitting.front import write_plot, write_table
from spikegpt_neuro.fitting.points import Budget
from spikegpt_neuro.fitting.search import Fitting, _bytes
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping.partition import partition
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.file import read_network, write_network
from spikegpt_neuro.network.layers import Dense, Lif
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.vocabulary import read_vocabulary

ROOT = Path(__file__).parents[2]
NETWORK = random_network(RandomShape(n_layer=2, n_embd=96, vocabulary_size=600))
PROFILE = load_profile("loihi2")
WINDOWS = np.random.default_rng(0).integers(0, 600, (6, 48))


@pytest.fixture(scope="module")
def search() -> Fitting:
    return Fitting(NETWORK, WINDOWS, PROFILE, packing="pessimistic", joules=True)


def test_the_network_fits_its_cores(search: Fitting, tmp_path: Path) -> None:
    now = search.before.cores
    found = search.fit(Budget(cores=now - 4))
    assert found.point.cores <= now - 4
    assert len(partition(found.network, PROFILE, "pessimistic")) == found.point.cores
    assert found.point.loss == pytest.approx(
        found.point.bits_per_token - search.before.bits_per_token
    )
    assert sum(point.chosen for point in found.front) == 1
    assert search.before in found.front
    for name, choice in found.choices.items():
        layer = found.network[name]
        assert isinstance(layer, Dense)
        assert layer.weight_bits == choice.bits
    write_network(found.network, tmp_path / "fitted.net")
    read = read_network(tmp_path / "fitted.net")
    with EmulatorSession(read) as one, EmulatorSession(found.network) as other:
        assert np.array_equal(one.score(WINDOWS[0].tolist()), other.score(WINDOWS[0].tolist()))
    write_table(found.front, tmp_path / "front.csv")
    rows = list(csv.DictReader((tmp_path / "front.csv").open()))
    assert [int(row["cores"]) for row in rows] == [point.cores for point in found.front]
    write_plot(found.front, tmp_path / "front.svg", 1.0)
    assert "<svg" in (tmp_path / "front.svg").read_text()


def test_more_room_loses_less(search: Fitting) -> None:
    losses = []
    sizes = np.linspace(*(sum(f(row) for row in search._bytes) for f in (min, max)), 6)
    for size in sizes:
        chosen = search.chosen(size)
        losses.append(
            sum(
                row[options.index(chosen.weights[name])]
                for row, (name, options) in zip(search._losses, search.table.items(), strict=False)
            )
        )
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == 0  # all 8 bits of every weight


def test_cores_are_those_of_the_graph_that_is_loaded(tmp_path: Path) -> None:
    """Gates and the sums of norms take cores, too, where neurons are few a core."""
    text = (ROOT / "hardware_profiles" / "loihi2.toml").read_text("utf-8")
    small, changed = re.subn(r"(\[limits.neurons_per_core\]\nvalue = )8192", r"\g<1>64", text)
    assert changed == 1
    (tmp_path / "small.toml").write_text(small, "utf-8")
    profile = load_profile(str(tmp_path / "small.toml"))
    network = random_network(RandomShape(n_layer=1, n_embd=32, vocabulary_size=40))
    search = Fitting(network, WINDOWS[:, :32] % 40, profile)
    assert len(partition(network, profile, "middle")) == 17
    assert search.before.cores == 19
    assert search.fit(Budget(cores=19)).point.cores == 19
    with pytest.raises(InputError, match="takes 19 cores, the budget is 18"):
        search.fit(Budget(cores=18))


def test_a_budget_of_joules_prunes(search: Fitting) -> None:
    before = search.before.joules
    assert before is not None
    found = search.fit(Budget(joules=0.97 * before))
    assert found.point.joules is not None
    assert found.point.joules <= 0.97 * before


def test_a_budget_of_joules_clips_spikes(tmp_path: Path) -> None:
    """Of neurons of 15 levels some are clipped; broken off, the search gives the same again."""
    network = random_network(
        RandomShape(
            "spike-driven", 1, 48, 40, firing=0.5, levels=15, voltage_decay=4096,
            binary_embedding=False,
        )
    )  # fmt: skip
    layers = (
        replace(layer, threshold=3 * layer.threshold) if isinstance(layer, Lif) else layer
        for layer in network.layers  # thresholds of 2**k would cost the same at any level
    )
    network = replace(network, layers=tuple(layers))
    windows = WINDOWS[:, :32] % 40
    search = Fitting(network, windows, PROFILE, mode="pipelined", joules=True, folder=tmp_path)
    before = search.before
    assert before.joules is not None
    found = search.fit(Budget(joules=0.9 * before.joules))
    assert found.point.joules is not None
    assert found.point.joules <= 0.9 * before.joules
    assert found.levels.keys() == search.clips.keys()
    assert min(found.levels.values()) < 15
    assert found.network.info.quantisation["levels"] == found.levels
    for name, levels in found.levels.items():
        layer = found.network[name]
        assert isinstance(layer, Lif)
        assert layer.levels == levels
    assert found.point.levels is not None
    assert before.levels == 15 > found.point.levels
    joules = [point.joules or 0.0 for point in found.front]
    assert joules == sorted(joules, reverse=True)
    write_plot(found.front, tmp_path / "front.svg", 1.0)
    again = Fitting(network, windows, PROFILE, mode="pipelined", joules=True, folder=tmp_path)
    assert again.fit(Budget(joules=0.9 * before.joules)).levels == found.levels


def test_budgets_nothing_keeps(search: Fitting) -> None:
    with pytest.raises(InputError, match=r"takes \d+ cores, the budget is 2"):
        search.fit(Budget(cores=2))
    with pytest.raises(InputError, match="smallest network takes"):
        search.fit(Budget(joules=1e-12))
    for wrong in ({}, {"chips": 1, "cores": 2}, {"chips": 0}):
        with pytest.raises(InputError, match="budget"):
            Budget(**wrong)
    with pytest.raises(InputError, match="no neuro cores"):
        Fitting(NETWORK, WINDOWS, load_profile("cmos45-int8"))


def test_a_search_broken_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(RandomShape(n_layer=1, n_embd=16, vocabulary_size=20))
    windows = WINDOWS % 20
    whole = Fitting(network, windows, PROFILE).table
    calls: list[str] = []
    breaking = [True]
    original = sensitivity.candidate

    def counting(*arguments: object) -> object:
        calls.append(str(arguments[1]))
        if breaking[0] and len(calls) == 4:
            raise RuntimeError("broken off")
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sensitivity, "candidate", counting)
    with pytest.raises(RuntimeError, match="broken off"):
        Fitting(network, windows, PROFILE, folder=tmp_path)
    done = set(calls[:3])
    calls.clear()
    breaking[0] = False
    resumed = Fitting(network, windows, PROFILE, folder=tmp_path).table
    assert not done & set(calls)
    for name, options in whole.items():
        for one, other in zip(options, resumed[name], strict=True):
            assert one.choice == other.choice
            assert np.array_equal(one.weight, other.weight)
            assert np.array_equal(one.scale, other.scale)
    other_text = Fitting(network, windows, PROFILE, folder=tmp_path)  # all kept now
    assert other_text.before.cores == len(partition(network, PROFILE, "middle"))
    with pytest.raises(InputError, match="another network"):
        Fitting(network, windows[:3], PROFILE, folder=tmp_path)


@pytest.mark.slow
def test_chosen_widths_lose_less_than_even_ones(tmp_path: Path) -> None:
    """On a trained model, in as many bytes, over text that the choice was not made on."""
    folder = ROOT / "examples" / "kjv-4x192"
    vocabulary = read_vocabulary(folder / "kjv-4x192.vocab.json")
    train = vocabulary.encode((folder / "kjv-train.txt").read_text("utf-8")).tolist()
    valid = vocabulary.encode((folder / "kjv-valid.txt").read_text("utf-8"))[: 200 * 256]
    export_checkpoint(folder / "kjv-4x192.pth", tmp_path / "8.net", calibration=train)
    network = read_network(tmp_path / "8.net")
    assert isinstance(network, LanguageModel)
    search = Fitting(network, sample_windows(network, train), PROFILE)
    text = valid.reshape(-1, 256)

    def loss(chosen: Mapping[str, Candidate]) -> float:
        return mean_bits(adopt(network, chosen), text) - before

    before = mean_bits(network, text)
    evenly, by_choice = [], []
    for bits in (3, 4):
        even = {
            name: next(option for option in options if option.choice.bits == bits)
            for name, options in search.table.items()
        }
        evenly.append(loss(even))
        by_choice.append(loss(search.chosen(sum(map(_bytes, even.values()))).weights))
    # 0.019 against 0.022 when this was written; ranking by divergences gave 0.041
    assert sum(by_choice) < sum(evenly)
