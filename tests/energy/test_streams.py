"""Interleaved generations: schedules worked out on paper, their two ends, and what memory holds."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from spikegpt_neuro.energy import build_report
from spikegpt_neuro.energy.event_driven import alone
from spikegpt_neuro.energy.streams import Schedule, interleave, most_streams, stream_rows
from spikegpt_neuro.energy.study import Rows
from spikegpt_neuro.energy.timing import Clock
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile, load_profile

Depths = tuple[int, ...]


def _second(depths: Depths) -> float:
    assert depths == tuple(sorted(depths, reverse=True)) and len(set(depths)) == len(depths)
    return 1.0


def _steps_by_number(schedule: Schedule) -> dict[int, Fraction]:
    """Steps a token by how many tokens they work on."""
    found: dict[int, Fraction] = {}
    for depths, n in schedule.active.items():
        found[len(depths)] = found.get(len(depths), Fraction(0)) + n
    return found


# Three layers of a second each, a host that takes four. One text: 3 + 4. Two: the second follows a
# second behind, so four steps for two tokens, and a pause of three. Seven fill every second.
@pytest.mark.parametrize(
    ("streams", "seconds", "steps"),
    [
        (1, 7.0, {1: Fraction(3)}),
        (2, 3.5, {1: Fraction(2, 2), 2: Fraction(2, 2)}),
        (3, 7 / 3, {1: Fraction(2, 3), 2: Fraction(2, 3), 3: Fraction(1, 3)}),
        (7, 1.0, {3: Fraction(1)}),
        (12, 1.0, {3: Fraction(1)}),
    ],
)
def test_texts_follow_each_other_while_others_are_with_the_host(
    streams: int, seconds: float, steps: dict[int, Fraction]
) -> None:
    found = interleave(_second, 3, streams, 4.0)
    assert found.seconds == pytest.approx(seconds, rel=1e-12)  # sums of floats
    assert _steps_by_number(found) == steps
    # every token is at every depth once
    for depth in (1, 2, 3):
        assert sum(n for depths, n in found.active.items() if depth in depths) == 1


def test_a_host_that_answers_one_at_a_time_is_the_bound() -> None:
    # two texts: answered at 7 and 11, back from the layers at 10 and 14, so 8 seconds a round
    assert interleave(_second, 3, 1, 4.0, overlapping=False).seconds == 7.0
    assert interleave(_second, 3, 2, 4.0, overlapping=False).seconds == 4.0
    assert interleave(_second, 3, 9, 4.0, overlapping=False).seconds == 4.0


@pytest.mark.parametrize("overlapping", [True, False])
def test_a_schedule_repeats_what_it_was_taken_for(overlapping: bool) -> None:
    """Against a thousand rounds of tokens, of which none can begin before what it waits for ends:
    entered, walked, answered; times are whole, so nothing rounds."""
    rng = random.Random(7)
    for _ in range(60):
        depth, streams, trip = rng.randint(1, 9), rng.randint(1, 15), rng.randint(0, 20)
        found = interleave(_second, depth, streams, trip, overlapping=overlapping)
        ready, entered, answered = [0] * streams, -1, 0
        ends = []
        for number in range(1000 * streams):
            stream = number % streams
            entered = max(entered + 1, ready[stream])
            left = entered + depth
            answered = (left if overlapping else max(left, answered)) + trip
            ready[stream] = answered
            ends.append(left)
        tokens = 500 * streams
        assert found.seconds == pytest.approx((ends[-1] - ends[-1 - tokens]) / tokens, rel=1e-9)


def test_a_step_takes_as_long_as_its_slowest_layer() -> None:
    times = {1: 1.0, 2: 5.0, 3: 2.0}

    def slowest(depths: Depths) -> float:
        return max(times[depth] for depth in depths)

    assert interleave(slowest, 3, 1, 0.0).seconds == 8.0
    # two: (1, 3) 2 s, (2) 5 s, (1, 3)...: depths 1 and 2, 2 and 3, 3 and 1 in turn
    assert interleave(slowest, 3, 2, 0.0).seconds == (5.0 + 5.0 + 2.0) / 2
    assert interleave(slowest, 3, 3, 0.0).seconds == 5.0
    assert interleave(slowest, 3, 30, 0.0).seconds == 5.0


def test_a_step_waits_for_the_next_text_so_that_they_stay_together() -> None:
    """Two texts leave at 11 and 13 and are answered at 111 and 113. The step that the first begins
    alone ends at 112; the next begins at 113 with both, so that they leave at 123 and 125."""
    times = {1: 1.0, 2: 5.0, 3: 2.0}
    found = interleave(lambda depths: max(times[d] for d in depths), 3, 2, 100.0)
    assert found.seconds == 112 / 2
    assert found.active == {
        depths: Fraction(1, 2) for depths in ((1,), (2, 1), (3, 2), (3,))
    }  # fmt: skip


@pytest.mark.parametrize("layout", ["upstream", "spike-driven", "rwkv"])
@pytest.mark.parametrize("name", ["loihi2", "loihi1-paper", "loihi1-sanafe"])
def test_one_text_is_generation_and_very_many_are_prefill(
    run: Callable[..., Any], layout: str, name: str
) -> None:
    """Where a host answers at once: the low end of Loihi 2, all of Loihi 1's."""
    network, counters = run(layout, 1)
    profile = _roomy(load_profile(name))
    reports = [
        build_report(network, counters, profile, mode=m) for m in ("pipelined", "fall-through")
    ]
    prefill, generation = reports
    one, many = stream_rows(generation, (1, 500))
    assert generation.energy is not None and generation.timing is not None
    assert prefill.energy is not None and prefill.timing is not None
    for end in ("low", "value", "high"):
        assert getattr(one.energy, end) == pytest.approx(getattr(generation.energy, end), rel=1e-12)
        assert getattr(one.seconds, end) == pytest.approx(getattr(generation.timing, end), rel=1e-9)
    ends = ("low",) if name == "loihi2" else ("low", "value", "high")
    for end in ends:
        assert getattr(many.energy, end) == pytest.approx(getattr(prefill.energy, end), rel=1e-9)
        assert getattr(many.seconds, end) == pytest.approx(getattr(prefill.timing, end), rel=1e-9)
    assert stream_rows(prefill) == ()


