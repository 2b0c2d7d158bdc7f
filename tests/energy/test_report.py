"""The energy report against closed forms, and what it says about spikes and about gaps."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.energy import EnergyReport, build_report, build_reports
from spikegpt_neuro.energy.timing import LIF_OPERATIONS
from spikegpt_neuro.errors import IncompleteKind, InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import Figure, Profile, list_profiles, load_profile
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.layers import Dense, Requantise

TOKENS = np.random.default_rng(5).integers(0, 50, 40).tolist()
"""Those of ``run``."""
PRICED = ("cmos45-int8", "cmos45-fp32", "loihi1-paper", "loihi1-sanafe", "loihi2", "truenorth")


@pytest.mark.parametrize("name", PRICED)
@pytest.mark.parametrize("mode", ["pipelined", "fall-through"])
def test_totals_equal_the_sum_of_their_parts_to_the_last_digit(
    run: Any, name: str, mode: str
) -> None:
    report = build_report(*run("upstream", 1), load_profile(name), mode=mode)
    energy = report.energy
    assert energy is not None
    values = report.to_dict()
    for key, total in (("", energy.value), ("_low", energy.low), ("_high", energy.high)):
        parts = [p[f"energy_joules_per_token{key}"] for p in values["parts"]]
        assert sum(parts) == sum(reversed(parts)) == math.fsum(parts) == total
        assert values[f"energy_joules_per_token{key}"] == total
    assert sum(e.value for e in report.by_category.values()) == energy.value
    assert sum(e.value for e in report.by_layer.values()) == energy.value
    assert sum(line.energy.value for line in report.lines) == energy.value
    assert sum(line.energy.high for line in report.lines) == energy.high
    assert sum(e.value for by in report.by_stage.values() for e in by.values()) == energy.value
    assert energy.low <= energy.value <= energy.high


def _close(found: float, exact: Fraction, parts: int) -> bool:
    """Equal but for the rounding of every part to the common grid (2**-51 of the high total, which
    is less than 2**12 times ``exact`` in these tests)."""
    return abs(Fraction(found) - exact) <= exact * parts * Fraction(1, 2**39)


def test_arithmetic_equals_its_closed_form(run: Any) -> None:
    network, counters = run("upstream", 1)
    report = build_report(network, counters, load_profile("cmos45-int8"))
    assert report.energy is not None
    picojoules = Fraction(0)
    for layer in network.layers:
        if isinstance(layer, Dense):
            macs = counters.count(layer.name, "synaptic_operations")
            picojoules += macs * (Fraction(2, 10) + Fraction(1, 10))
    synaptic = report.by_category["synaptic"].value
    assert _close(synaptic, picojoules / counters.tokens / 10**12, len(report.parts))
    prices = {
        "add": Fraction(1, 10), "multiply": Fraction(31, 10), "shift": Fraction(1, 10),
        "compare": Fraction(1, 10), "table": Fraction(15, 2),
    }  # fmt: skip
    picojoules = sum(
        (n * prices[kind] for layer in network.layers for kind, n in layer.operations().items()),
        Fraction(0),
    )
    elementwise = report.by_category["elementwise"].value
    assert _close(elementwise, picojoules / 10**12, len(report.parts))


def test_event_driven_equals_its_closed_form(run: Any) -> None:
    network, counters = run("spike-driven", 1)
    report = build_report(network, counters, load_profile("loihi1-paper"))
    tokens = counters.tokens
    operations = counters.total("synaptic_operations")
    exact = Fraction(236, 10) * operations / tokens / 10**12
    assert _close(report.by_category["synaptic"].value, exact, len(report.parts))
    updates = active = 0
    for layer in network.layers:
        wiring = layer.kind == "token_shift"  # hard shifts, in this layout
        if layer.kind not in ("dense", "binary_embedding") and not wiring:
            updates += layer.output.size * tokens
            active += counters.count(layer.name, "active_updates")
    exact = Fraction(81 * active + 52 * (updates - active), tokens * 10**12)
    assert _close(report.by_category["neuron"].value, exact, len(report.parts))


def test_generation_pays_for_neurons_that_wait(run: Any) -> None:
    network, counters = run("upstream", 1)
    profile = load_profile("loihi1-paper")
    prefill = build_report(network, counters, profile, mode="pipelined")
    generation = build_report(network, counters, profile, mode="fall-through")
    assert prefill.timing is not None and generation.timing is not None
    neurons = sum(
        layer.output.size
        for layer in network.layers
        if layer.kind not in ("dense", "binary_embedding")
    )
    waiting = Fraction(52 * neurons * (generation.timing.steps - 1), 10**12)
    found = Fraction(generation.by_category["neuron"].value) - Fraction(
        prefill.by_category["neuron"].value
    )
    assert _close(float(found), waiting, len(generation.parts))
    assert generation.timing.value > prefill.timing.value


def test_static_power_times_time_times_chips(run: Any) -> None:
    report = build_report(*run("upstream", 1), load_profile("loihi2"))
    assert report.timing is not None and report.mapping is not None
    assert report.mapping.chips == 1
    watts = Fraction(257, 1000) + Fraction(7, 10_000) * len(report.mapping.cores)
    exact = watts * Fraction(report.timing.value)
    assert _close(report.by_category["static"].value, exact, len(report.parts))


def _of_small_chips(cores: int, ceiling: Fraction) -> Profile:
    """Loihi 2 with chips of few cores, and another published ceiling of a chip's power."""
    profile = load_profile("loihi2")
    figures, limits = profile.coefficients, profile.limits
    fewer = replace(limits["cores_per_chip"], value=Fraction(cores))
    highest = replace(figures["power_ceiling_per_chip"], value=ceiling, low=ceiling, high=ceiling)
    return replace(
        profile,
        coefficients={**figures, "power_ceiling_per_chip": highest},
        limits={**limits, "cores_per_chip": fewer},
    )


