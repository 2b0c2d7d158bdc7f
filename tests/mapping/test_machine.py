"""What is priced and placed is what the fine Lava graph is made of, and what its processes did."""

from __future__ import annotations

from collections import Counter
from multiprocessing import RawArray
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.backends.lava.fine.session import FineSession
from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava
from spikegpt_neuro.decomposition.elements import FLAGS, SYNAPSES
from spikegpt_neuro.decomposition.neuron_programs import programs_of
from spikegpt_neuro.decomposition.schedule import schedule
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping.fine_units import HOST_GATE, fine_machine
from spikegpt_neuro.mapping.machine import machine_of
from spikegpt_neuro.mapping.units import Machine, Unit
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.random_networks import RandomShape, random_network

SHAPES = {
    "upstream": RandomShape(n_layer=1, n_embd=16, vocabulary_size=12),
    "rwkv": RandomShape("rwkv", 1, 16, 12, binary_embedding=False),
    "leaky": RandomShape("spike-driven", 1, 16, 12, firing=0.3, levels=3),
    "memoryless": RandomShape("spike-driven", 1, 16, 12, firing=0.3, voltage_decay=4096),
    "pre": RandomShape("upstream", 1, 16, 12, ffn_pre=True),
}
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]
MOST = 400
SENT, RECEIVED, OPERATIONS = range(3)


class Observed:
    """The processes of a fine graph, by element, and what each sent and read, in its own process.

    Each is told a row of memory that the processes share; their ports count into it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        prepare_lava()
        from lava.magma.core.model.py import ports

        from spikegpt_neuro.backends.lava.processes.fine_stage.models import _PartOfProcesses
        from spikegpt_neuro.backends.lava.processes.norm.models import LayerNormOfProcesses

        self.rows: dict[str, int] = {}
        self.built: dict[str, Any] = {}
        self._shared = RawArray("q", MOST * 3)
        self.counts = np.frombuffer(self._shared, np.int64).reshape(MOST, 3)
        counts, see = self.counts, self._see
        build, norm = _PartOfProcesses._build, LayerNormOfProcesses.__init__
        receive, send = ports.PyInPortVectorDense.recv, ports.PyOutPortVectorDense.send

        def building(part: Any, element: Any) -> Any:
            made = build(part, element)
            made.proc_params["element"] = element.name
            if element.program != "layer_norm":
                see(element.name, made)
            return made

        def norming(circuit: Any, proc: Any) -> None:
            norm(circuit, proc)
            name = proc.proc_params["element"]
            for suffix, made in (
                ("", circuit.channels), (".sums", circuit.sums), (".root", circuit.root),
                (".spread", circuit.spread),
            ):  # fmt: skip
                see(name + suffix, made)

        def row_of(port: Any) -> int | None:
            try:
                return int(port._process_model.proc_params["counted"])
            except KeyError:
                return None

        def receiving(port: Any) -> Any:
            values = receive(port)
            row, model = row_of(port), port._process_model
            if row is not None and hasattr(model, "weights"):
                read = np.asarray(values).reshape(-1) != 0
                reached = np.asarray((model.weights != 0).sum(axis=0)).reshape(-1)
                counts[row, RECEIVED] += int(read.sum())
                counts[row, OPERATIONS] += int(reached[read].sum())
            return values

        def sending(port: Any, values: Any) -> Any:
            row = row_of(port)
            sends = row is not None and not hasattr(port._process_model, "weights")
            # a norm's channels send limbs to their sums, which count them, and then values
            if sends and np.size(values) == port._process_model.s_out.shape[0]:
                counts[row, SENT] += int((np.asarray(values) != 0).sum())
            return send(port, values)

        monkeypatch.setattr(_PartOfProcesses, "_build", building)
        monkeypatch.setattr(LayerNormOfProcesses, "__init__", norming)
        monkeypatch.setattr(ports.PyInPortVectorDense, "recv", receiving)
        monkeypatch.setattr(ports.PyOutPortVectorDense, "send", sending)

    def _see(self, name: str, made: Any) -> None:
        self.rows[name] = made.proc_params["counted"] = len(self.rows)
        self.built[name] = made

    def of(self, name: str, what: int) -> int:
        return int(self.counts[self.rows[name], what])


def units(machine: Machine) -> list[Unit]:
    """Those that are processes; a chip's gates and what the host sends are not."""
    found = [unit for unit in machine.layers if isinstance(unit, Unit)]
    assert len(found) == len(machine.layers)
    return [unit for unit in found if unit.program not in ("host", "gate", "gate_lines")]


def emulated(network: Network) -> Counters:
    with Emulator().open(network) as session:
        session.score(TOKENS)
        return session.counters


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *((name, "pipelined") for name in SHAPES),
        *((name, "fall-through") for name in SHAPES if name not in ("pre", "rwkv")),
    ],
)
def test_what_is_priced_is_what_lava_built_and_counted(
    name: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that in steps without a token nothing is sent: fall-through counts no more."""
    network = random_network(SHAPES[name])
    machine = machine_of(network, load_profile("loihi2"))
    assert machine.is_fine
    lava = Observed(monkeypatch)
    with FineSession(network) as session:
        assert session.depth == machine.steps
        if mode == "pipelined":
            session.score(TOKENS)
        else:
            for token in TOKENS:
                session.step(token)
        done = session.counters
    assert done == emulated(network)
    priced = machine.counters(done)
    assert priced is not None
    assert priced.tokens == len(TOKENS)
    embedding = network.layers[0].name
    looked_up = {e.name for e in schedule(network).elements if e.layer == embedding}
    assert {unit.name for unit in units(machine)} == set(lava.built) - looked_up
    halves: Counter[str] = Counter()
    for unit in units(machine):
        process = lava.built[unit.name]
        if unit.part == "neuron":
            shape = process.a_in.shape if unit.program == "reciprocal_root" else process.s_out.shape
            assert unit.output.size == (1 if unit.program == "reciprocal_root" else shape[0])
            assert priced.count(unit.name, "output_events") == lava.of(unit.name, SENT), unit.name
            continue
        weights = process.weights.init
        assert unit.output.size * (MOST_OF_ROOT if unit.name.endswith(".sums") else 1) == (
            process.a_out.shape[0] // (3 if unit.name.endswith(".spread") else 1)
        )
        assert unit.non_zero == int((weights != 0).sum()), unit.name
        found = lava.of(unit.name, OPERATIONS), lava.of(unit.name, RECEIVED)
        if unit.name.endswith((".current", ".previous")):
            halves[unit.owner] += found[0] - priced.count(unit.name, "synaptic_operations")
            continue
        columns = ("synaptic_operations", "input_events")
        assert tuple(priced.count(unit.name, column) for column in columns) == found, unit.name
    # halves of a projection behind a hard token shift are counted together
    assert not any(halves.values())


MOST_OF_ROOT = 6
"""Sums that reach the one neuron of a norm's root."""


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
    for element in embedding:  # the host's
        found[element.program] += 1
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
            if unit.role == "synapse" and source != HOST_GATE:
                assert machine[source].role in ("neuron", "input")


@pytest.mark.parametrize("name", SHAPES)
def test_the_machine_has_the_graph_s_processes_and_steps(name: str) -> None:
    check_structure(random_network(SHAPES[name]))


def test_other_targets_and_chains_run_their_layers() -> None:
    network = random_network(SHAPES["upstream"])
    machine = machine_of(network, load_profile("loihi1-paper"))
    assert machine.layers == network.layers
    assert not machine.is_fine
