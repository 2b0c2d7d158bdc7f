"""Every design rule has a passing and a failing case; the last test sees that none is forgotten."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import RULES, check_rules, unchecked_rules
from spikegpt_neuro.mapping.partition import partition
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.random_networks import RandomShape, random_network


@cache
def _network(layout: str) -> Network:
    return random_network(RandomShape(layout=layout, n_layer=1, n_embd=16, levels=1))


@dataclass(frozen=True)
class Case:
    """One rule's limits that hold and that do not, and what it must say when they do not."""

    rule: str
    good: dict[str, Any]
    bad: dict[str, Any]
    subject: str
    message: str
    layout: str = "upstream"
    good_layout: str = ""
    cores: dict[str, int] = field(default_factory=dict)


CORES = {"cores_per_chip": 8, "weights_per_core": 4000}
CASES = (
    Case("weight_width", {"weight_bits": 8}, {"weight_bits": 6}, "blocks.0.srwkv.key",
         "weights need 8 bits, the target holds 6"),
    Case("payload_width", {"payload_bits": 24}, {"payload_bits": 16}, "embedding.norm",
         "sends 24 bits, a spike carries 16"),
    Case("graded_spikes", {"features": {"graded_spikes": True}},
         {"features": {"graded_spikes": False}}, "blocks.0.srwkv.key",
         "takes graded operands of 8 bits from blocks.0.srwkv.shift_key; spikes of this target "
         "carry no payload"),
    Case("accumulator_width", {"accumulator_bits": 24}, {"accumulator_bits": 12},
         "blocks.0.srwkv.key", "bits, the accumulator has 12"),
    Case("neuron_program", {"features": {"programmable_neurons": True}},
         {"features": {"programmable_neurons": False}}, "wkv",
         "1 layers of this kind; the target's neurons are fixed"),
    Case("lif_neurons", {"features": {"lif_neurons": True}}, {"features": {"lif_neurons": False}},
         "blocks.0.srwkv.lif", "the target has no leaky integrate-and-fire neurons"),
    Case("neuron_fits_core", {}, {"weights_per_core": 40}, "blocks.0.srffn.product",
         "one neuron has 64 weights, a core holds 40", cores=CORES),
    Case("fan_in", {"fan_in_per_neuron": 64}, {"fan_in_per_neuron": 63},
         "blocks.0.srffn.product", "fan-in 64, the target allows 63"),
    Case("input_axons", {"input_axons_per_core": 64}, {"input_axons_per_core": 63},
         "blocks.0.srffn.product", "64 axons end at a core, the target allows 63", cores=CORES),
    Case("output_axons", {"output_axons_per_core": 1000},
         {"output_axons_per_core": 3, "weights_per_core": 64},
         "blocks.0.srffn.square", "16 axons leave a core, the target allows 3", cores=CORES),
    Case("core_memory", {"memory_per_core": 10000}, {"memory_per_core": 60}, "core ",
         "bytes, its memory has 60", cores=CORES),
    Case("neuron_state", {"state_per_neuron": 40}, {"state_per_neuron": 30},
         "blocks.0.srwkv.wkv", "a neuron has 36 bytes of state, allowed are 30"),
    Case("neurons_per_core", {"neurons_per_core": 64}, {}, "", "", cores=CORES),
    Case("chip_capacity", {"neurons_per_chip": 10**6, "synapses_per_chip": 10**6},
         {"neurons_per_chip": 100}, "network", "neurons, a chip has 100"),
    Case("system_size", {"chips": 4}, {"chips": 1, "cores_per_chip": 1}, "network",
         "chips, board has 1", cores=CORES),
)  # fmt: skip


def _broken(
    make_profile: Callable[..., Profile], network: Network, case: Case, limits: dict[str, Any]
) -> list[tuple[str, str]]:
    profile = make_profile(**{**case.cores, **limits})
    cores = partition(network, profile, "middle") if case.cores else ()
    found = check_rules(network, profile, "middle", cores)
    return [(v.subject, v.message) for v in found if v.rule == case.rule]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_a_rule_passes_and_fails(make_profile: Callable[..., Profile], case: Case) -> None:
    network = _network(case.layout)
    assert _broken(make_profile, network, case, case.good) == []
    if not case.bad:
        return  # the partition never breaks this rule; see the test below
    broken = _broken(make_profile, network, case, case.bad)
    assert any(s.startswith(case.subject) and case.message in m for s, m in broken), broken


def test_neurons_per_core_fails_for_a_partition_made_for_another_target(
    make_profile: Callable[..., Profile],
) -> None:
    network = _network("upstream")
    cores = partition(network, make_profile(**CORES), "middle")
    tight = make_profile(**CORES, neurons_per_core=20)
    found = [
        v for v in check_rules(network, tight, "middle", cores) if v.rule == "neurons_per_core"
    ]
    assert found and found[0].message.endswith("the target allows 20")


