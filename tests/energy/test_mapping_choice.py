"""The mapping of least time or energy: never worse than simple ones, and near the best there is."""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.energy import build_report
from spikegpt_neuro.energy.activity import activities
from spikegpt_neuro.energy.busy import PREFILL, Busy, busy_groups, divisions
from spikegpt_neuro.energy.mapping_choice import AIMS, Aim, choose_mapping
from spikegpt_neuro.energy.timing import MODES, Mode
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import map_network
from spikegpt_neuro.mapping.demand import demands
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.random_networks import RandomShape, random_network


@cache
def counted(layout: str = "spike-driven", n_embd: int = 64) -> tuple[LanguageModel, Counters]:
    levels = 3 if layout == "spike-driven" else 1
    network = random_network(RandomShape(layout, 2, n_embd, 50, levels=levels))
    with Emulator().open(network) as session:
        session.score(np.random.default_rng(1).integers(0, 50, 40).tolist())
        return network, session.counters


@pytest.mark.parametrize(
    ("profile", "aim", "modes"),
    [
        ("loihi2", "time", MODES), ("loihi2", "energy", MODES[1:]),
        ("loihi1-paper", "time", MODES[:1]), ("loihi1-paper", "energy", MODES),
    ],
)  # fmt: skip
def test_the_choice_is_never_worse_and_keeps_all_limits(
    profile: str, aim: Aim, modes: tuple[Mode, ...]
) -> None:
    network, counters = counted()
    target = load_profile(profile)
    choice = choose_mapping(network, target, counters, aim, modes=modes)
    product = [np.prod([p.figure(aim, mode) for mode in modes]) for _, p in choice.rows]
    assert product[2] == min(product)
    mapping, packed = choice.chosen.mapping, choice.baseline.mapping
    assert mapping.chips == packed.chips
    assert len(mapping.cores) <= mapping.chips * (target.limit("cores_per_chip") or 0)
    assert {v.rule for v in mapping.violations} == {v.rule for v in packed.violations}
    placed: dict[str, list[tuple[int, int]]] = {}
    for core in mapping.cores:
        for part in core.slices:
            placed.setdefault(part.layer, []).append((part.begin, part.end))
    for demand in demands(mapping.machine):
        spans = sorted(placed.pop(demand.layer.name))
        assert spans[0][0] == 0 and spans[-1][1] == demand.layer.output.size
        assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    assert not placed
    for name, priced in choice.rows:  # one price: that of the energy report
        for mode in MODES:
            report = build_report(network, counters, target, mode=mode, mapping=priced.mapping)
            assert report.timing is not None and report.energy is not None
            assert priced.seconds(mode) == report.timing.value, name
            assert priced.joules(mode) == pytest.approx(report.energy.value, rel=1e-12)


def test_time_and_energy_are_two_choices_and_both_are_the_same_every_time() -> None:
    network, counters = counted(n_embd=192)
    target = load_profile("loihi2")
    time, energy = (choose_mapping(network, target, counters, aim) for aim in AIMS)
    product = [
        np.prod([choice.chosen.seconds(mode) for mode in MODES]) for choice in (time, energy)
    ]
    assert product[0] < product[1]
    assert len(time.chosen.mapping.cores) > len(energy.chosen.mapping.cores)
    # far better than as few cores as possible
    gain = time.gain("time", "pipelined", time.baseline)
    assert gain is not None and gain > 2
    again = choose_mapping(network, target, counters, "energy")
    assert again.chosen.mapping.cores == energy.chosen.mapping.cores
    assert json.dumps(again.to_dict()) == json.dumps(energy.to_dict())


def test_of_equal_mappings_the_one_with_fewer_cores_is_chosen() -> None:
    network, counters = counted()  # so small that every step is overhead with few cores
    target = load_profile("loihi2")
    choice = choose_mapping(network, target, counters, "time")
    chosen, spread = choice.chosen, choice.spread
    assert all(chosen.seconds(mode) <= spread.seconds(mode) for mode in MODES)
    assert len(chosen.mapping.cores) <= len(spread.mapping.cores)
    assert 2 * len(chosen.mapping.cores) < (target.limit("cores_per_chip") or 0)


@pytest.mark.parametrize("layout", ["spike-driven", "upstream", "rwkv"])
def test_the_model_of_busy_groups_is_the_time_of_the_packed_mapping(layout: str) -> None:
    network, counters = counted(layout)
    target = load_profile("loihi2")
    packed = map_network(network, target, counters=counters, spread="packed")
    units = packed.machine.counters(counters)
    assert units is not None
    busy = busy_groups(activities(packed.machine, units), packed)
    seconds = busy.seconds(busy.start)
    for mode, found in (("pipelined", seconds[PREFILL]), ("fall-through", seconds[1:].sum())):
        timing = build_report(network, counters, target, mode=mode, mapping=packed).timing
        assert timing is not None and "links" not in timing.bottlenecks
        assert found == pytest.approx(timing.value - timing.host_seconds, rel=1e-9), mode


def problem(seed: int, groups: int = 4, steps: int = 3) -> Busy:
    """Random work of groups, of which each but the first row's is in one step."""
    random = np.random.default_rng(seed)
    work = np.zeros((steps + 1, groups))
    work[PREFILL] = random.uniform(100, 10_000, groups)
    for group in range(groups):
        work[1 + group % steps, group] = work[PREFILL, group]
    nothing, none = np.zeros_like(work), np.zeros(0, np.int64)
    return Busy(
        tuple("abcdefgh"[:groups]), np.ones(groups, np.int64), np.full(groups, 100), work, nothing,
        nothing, none, none, none, none, np.zeros(0), 0.0, 0.0, 4, 50.0,
    )  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_dividing_cores_a_move_at_a_time_comes_close_to_trying_all_divisions(mode: Mode) -> None:
    cores, excess = 14, []

    def worth(_: Any, seconds: Any) -> float:
        return float(seconds[PREFILL] if mode == "pipelined" else seconds[1:].sum())

    for seed in range(20):
        busy = problem(seed)
        spare = cores - len(busy.groups)
        found = [worth(counts, busy.seconds(counts)) for counts in divisions(busy, spare, worth)]
        assert found == sorted(found, reverse=True)
        every = [
            np.array(counts)
            for counts in itertools.product(range(1, cores), repeat=len(busy.groups))
            if sum(counts) == cores
        ]
        excess.append(found[-1] / min(worth(counts, busy.seconds(counts)) for counts in every))
    # for one step, moves are optimal: cores of a level are the least that reach it
    assert np.mean(excess) < (1.001 if mode == "pipelined" else 1.05)
    assert max(excess) < (1.001 if mode == "pipelined" else 1.25)


def test_what_a_choice_needs_is_said() -> None:
    network, counters = counted()
    with pytest.raises(InputError, match="aim 'cores' is unknown; allowed: time, energy"):
        choose_mapping(network, load_profile("loihi2"), counters, "cores")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="describes no neuro cores"):
        choose_mapping(network, load_profile("cmos45-int8"), counters, "time")
    with pytest.raises(InputError, match="mode 'reading' is unknown"):
        choose_mapping(network, load_profile("loihi2"), counters, "time", modes=["reading"])  # type: ignore[list-item]