def _roomy(profile: Profile) -> Profile:
    """The target with memory for any number of states."""
    limits = {k: f for k, f in profile.limits.items() if "memory" not in k and "state" not in k}
    return replace(profile, limits=limits)


def test_two_texts_share_idle_updates_and_power_and_nothing_else(run: Callable[..., Any]) -> None:
    """Without a host: half of the steps a token, in which every neuron works once."""
    network, counters = run("spike-driven", 1)
    report = build_report(network, counters, load_profile("loihi1-paper"), mode="fall-through")
    assert report.mapping is not None and report.energy is not None
    steps, chips = report.mapping.machine.steps, report.mapping.chips
    neurons = sum(layer.output.size for layer in network.layers if layer.role == "neuron")
    clock = Clock(report.units, report.mapping, report.profile, "value")
    one, two = stream_rows(report, (1, 2))
    assert one.energy is not None and two.energy is not None and two.seconds is not None
    # the second text enters one step behind the first, not half of the way
    lasts = [clock.step_with((k + 1, k)).seconds for k in range(1, steps)]
    lasts.append(clock.step_with((steps, 1)).seconds)
    seconds = sum(lasts) / 2
    assert two.seconds.value == pytest.approx(seconds, rel=1e-9)
    assert two.steps == steps / 2
    figures = report.profile.coefficients
    idle = Fraction(52, 10**12) * neurons * Fraction(steps, 2)
    assert report.timing is not None
    rest = figures["static_power_per_chip"].value * chips
    saved = idle + rest * (Fraction(report.timing.value) - Fraction(seconds))
    assert report.energy.value - two.energy.value == pytest.approx(float(saved), rel=1e-9)


def test_a_neuron_that_two_tokens_meet_in_a_step_is_updated_once(run: Callable[..., Any]) -> None:
    network, counters = run("upstream", 1)
    report = build_report(network, counters, load_profile("loihi2"), mode="fall-through")
    assert report.mapping is not None
    machine = report.mapping.machine
    twice = [name for name, visits in machine.visits.items() if len(visits) == 2]
    assert twice and all(alone(machine).working[name] == 2 for name in twice)
    clock = Clock(report.units, report.mapping, report.profile, "value")
    everything = clock.step_with(tuple(range(machine.steps, 0, -1)))
    assert everything.seconds == pytest.approx(clock.pipelined().seconds, rel=1e-12)


def test_states_of_all_texts_must_fit_beside_the_weights(run: Callable[..., Any]) -> None:
    """The bound, by adding one text after the other to every core and every neuron."""
    network, counters = run("spike-driven", 3)
    profile = load_profile("loihi2")
    report = build_report(network, counters, profile, mode="fall-through")
    mapping = report.mapping
    assert mapping is not None
    units = mapping.machine.by_name

    def words(name: str, all_of: int) -> int:
        size = units[name].output.size
        return (all_of + size - 1) // size

    def fits(texts: int) -> bool:
        for core in mapping.cores:
            held = core.bytes + 50 * core.neurons
            for part in core.slices:
                state = words(part.layer, units[part.layer].state_words)
                held += 4 * state * part.neurons * (texts - 1)
                constants = words(part.layer, units[part.layer].parameter_words)
                if 4 * (state * texts + constants) > 4096:
                    return False
            if held > 196608:
                return False
        return True

    found = most_streams(mapping)
    assert found is not None
    most, where = found
    assert fits(most) and not fits(most + 1)
    held, refused = stream_rows(report, (most, most + 1))
    assert held.energy is not None and held.violations == ()
    assert refused.energy is refused.seconds is None
    assert [(v.rule, v.subject) for v in refused.violations] == [("stream_state", where)]
    assert f"at most {most}" in refused.to_dict()["violations"][0]["message"]
    assert most_streams(replace(mapping, profile=_roomy(profile))) is None
    limits = {**profile.limits}
    limits["memory_per_core"] = replace(limits["memory_per_core"], value=Fraction(9))
    assert most_streams(replace(mapping, profile=replace(profile, limits=limits))) == (0, "core 0")


def test_no_time_no_streams_and_no_less_than_one(run: Callable[..., Any]) -> None:
    network, counters = run("upstream", 1)
    timeless = load_profile("spinnaker2-prototype")
    assert stream_rows(build_report(network, counters, timeless, mode="fall-through")) == ()
    with pytest.raises(InputError, match="at least one stream"):
        Rows(streams=(4, 0))