def test_binary_operands_need_no_graded_spikes(make_profile: Callable[..., Profile]) -> None:
    profile = make_profile(features={"graded_spikes": False})
    found = check_rules(_network("spike-driven"), profile, "middle", ())
    assert [v.subject for v in found] == ["head.projection"]


def test_a_run_without_overflow_replaces_the_proof_of_width(
    make_profile: Callable[..., Profile],
) -> None:
    network = _network("upstream")
    narrow = replace(network["head.projection"], accumulator_bits=12)
    layers = tuple(narrow if layer.name == narrow.name else layer for layer in network.layers)
    network = replace(network, layers=layers)
    profile = make_profile(accumulator_bits=12)

    def broken(counters: Counters | None) -> list[str]:
        found = check_rules(network, profile, "middle", (), counters)
        return [v.message for v in found if v.subject == "head.projection"]

    assert "sums may need" in broken(None)[0]
    assert broken(Counters(9, {"head.projection": {"overflows": 0}})) == []
    assert broken(Counters(9, {"head.projection": {"overflows": 3}})) == [
        "3 sums in 9 tokens left the 12 bits of the accumulator"
    ]


def test_zero_weights_need_one_bit(make_profile: Callable[..., Profile]) -> None:
    network = _network("upstream")
    layers = tuple(
        replace(layer, weight=np.zeros_like(layer.weight)) if layer.kind == "dense" else layer
        for layer in network.layers
    )
    found = check_rules(replace(network, layers=layers), make_profile(weight_bits=1), "middle", ())
    assert found == ()


def test_a_rule_without_a_limit_is_named_as_not_checked(
    make_profile: Callable[..., Profile],
) -> None:
    everything = make_profile()
    assert unchecked_rules(everything) == tuple(rule.__name__ for rule in RULES)
    for case in CASES:
        open_rules = unchecked_rules(make_profile(**{**case.cores, **case.good}))
        assert (case.rule in open_rules) is (not case.good and not case.cores), case.rule
    # a limit of cores is no use where cores are not described
    assert "input_axons" in unchecked_rules(make_profile(input_axons_per_core=64))


def test_every_rule_has_a_case_and_a_sentence_of_its_own() -> None:
    assert {rule.__name__ for rule in RULES} == {case.rule for case in CASES}
    assert all(rule.__doc__ for rule in RULES)


def test_neurons_that_need_a_program_are_counted_by_kind(
    make_profile: Callable[..., Profile],
) -> None:
    """A block of upstream's layout has norms before both halves, the embedding's and the head's."""
    profile = make_profile(features={"programmable_neurons": False})
    found = {v.subject: v.message for v in check_rules(_network("upstream"), profile, "middle", ())}
    kinds = {
        "layer_norm": 4, "token_shift": 5, "wkv": 1, "sigmoid": 2, "product": 2,
        "residual": 2, "squared_relu": 1, "requantise": 1, "readout": 1,
    }  # fmt: skip
    assert found == {
        kind: f"{count} layers of this kind; the target's neurons are fixed"
        for kind, count in kinds.items()
    }


def test_weights_must_fit_the_synapse_memory(make_profile: Callable[..., Profile]) -> None:
    network = _network("upstream")
    cores = partition(network, make_profile(**CORES), "middle")
    most = max(core.weights for core in cores)

    def broken(limit: int) -> list[str]:
        profile = make_profile(**CORES, synapse_memory_per_core=limit)
        found = check_rules(network, profile, "middle", cores)
        return [v.message for v in found if v.rule == "core_memory"]

    assert broken(most) == []
    assert broken(most - 1)[0].endswith(f"its synapse memory has {most - 1}")


def test_a_chip_of_described_cores_has_its_own_capacity(
    make_profile: Callable[..., Profile],
) -> None:
    network = _network("upstream")
    profile = make_profile(**CORES, neurons_per_chip=100)
    cores = partition(network, profile, "middle")
    found = check_rules(network, profile, "middle", cores)
    assert {v.subject for v in found if v.rule == "chip_capacity"} == {
        f"chip {i}" for i in range(0, -(-len(cores) // 8))
    }


def test_chips_that_a_system_lacks_are_whole(make_profile: Callable[..., Profile]) -> None:
    network = random_network(RandomShape(n_layer=1, n_embd=32))
    limits = {"cores_per_chip": 8, "cores_per_tile": 1, "mesh_width": 4, "weights_per_core": 512}
    profile = make_profile(**limits, chips=1)
    cores = partition(network, profile, "middle")
    assert 16 < len(cores) < 64 and len(cores) % 8
    found = check_rules(network, profile, "middle", cores, None)
    (told,) = (violation.message for violation in found if violation.rule == "system_size")
    assert told == f"needs {math.ceil(len(cores) / 8)} chips, board has 1"
