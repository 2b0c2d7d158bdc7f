"""``usage`` counts one answer's streams and prices them as `energy` prices the same runs alone."""

from __future__ import annotations

import numpy as np
import pytest

from spikegpt_neuro.energy import build_report
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import map_network
from spikegpt_neuro.serving.engine import Engine
from spikegpt_neuro.serving.streams import End, Order
from spikegpt_neuro.serving.usage import Usage
from tests.serving.conftest import CHARACTERS, Heard, alone, sampler, small_network

PROMPTS = ("The king said", "And")


def _ends() -> list[End]:
    engine = Engine(small_network(), CHARACTERS, streams=2)
    heard = Heard()
    orders = [
        Order(CHARACTERS.encode(prompt).tolist(), 9, sampler(small_network())) for prompt in PROMPTS
    ]
    engine.submit(orders, heard.deliver())
    _, ends = heard.all(2)
    engine.close()
    found = [ends[0], ends[1]]
    assert all(isinstance(end, End) for end in found)
    return found  # type: ignore[return-value]


def test_events_and_joules_are_those_of_the_runs_alone() -> None:
    network, profile = small_network(), load_profile("loihi2")
    found = Usage(network, profile).of(_ends(), 16)
    assert (found["prompt_tokens"], found["completion_tokens"], found["total_tokens"]) == (
        16, 18, 34,
    )  # fmt: skip
    runs = [alone(prompt, 9) for prompt in PROMPTS]
    counted = [counters for run in runs for counters in (run.prompt, run.completion)]
    events = found["events"]
    assert events["synaptic_operations"] == sum(c.total("synaptic_operations") for c in counted)
    assert events["spikes"] == sum(
        c.count(layer, "output_events") for c in counted for layer in network.spiking_layers
    )
    neurons = sum(layer.output.size for layer in network.layers if layer.role == "neuron")
    assert events["neuron_updates"] == neurons * 34
    assert events["active_neuron_updates"] == sum(c.total("active_updates") for c in counted)
    # the network is placed once; each run is priced with its own traffic
    mapping = map_network(network, profile)
    joules = {"prompt": 0.0, "completion": 0.0}
    for run in runs:
        for part, counters, mode in (
            ("prompt", run.prompt, "pipelined"), ("completion", run.completion, "fall-through"),
        ):  # fmt: skip
            report = build_report(
                network, counters, profile, mode=mode, mapping=mapping.under(counters)
            )
            assert report.joules_per_sequence is not None
            joules[part] += report.joules_per_sequence
    energy = found["energy"]
    assert energy["prompt_joules"] == joules["prompt"] > 0
    assert energy["completion_joules"] == joules["completion"] > 0
    assert energy["joules"] == joules["prompt"] + joules["completion"]
    assert energy["joules_low"] < energy["joules"] < energy["joules_high"]
    assert energy["kind"] == "estimate" and "not a measurement" in energy["note"]


def test_a_mapping_takes_the_traffic_of_another_run() -> None:
    network, profile = small_network(), load_profile("loihi2")
    counters = alone("The king said", 9).prompt
    mapping = map_network(network, profile)
    assert mapping.traffic.assumed_dense and mapping.traffic.total > 0
    under = mapping.under(counters)
    assert under.cores == mapping.cores and under.placement is mapping.placement
    assert not under.traffic.assumed_dense
    assert 0 < under.traffic.total < mapping.traffic.total
    # the traffic is that of a mapping made with this run
    cores = map_network(network, profile, spread="packed")
    again = map_network(network, profile, counters=counters, spread="packed")
    assert cores.cores == again.cores
    taken, made = cores.under(counters).traffic, again.traffic
    assert taken.layers == made.layers and np.array_equal(taken.packets, made.packets)


def test_targets_without_cores_price_too_and_none_prices_nothing() -> None:
    ends = _ends()
    assert "energy" not in Usage(small_network(), None).of(ends, 16)
    energy = Usage(small_network(), load_profile("cmos45-int8")).of(ends, 16)["energy"]
    assert energy["joules"] > 0
    with pytest.raises(InputError, match="nothing can be priced"):
        Usage(small_network(), load_profile("akida-akd1000"))
