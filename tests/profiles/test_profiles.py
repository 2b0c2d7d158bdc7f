"""Hardware profiles: the shipped ones load, and a wrong file is refused with everything listed."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import list_profiles, load_profile, parse_profile
from spikegpt_neuro.hardware_profiles.schema import (
    COEFFICIENTS,
    CURVES,
    FEATURES,
    LIMITS,
    STATUSES,
)


def _valid() -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "mine",
        "title": "Mine",
        "summary": "A test chip.",
        "method": "event-driven",
        "coefficients": {
            "synaptic_operation": {
                "value": Decimal("1.5"), "low": 1, "high": 2, "unit": "pJ", "status": "measured",
                "source": "me",
            }
        },
    }  # fmt: skip


def test_the_promised_profiles_are_there() -> None:
    assert set(list_profiles()) >= {
        "cmos45-fp32", "cmos45-int8", "loihi1-paper", "loihi1-sanafe", "loihi2",
        "spinnaker2-prototype", "spinnaker2-catalogue", "truenorth", "jetson-orin-nano",
        "gpu-measured", "akida-akd1000", "speck", "xylo", "brainscales2",
    }  # fmt: skip


@pytest.mark.parametrize("name", list_profiles())
def test_every_number_of_a_shipped_profile_has_unit_status_and_source(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    for figure in (*profile.coefficients.values(), *profile.limits.values()):
        assert figure.status in STATUSES and figure.source and figure.unit
        assert figure.low <= figure.value <= figure.high
    for curve in profile.curves.values():
        assert curve.status in STATUSES and curve.source
    assert profile.warnings or profile.unpublished


@pytest.mark.parametrize("name", ["akida-akd1000", "speck", "xylo", "brainscales2"])
def test_structure_only_targets_hold_no_energy_at_all(name: str) -> None:
    profile = load_profile(name)
    assert profile.method == "structure-only"
    assert not any(COEFFICIENTS[c][0] in ("pJ", "J") for c in profile.coefficients)


def test_published_values_are_kept_to_the_digit() -> None:
    loihi1 = load_profile("loihi1-paper").coefficients
    assert loihi1["synaptic_operation"].value == Fraction(236, 10)
    assert loihi1["neuron_update_active"].value == 81
    assert loihi1["neuron_update_idle"].value == 52
    loihi2 = load_profile("loihi2").coefficients
    assert loihi2["synaptic_operation"].status == "derived"
    assert loihi2["static_power_per_chip"].status == "measured"
    assert loihi2["static_power_per_chip"].low == Fraction(232, 1000)
    int8 = load_profile("cmos45-int8").coefficients
    mac = int8["synaptic_add"].value + int8["synaptic_multiply"].value
    assert mac / int8["synaptic_add"].value == 3
    fp32 = load_profile("cmos45-fp32").coefficients
    assert fp32["synaptic_add"].value + fp32["synaptic_multiply"].value == Fraction(46, 10)


def test_a_curve_is_straight_between_points_and_constant_beyond() -> None:
    sram = load_profile("cmos45-int8").curves["sram_access"]
    assert [sram.at(x) for x in (0, 4096, 8192, 20480, 32768, 1 << 20, 1 << 24)] == [
        0, 5, 10, 15, 20, 100, 100,
    ]  # fmt: skip


def test_a_valid_profile_parses_and_low_high_alone_give_the_mean() -> None:
    values = _valid()
    del values["coefficients"]["synaptic_operation"]["value"]
    figure = parse_profile(values).coefficients["synaptic_operation"]
    assert (figure.low, figure.value, figure.high) == (1, Fraction(3, 2), 2)
    assert figure.has_range


def test_all_problems_are_listed_at_once() -> None:
    values = _valid()
    values["colour"] = "blue"
    values["schema"] = 2
    values["coefficients"]["synaptic_operation"].update(unit="nJ", source="", pj=3)
    values["coefficients"]["neuron_update_active"] = {
        "value": 3, "low": 4, "unit": "pJ", "status": "guessed", "source": "me",
    }  # fmt: skip
    values["coefficients"]["neuron_update_idle"] = {
        "value": True, "unit": "pJ", "status": "assumed", "source": "me",
    }  # fmt: skip
    values["coefficients"]["typing"] = {}
    values["limits"] = {
        "cores_per_chip": {"value": 0, "unit": "cores", "status": "vendor", "source": "me"}
    }
    values["curves"] = {
        "sram_access": {
            "points": [[1, 2], [1, 3]], "argument_unit": "bytes", "unit": "pJ",
            "status": "derived", "source": "me", "note": "n",
        }
    }  # fmt: skip
    values["features"] = {"graded_spikes": {"value": 1, "status": "vendor", "source": "me"}}
    values["systems"] = [{"name": "x", "chips": 0, "status": "vendor", "source": "me"}]
    with pytest.raises(InputError) as error:
        parse_profile(values, "mine.toml")
    expected = (
        "profile: unknown key 'colour'",
        "profile: schema must be 1",
        "coefficients.synaptic_operation: unknown key 'pj'",
        "coefficients.synaptic_operation: unit 'nJ', must be 'pJ'",
        "coefficients.synaptic_operation: source must be text that is not empty",
        "coefficients.neuron_update_active: status 'guessed'",
        "coefficients.neuron_update_active: must have low <= value <= high",
        "coefficients.neuron_update_idle: assumed figures need a note",
        "coefficients.neuron_update_idle: value must be a finite number >= 0",
        "coefficients: unknown name 'typing'",
        "limits.cores_per_chip: value must be a whole number >= 1",
        "limits: weights_per_core_pessimistic, weights_per_core_middle, weights_per_core_optimistic"
        " missing; a profile describes cores wholly or not",
        "curves.sram_access: arguments must rise",
        "features.graded_spikes: value must be true or false",
        "systems[0]: chips must be a whole number >= 1",
    )
    for start in expected:
        assert any(p.startswith(start) for p in error.value.problems), (start, str(error.value))
    assert len(error.value.problems) == len(expected)


def test_a_structure_only_profile_with_an_energy_is_refused() -> None:
    values = _valid()
    values["method"] = "structure-only"
    with pytest.raises(InputError, match="a structure-only profile has no energies"):
        parse_profile(values)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="cmos45-int8"):
        load_profile("loihi9")


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'schema = 1\nname = "mine"\ntitle = "t"\nsummary = "s"\nmethod = "per-token"\n'
        '[coefficients.energy_per_token]\nvalue = 0.25\nunit = "J"\nstatus = "measured"\n'
        'source = "wall socket"\n'
    )
    assert load_profile(path).coefficients["energy_per_token"].value == Fraction(1, 4)
    path.write_text("schema = ")
    with pytest.raises(InputError, match="as a TOML file"):
        load_profile(path)
    with pytest.raises(InputError, match="does not exist"):
        load_profile(tmp_path / "absent.toml")


def test_every_name_of_the_schema_is_described() -> None:
    for _, description in (*COEFFICIENTS.values(), *LIMITS.values()):
        assert description
    assert all(len(row) == 3 for row in CURVES.values())
    assert all(FEATURES.values())


def test_the_documentation_names_every_key_of_the_schema() -> None:
    page = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text("utf-8")
    prefixes = ("elementwise_", "weights_per_core_")  # listed once, with their endings
    for name in (*COEFFICIENTS, *CURVES, *LIMITS, *FEATURES):
        if name.endswith("_time") and name != "barrier_time":
            continue  # "times of the same events with the suffix _time"
        assert name in page or (name.startswith(prefixes) and f"_{name.split('_')[-1]}" in page)
    for name in list_profiles():
        assert f"`{name}`" in page, name


def test_truenorth_keeps_its_two_operating_points_apart() -> None:
    """72 mW over a million neurons at 20 Hz with 128 synapses, and the peak of 400 GSOPS/W."""
    figure = load_profile("truenorth").coefficients["synaptic_operation"]
    assert figure.value == figure.high == 26 and figure.low == Fraction(5, 2)
    assert round(0.072 / (2**20 * 20 * 128) * 1e12, 1) == 26.8  # printed as 26
    assert figure.low == Fraction(10**12, 400 * 10**9)
    assert figure.status == "measured"
    for word in ("20 Hz", "128 active synapses", "0.775 V", "400 GSOPS/W", "0.75 V"):
        assert word in figure.note


def test_spinnaker2_idle_updates_are_an_assumption_of_their_own() -> None:
    figures = load_profile("spinnaker2-prototype").coefficients
    active, idle = figures["neuron_update_active"], figures["neuron_update_idle"]
    assert active.value == 2190 and active.status == "measured"
    assert (idle.low, idle.value, idle.high) == (0, 219, 2190)
    assert idle.status == "assumed" and "No figure of an idle update was found" in idle.note
