"""What is priced and placed is what the fine Lava graph is made of, and what its processes did."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
from unit_checks import compare_chain, compare_fine

from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.decomposition.elements import FLAGS, SYNAPSES
from spikegpt_neuro.decomposition.neuron_programs import programs_of
from spikegpt_neuro.decomposition.schedule import schedule
from spikegpt_neuro.generation import generate_closed
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping.fine_units import FEEDBACK, HOST_GATE, fine_machine
from spikegpt_neuro.mapping.machine import machine_of
from spikegpt_neuro.mapping.units import Unit
from spikegpt_neuro.network import Chain, ChainInfo, LanguageModel, Network, Port
from spikegpt_neuro.network.layers import Lif, RecurrentVariedCuba, VariedCuba, VariedLif
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.schema import Array, Layer
from spikegpt_neuro.network.selection import with_selection
from spikegpt_neuro.network.slayer_layers import ChannelDelay, NetxDense, RasterInput

SHAPES = {
    "upstream": RandomShape(n_layer=1, n_embd=16, vocabulary_size=12),
    "rwkv": RandomShape("rwkv", 1, 16, 12, binary_embedding=False),
    "leaky": RandomShape("spike-driven", 1, 16, 12, firing=0.3, levels=3),
    "memoryless": RandomShape("spike-driven", 1, 16, 12, firing=0.3, voltage_decay=4096),
    "pre": RandomShape("upstream", 1, 16, 12, ffn_pre=True),
}
VARIED = "varied"
"""Upstream, with LIF neurons that each leak at a rate of their own."""
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


def network_of(name: str) -> LanguageModel:
    if name != VARIED:
        return random_network(SHAPES[name])
    network = random_network(SHAPES["upstream"])
    random = np.random.default_rng(5)

    def varied(layer: Lif) -> VariedLif:
        values = {field.name: getattr(layer, field.name) for field in fields(layer)}
        decays = random.integers(0, 4097, layer.output.size).astype(np.int32)
        return VariedLif(**{**values, "voltage_decay": decays})

    layers = tuple(varied(x) if isinstance(x, Lif) else x for x in network.layers)
    return replace(network, layers=layers)


def test_steps_and_gates_of_a_block_worked_out_by_hand() -> None:
    """A norm squares when its input arrives and sends two steps later; synapses take a step; what
    follows in a core does not. A stage's gates hear those before them, the first the host's."""
    machine = fine_machine(network_of("upstream"))
    block = "blocks.0.srwkv"
    visits = {
        "embedding.table": (0,), HOST_GATE: (0,), "embedding.norm": (1, 3),
        "embedding.norm.sums": (2,), "embedding.norm.spread": (3,), "embedding.gates.lines": (1,),
        "embedding.gates": (3,), f"{block}.norm": (3, 5), f"{block}.gates.lines": (4,),
        f"{block}.gates": (5, 6, 7), f"{block}.previous": (5,), f"{block}.shift_key": (5,),
        f"{block}.key": (6,), f"{block}.wkv": (6,), f"{block}.gate": (6,), f"{block}.output": (7,),
        f"{block}.lif": (7,), f"{block}.residual": (7,), "blocks.0.srffn.norm": (7, 9),
        "blocks.0.srffn.value": (11,), "blocks.0.srffn.residual": (11,), "head.norm": (11, 13),
        "head.projection": (14,), "head.readout": (14,),
    }  # fmt: skip
    assert {name: machine.visits[name] for name in visits} == visits
    assert machine.steps == 14
    heard = {
        "embedding.gates.lines": HOST_GATE, "embedding.norm.gate": "embedding.gates",
        f"{block}.gates.lines": "embedding.gates", f"{block}.norm.gate": f"{block}.gates",
        f"{block}.wkv.gate": f"{block}.gates", f"{block}.lif.gate": f"{block}.gates",
        "blocks.0.srffn.gates.lines": f"{block}.gates", "head.norm.gate": "head.gates",
    }  # fmt: skip
    assert {name: machine[name].inputs for name in heard} == {n: (g,) for n, g in heard.items()}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *((name, "pipelined") for name in (*SHAPES, VARIED)),
        *((name, "fall-through") for name in SHAPES if name not in ("pre", "rwkv")),
    ],
)
def test_what_is_priced_is_what_lava_built_and_counted(
    name: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that in steps without a token nothing is sent: fall-through counts no more."""
    compared = compare_fine(network_of(name), TOKENS, mode, monkeypatch)
    assert min(compared.populations, compared.projections, compared.operations) > 0