@pytest.mark.parametrize("mode", ["pipelined", "fall-through"])
def test_chips_of_a_system_draw_the_power_measured_of_systems(run: Any, mode: str) -> None:
    """Watts, not from the report: 0.7 a chip (0.6 to 1.003), 0.0007 a core (0 to 0.0025)."""
    report = build_report(*run("upstream", 1), _of_small_chips(4, Fraction(226, 100)), mode=mode)
    assert report.timing is not None and report.mapping is not None
    chips, cores = report.mapping.chips, len(report.mapping.cores)
    assert chips == -(-cores // 4) > 1
    static = report.by_category["static"]
    for end, each_chip, each_core in (
        ("low", "0.6", "0"), ("value", "0.7", "0.0007"), ("high", "1.003", "0.0025"),
    ):  # fmt: skip
        watts = Fraction(each_chip) * chips + Fraction(each_core) * cores
        exact = watts * Fraction(getattr(report.timing, end))
        assert _close(getattr(static, end), exact, len(report.parts))
    named = {line.coefficient for line in report.lines if line.category == "static"}
    assert named == {"static_power_per_chip_in_system", "power_per_core_in_use"}


def test_mean_power_of_a_chip_above_the_published_ceiling_warns(run: Any) -> None:
    """Energy over time over chips, against ceilings just below and just above it."""
    probe = build_report(*run("upstream", 1), _of_small_chips(4, Fraction(226, 100)))
    assert probe.energy is not None and probe.timing is not None and probe.mapping is not None
    each = Fraction(probe.energy.value) / Fraction(probe.timing.value) / probe.mapping.chips
    for ceiling, warned in ((each * Fraction(99, 100), True), (each * Fraction(101, 100), False)):
        report = build_report(*run("upstream", 1), _of_small_chips(4, ceiling))
        found = [text for text in report.warnings if text.startswith("Mean power is")]
        assert len(found) == warned
        if warned:
            assert f"{float(each):.2f} W a chip" in found[0]
            assert found[0] in report.to_dict()["warnings"]


def test_upstream_layout_is_all_multiplications_and_the_report_says_so(run: Any) -> None:
    report = build_report(*run("upstream", 1), load_profile("cmos45-int8"))
    values = report.to_dict()
    assert values["accumulates_per_token"] == 0
    assert values["multiply_accumulates_per_token"] == values["synaptic_operations_per_token"] > 0
    assert any("No LIF spike enters a projection" in s for s in values["spike_statement"])
    assert values["spike_statement"][0] == "0 of 15 projections take spikes of LIF neurons."
    assert values["spike_statement"][1].startswith("0 of 15 projections took only operands 0")


def test_spike_driven_binary_layout_adds_everywhere_but_in_the_head(run: Any) -> None:
    report = build_report(*run("spike-driven", 1), load_profile("cmos45-int8"))
    graded = [layer.name for layer in report.layers if layer.operand == "graded"]
    assert graded == ["head.projection"]
    assert report.statement[0] == "14 of 15 projections take spikes of LIF neurons."
    assert report.statement[-1] == "Graded values of 8 bits enter head.projection."
    assert not any("No LIF spike" in s for s in report.statement)


def test_one_graded_operand_makes_a_layer_multiply(run: Any) -> None:
    network, counters = run("spike-driven", 1)
    counts = {name: dict(by) for name, by in counters.layers.items()}
    counts["blocks.0.srwkv.key"]["unit_input_events"] -= 1
    changed = Counters(counters.tokens, counts)
    report = build_report(network, changed, load_profile("cmos45-int8"))
    operands = {layer.name: layer.operand for layer in report.layers}
    assert operands["blocks.0.srwkv.key"] == "graded"
    assert operands["blocks.0.srwkv.value"] == "binary"


def test_graded_operands_on_binary_hardware_cost_repeated_spikes_at_the_high_end(run: Any) -> None:
    network, counters = run("spike-driven", 3)
    report = build_report(network, counters, load_profile("loihi1-paper"))
    assert any(v.rule == "graded_spikes" for v in report.violations)
    synaptic = report.by_category["synaptic"]
    graded = [layer for layer in report.layers if layer.operand == "graded"]
    products = _products(network)
    assert 0 < len(graded) < len(products)
    repeated = sum(products.pop(layer.name)[1] for layer in graded)
    single = sum(operations for operations, _ in products.values())
    exact = Fraction(236, 10) * (repeated + single) / counters.tokens / 10**12
    assert _close(synaptic.high, exact, len(report.parts))
    assert synaptic.low == synaptic.value < synaptic.high


@pytest.mark.parametrize("name", ["akida-akd1000", "speck", "xylo", "brainscales2", "gpu-measured"])
def test_no_data_is_never_zero(run: Any, name: str) -> None:
    report = build_report(*run("upstream", 1), load_profile(name))
    values = report.to_dict()
    assert report.energy is None
    assert values["energy_joules_per_token"] is None
    assert values["energy_note"] == "no per-operation data"
    assert values["not_counted"]


def test_events_without_a_price_are_listed_with_their_number(run: Any) -> None:
    report = build_report(*run("upstream", 1), load_profile("spinnaker2-catalogue"))
    listed = {n.what: n.count_per_token for n in report.not_counted}
    assert listed["neuron updates, active"] == report.per_token("active_updates")
    assert listed["packets delivered"] > 0
    assert {"static power of 1 chip", "power of the host"} <= set(listed)


def test_every_profile_and_mode_makes_a_report_that_json_can_hold(run: Any) -> None:
    network, counters = run("spike-driven", 3)
    profiles = [load_profile(name) for name in list_profiles()]
    reports = build_reports(network, counters, profiles)
    assert {r.profile.name for r in reports} == set(list_profiles())
    for report in reports:
        text = json.dumps(report.to_dict(), allow_nan=False)
        assert json.loads(text)["profile"] == report.profile.name


def test_the_same_inputs_give_the_same_report(run: Any) -> None:
    network, counters = run("upstream", 1)
    first, second = (
        json.dumps(build_report(network, counters, load_profile("loihi2")).to_dict())
        for _ in range(2)
    )
    assert first == second


def test_sensitivity_finds_what_moves_the_total(run: Any) -> None:
    report = build_report(*run("upstream", 1), load_profile("loihi2"))
    assert report.energy is not None
    by_name = {s.coefficient: s for s in report.sensitivity}
    synaptic = by_name["synaptic_operation"]
    # the elasticity of a coefficient that prices events is its share of the total
    share = report.by_category["synaptic"].value / report.energy.value
    assert synaptic.elasticity == pytest.approx(share, rel=1e-9)  # float division
    assert synaptic.at_low < report.energy.value < synaptic.at_high
    assert by_name["step_time"].elasticity > 0  # through static energy
    strengths = [s.elasticity for s in report.sensitivity]
    assert strengths == sorted(strengths, reverse=True)


def test_a_layer_kind_without_a_cost_model_is_an_error(run: Any) -> None:
    class Mystery(Requantise):
        kind: ClassVar[str] = "mystery"

    network, counters = run("upstream", 1)
    old = network["head.requantise"]
    new = Mystery(old.name, old.inputs, old.output, old.multiplier, old.shift)
    layers = tuple(new if layer is old else layer for layer in network.layers)
    with pytest.raises(IncompleteKind, match="'mystery' is not known to the registry of kinds"):
        build_report(replace(network, layers=layers), counters, load_profile("cmos45-int8"))


def test_counters_of_another_network_are_an_error(run: Any) -> None:
    network, _ = run("upstream", 1)
    _, other = run("spike-driven", 1)
    with pytest.raises(InputError, match=r"counters miss the layer 'blocks\.0\.srffn\.square'"):
        build_report(network, other, load_profile("cmos45-int8"))
    with pytest.raises(InputError, match="0 tokens"):
        build_report(network, Counters(), load_profile("cmos45-int8"))
    with pytest.raises(InputError, match="mode 'sideways' is unknown"):
        build_report(network, other, load_profile("cmos45-int8"), mode="sideways")


def test_profiles_share_a_lif_update_over_the_operations_this_package_counts() -> None:
    assert LIF_OPERATIONS == 20
    for name in ("loihi1-paper", "loihi2"):
        figure = load_profile(name).coefficients["neuron_operation"]
        assert figure.status == "assumed"
        assert figure.value == Fraction(81, LIF_OPERATIONS)


def _products(network: Network) -> dict[str, tuple[int, int]]:
    """By projection, recounted from its operands and weights: products of which neither is 0, and
    the unit additions that would make them."""
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    with Emulator().open(network, trace=[layer.inputs[0] for layer in dense]) as session:
        session.score(TOKENS)
        operands = {layer.name: session.trace(layer.inputs[0]).astype(np.int64) for layer in dense}
    found = {}
    for layer in dense:
        reached = (np.asarray(layer.weight) != 0).sum(axis=0)
        x = operands[layer.name]
        found[layer.name] = int(((x != 0) * reached).sum()), int((abs(x) * reached).sum())
    return found


@pytest.mark.parametrize(("layout", "levels"), [("upstream", 1), ("spike-driven", 3)])
def test_a_report_counts_the_products_of_its_run(run: Any, layout: str, levels: int) -> None:
    network, counters = run(layout, levels)
    report = build_report(network, counters, load_profile("loihi2"))
    assert isinstance(report, EnergyReport)
    assert report.counters.tokens == len(TOKENS) == 40
    products = _products(network)
    found = {x.name: (x.synaptic_operations, x.unit_additions) for x in report.layers}
    assert {name: found[name] for name in products} == products
    every = sum(operations for operations, _ in products.values())
    assert report.per_token("synaptic_operations") == every / 40


def test_a_host_power_in_a_users_profile_is_charged_over_the_time_of_a_token(run: Any) -> None:
    profile = load_profile("loihi2")
    watts = Figure("host_power", Fraction(2), Fraction(1), Fraction(3), "W", "measured", "me")
    with_host = replace(profile, coefficients={**profile.coefficients, "host_power": watts})
    network, counters = run("upstream", 1)
    report = build_report(network, counters, with_host, mode="fall-through")
    assert report.timing is not None and report.energy is not None
    exact = 2 * Fraction(report.timing.value)
    assert _close(report.by_category["host"].value, exact, len(report.parts))
    assert report.power_watts == report.energy.value / report.timing.value
    without = build_report(network, counters, profile, mode="fall-through")
    assert "power of the host" in {n.what for n in without.not_counted}


def test_hardware_that_cannot_skip_zeros_pays_for_all_products(run: Any) -> None:
    profile = load_profile("loihi1-paper")
    dense = replace(profile.features["event_driven_synapses"], value=False)
    features = {**profile.features, "event_driven_synapses": dense}
    network, counters = run("spike-driven", 1)
    report = build_report(network, counters, replace(profile, features=features))
    every = sum(layer.weight.size for layer in network.layers if isinstance(layer, Dense))
    exact = Fraction(236, 10) * every / 10**12
    assert _close(report.by_category["synaptic"].value, exact, len(report.parts))


def test_graded_spikes_are_called_spikes_and_priced_as_multiplications(run: Any) -> None:
    report = build_report(*run("spike-driven", 3), load_profile("cmos45-int8"))
    assert report.statement[0] == "14 of 15 projections take spikes of LIF neurons."
    graded = [layer for layer in report.layers if layer.operand == "graded"]
    assert f"Graded spikes of 2 bits enter {len(graded) - 1} projections." in report.statement
    for layer in graded:  # the others happened to see only 0 and 1
        assert layer.multiply_accumulates == layer.synaptic_operations > 0 == layer.accumulates


def test_a_profile_without_cores_still_prices_operations(run: Any) -> None:
    profile = replace(load_profile("loihi2"), limits={})
    report = build_report(*run("upstream", 1), profile, mode="fall-through")
    assert report.mapping is None and report.timing is None
    assert set(report.by_category) == {"synaptic", "neuron", "elementwise"}
    reasons = {n.what: n.why for n in report.not_counted}
    assert reasons["static power of 1 chip"].startswith("the profile describes no cores")
    assert reasons["transport of spikes"] == "the profile describes no cores"
    assert any(p.part.event.startswith("neuron updates, waiting") for p in report.parts)


def test_a_sequence_pays_for_the_time_its_pipeline_fills(run: Any) -> None:
    network, counters = run("upstream", 1)
    profile = load_profile("loihi2")
    prefill = build_report(network, counters, profile, mode="pipelined")
    generation = build_report(network, counters, profile, mode="fall-through")
    assert prefill.timing is not None and generation.timing is not None
    assert prefill.energy is not None and generation.energy is not None
    step, steps = prefill.timing.value, prefill.timing.steps
    assert prefill.timing.latency == step * steps
    assert prefill.timing.seconds(40) == step * (40 + steps - 1)
    static = prefill.by_category["static"].value
    assert prefill.joules_per_sequence == prefill.energy.value * 40 + static * (steps - 1)
    assert generation.timing.latency == generation.timing.value
    assert generation.timing.seconds(40) == generation.timing.value * 40
    assert generation.joules_per_sequence == generation.energy.value * 40
    time = prefill.to_dict()["time"]
    assert time["latency_seconds"] == step * steps
    assert time["seconds_per_sequence"] == step * (40 + steps - 1)


def test_a_step_that_links_bound_takes_their_time_and_at_worst_the_overhead(run: Any) -> None:
    network, counters = run("upstream", 1)
    profile = load_profile("loihi2")
    dear = Fraction(10**6)
    link = replace(profile.coefficients["link_time"], value=dear, low=dear, high=dear)
    dear_links = replace(profile, coefficients={**profile.coefficients, "link_time": link})
    report = build_report(network, counters, dear_links, mode="pipelined")
    assert report.timing is not None and report.mapping is not None
    packets = report.mapping.load_of(0).link
    assert packets > 0 and set(report.timing.bottlenecks) == {"links"}
    assert report.timing.low == report.timing.value == pytest.approx(packets * 1e-3, rel=1e-12)
    # 5400 ns is the longest step without work that the profile has
    assert report.timing.high == pytest.approx(packets * 1e-3 + 5400e-9, rel=1e-12)


def test_steps_that_nothing_fills_are_overhead_all_of_them(run: Any) -> None:
    network, counters = run("upstream", 1)
    profile = load_profile("loihi2")
    second = Fraction(10**9)
    step = replace(profile.coefficients["step_time"], value=second, low=second, high=second)
    coefficients = {**profile.coefficients, "step_time": step}
    del coefficients["host_round_trip_time"]
    slow = replace(profile, coefficients=coefficients)
    report = build_report(network, counters, slow, mode="fall-through")
    assert report.timing is not None
    assert report.timing.value == pytest.approx(report.timing.steps, rel=1e-12)
    assert report.timing.overhead_share == 1
    assert list(report.timing.bottlenecks) == ["overhead"]


def test_a_step_lasts_as_long_as_the_core_with_most_active_neurons_computes(run: Any) -> None:
    network, counters = run("upstream", 1)
    profile = load_profile("loihi2")
    second = Fraction(10**9)
    update = replace(
        profile.coefficients["neuron_update_active_time"], value=second, low=second, high=second
    )
    coefficients = {**profile.coefficients, "neuron_update_active_time": update}
    dear = replace(profile, coefficients=coefficients)
    report = build_report(network, counters, dear, mode="pipelined")
    assert report.timing is not None and report.mapping is not None
    active = {
        unit.name: Fraction(unit.active_updates, unit.tokens * unit.size) for unit in report.units
    }
    busiest = max(
        sum(part.neurons * active[part.layer] for part in core.slices)
        for core in report.mapping.cores
    )
    # all other times are below a millionth of these
    assert report.timing.value == pytest.approx(float(busiest), rel=1e-6)
    assert list(report.timing.bottlenecks) == ["compute"]


@pytest.mark.parametrize(("cores", "chips"), [(4, 2), (120, 1)])
def test_from_two_chips_on_a_step_may_last_as_long_as_one_of_prefill(
    run: Any, cores: int, chips: int
) -> None:
    network, counters = run("upstream", 1)
    profile = load_profile("loihi2")
    limit = replace(
        profile.limits["cores_per_chip"],
        value=Fraction(cores), low=Fraction(cores), high=Fraction(cores),
    )  # fmt: skip
    coefficients = dict(profile.coefficients)
    del coefficients["host_round_trip_time"]
    small = replace(
        profile, coefficients=coefficients, limits={**profile.limits, "cores_per_chip": limit}
    )
    prefill = build_report(network, counters, small, mode="pipelined")
    generation = build_report(network, counters, small, mode="fall-through")
    assert prefill.timing is not None and generation.timing is not None
    assert generation.mapping is not None and generation.mapping.chips == chips
    most = prefill.timing.high * generation.timing.steps
    if chips > 1:
        assert generation.timing.high == pytest.approx(most, rel=1e-12)
    else:
        assert generation.timing.high < 0.9 * most


def test_the_bill_names_every_event_once_with_its_count_and_price(run: Any) -> None:
    network, counters = run("upstream", 1)
    report = build_report(network, counters, load_profile("loihi2"))
    lines = {line.event: line for line in report.lines}
    assert len(lines) == len(report.lines)
    synaptic = lines["synaptic operations, graded"]
    of_units = sum(u.synaptic_operations for u in report.units if u.operand == "graded")
    assert synaptic.count * counters.tokens == pytest.approx(of_units, rel=1e-12)
    # norms, delays and gates of the fine graph have synapses that layers do not have
    assert of_units > counters.total("synaptic_operations")
    assert synaptic.joules_each == pytest.approx(12e-12, rel=1e-9)  # rounded to the grid
    static = lines["static power of 1 chip over the time of a token"]
    assert report.timing is not None
    assert static.over_time and static.count == report.timing.value
    assert static.joules_each == pytest.approx(0.257, rel=1e-9)  # watts
    assert not synaptic.over_time


@pytest.mark.parametrize(("levels", "bits"), [(1, 1), (3, 2)])
def test_events_are_counted_with_their_bits(run: Any, levels: int, bits: int) -> None:
    network, counters = run("spike-driven", levels)
    report = build_report(network, counters, load_profile("cmos45-int8"))
    values = {row["name"]: row for row in report.to_dict()["per_layer"]}
    for name in network.spiking_layers:
        assert values[name]["output_bits"] == bits
        assert values[name]["event_bits"] == bits * counters.count(name, "output_events")
    sent = sum(
        layer.output.bits * counters.count(layer.name, "output_events")
        for layer in network.layers
        if layer.kind not in ("dense", "token_shift")  # hard shifts are wiring
    )
    assert report.to_dict()["event_bits_per_token"] == sent / counters.tokens