@pytest.mark.parametrize(("name", "mode"), [("rwkv", "closed-loop"), ("leaky", "closed-loop")])
def test_a_closed_loop_is_priced_as_lava_built_it_and_counted(
    name: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Table, choice and way back included; the loop's tokens are the emulator's greedy ones."""
    chooser = with_selection(network_of(name))
    with EmulatorSession(chooser) as session:
        tokens = [3, *generate_closed(session, [3], 5)]
    compared = compare_fine(chooser, tokens, mode, monkeypatch)
    assert min(compared.populations, compared.projections, compared.operations) > 0


def test_a_chain_of_varied_neurons_is_what_stock_lava_built_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also with recurrent synapses; every neuron leaks at a rate of its own."""
    random = np.random.default_rng(7)

    def dense(name: str, source: str, n: int, m: int) -> NetxDense:
        port = Port(n, "accumulator", 32, True, 1.0)
        return NetxDense(name, (source,), port, random.integers(-60, 90, (n, m), np.int16))

    def delay(name: str, source: Layer) -> ChannelDelay:
        ones = np.ones(source.output.size, np.int32)
        return ChannelDelay(name, (source.name,), source.output, ones, 1)

    def decays(n: int) -> tuple[Array, Array]:
        current, voltage = (random.integers(1, 4097, n).astype(np.int32) for _ in range(2))
        return current, voltage

    spikes = ("binary", 1, False, 1.0)
    first = RasterInput("input.raster", (), Port(16, *spikes))
    before = delay("a.delay", first)
    bias = random.integers(0, 9, 24).astype(np.int32)
    one = VariedCuba("a.neuron", ("a.synapse",), Port(24, *spikes), bias, *decays(24), 300)
    between = delay("b.delay", one)
    other = RecurrentVariedCuba(
        "b.neuron", ("b.synapse",), Port(12, *spikes), np.zeros(12, np.int32), *decays(12), 400,
        random.integers(-60, 60, (12, 12), np.int16),
    )  # fmt: skip
    network = Chain(
        ChainInfo(),
        (first, before, dense("a.synapse", "a.delay", 24, 16), one, between,
         dense("b.synapse", "b.delay", 12, 24), other),
    )  # fmt: skip
    raster = (random.random((40, 16)) < 0.3).astype(np.int64)
    compared = compare_chain(network, raster, monkeypatch)
    assert (compared.populations, compared.projections, compared.neurons) == (2, 3, 36)
    assert 100 < compared.spikes < 40 * 36 and compared.operations > compared.spikes


def check_structure(network: Network) -> None:
    """Populations, neurons, synapses' processes, gates and time steps are those of the graph."""
    machine = fine_machine(network)
    planned = schedule(network)
    assert machine.steps == planned.depth
    expected = programs_of(planned)
    found: Counter[str] = Counter()
    neurons: Counter[str] = Counter()
    for unit in machine.layers:
        assert isinstance(unit, Unit)
        found[unit.program] += 1
        if unit.part == "neuron":
            neurons[unit.program] += unit.output.size
    embedding = [e for e in planned.elements if e.layer == network.layers[0].name]
    for element in [] if planned.chooses else embedding:  # the host's
        found[element.program] += 1
    if planned.chooses:  # of the flags that open and close the loop
        found["delay"] += planned.flag_delays
    for program, use in expected.items():
        if program == "gate_lines":  # the lines, and the neurons they end at
            assert found[program] == 2 * use.processes
            assert neurons[program] == use.neurons
            continue
        assert found[program] == use.processes, program
        if program not in SYNAPSES:
            assert neurons[program] == use.neurons, program
    assert set(found) == {*expected, "host", "gate"}
    gates = sum(len(stage.gates) for stage in planned.stages)
    assert neurons["gate_lines"] == FLAGS * gates
    delays = sum(e.size * e.latency for e in planned.elements if e.program == "delay")
    assert delays == planned.delay_words
    for unit in machine.layers:
        for source in unit.inputs:
            assert source in machine.by_name
            if unit.role == "synapse" and source not in (HOST_GATE, FEEDBACK):
                assert machine[source].role in ("neuron", "input")


@pytest.mark.parametrize("name", [*SHAPES, VARIED])
def test_the_machine_has_the_graph_s_processes_and_steps(name: str) -> None:
    check_structure(network_of(name))
    check_structure(with_selection(network_of(name)))


def test_other_targets_and_chains_run_their_layers() -> None:
    network = random_network(SHAPES["upstream"])
    machine = machine_of(network, load_profile("loihi1-paper"))
    assert machine.layers == network.layers
    assert not machine.is_fine
