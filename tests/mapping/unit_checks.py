"""What a mapping places and prices, held unit by unit against a real Lava graph's processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import RawArray
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.backends.lava.fine.session import FineSession, LoopSession
from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava
from spikegpt_neuro.decomposition.schedule import schedule
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping.demand import demands
from spikegpt_neuro.mapping.fine_units import FEEDBACK
from spikegpt_neuro.mapping.machine import machine_of
from spikegpt_neuro.mapping.units import Machine, Unit
from spikegpt_neuro.network import Chain, LanguageModel
from spikegpt_neuro.network.selection import SelectingModel

MOST = 4000
"""Processes a graph has at most here."""
SENT, RECEIVED, OPERATIONS = range(3)
RECURRENT = ".recurrent"
MOST_OF_ROOT = 6
"""Sums that reach the one neuron of a norm's root."""


@dataclass(frozen=True)
class Compared:
    """What was found equal: processes, and totals of what they held and did."""

    populations: int
    projections: int
    neurons: int
    weights: int
    operations: int
    spikes: int


class Observed:
    """The processes of a graph, by element, and what each sent and read, in its own process.

    Each is told a row of memory that the processes share; their ports count into it. Of a chain
    (``stock``), whose synapses deliver a step late, what is read counts when it is delivered.
    """

    def __init__(self, patch: pytest.MonkeyPatch, *, stock: bool = False) -> None:
        prepare_lava()
        self.rows: dict[str, int] = {}
        self.built: dict[str, Any] = {}
        self._shared = RawArray("q", MOST * 3)
        self.counts = np.frombuffer(self._shared, np.int64).reshape(MOST, 3)
        (self._name_stock if stock else self._name_fine)(patch)
        self._count(patch, late=stock)

    def _name_fine(self, patch: pytest.MonkeyPatch) -> None:
        from spikegpt_neuro.backends.lava.fine import session as fine_session
        from spikegpt_neuro.backends.lava.processes.fine_stage.models import _PartOfProcesses
        from spikegpt_neuro.backends.lava.processes.norm.models import LayerNormOfProcesses

        see, build, norm = self._see, _PartOfProcesses._build, LayerNormOfProcesses.__init__
        loop = fine_session._Loop.__init__

        def looping(way: Any, *given: Any) -> None:
            loop(way, *given)
            see(FEEDBACK, way.neurons)

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

        patch.setattr(fine_session._Loop, "__init__", looping)
        patch.setattr(_PartOfProcesses, "_build", building)
        patch.setattr(LayerNormOfProcesses, "__init__", norming)

    def _name_stock(self, patch: pytest.MonkeyPatch) -> None:
        from spikegpt_neuro.backends.lava.chains import stock_chain

        see, names = self._see, [""]
        dense, neurons, held = stock_chain.StockDense, stock_chain.neurons, stock_chain.held_weights

        def holding(layer: Any) -> Any:
            names.append(layer.name)
            return held(layer)

        def connecting(**parameters: Any) -> Any:
            made = dense(**parameters)
            name = names[-1] + (RECURRENT if names[-1] in self.built else "")
            see(name, made)
            return made

        def firing(layer: Any, shape: Any) -> Any:
            made = neurons(layer, shape)
            see(layer.name, made)
            return made

        patch.setattr(stock_chain, "held_weights", holding)
        patch.setattr(stock_chain, "StockDense", connecting)
        patch.setattr(stock_chain, "neurons", firing)

    def _count(self, patch: pytest.MonkeyPatch, *, late: bool) -> None:
        from lava.magma.core.model.py import ports

        counts = self.counts
        receive, send = ports.PyInPortVectorDense.recv, ports.PyOutPortVectorDense.send
        waiting: dict[int, tuple[int, int]] = {}

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
                now = int(read.sum()), int(reached[read].sum())
                events, operations = waiting.pop(row, (0, 0)) if late else now
                waiting[row] = now
                counts[row, RECEIVED] += events
                counts[row, OPERATIONS] += operations
            return values

        def sending(port: Any, values: Any) -> Any:
            row = row_of(port)
            sends = row is not None and not hasattr(port._process_model, "weights")
            # a norm's channels send limbs to their sums, which count them, and then values
            if sends and np.size(values) == port._process_model.s_out.shape[0]:
                counts[row, SENT] += int((np.asarray(values) != 0).sum())
            return send(port, values)

        patch.setattr(ports.PyInPortVectorDense, "recv", receiving)
        patch.setattr(ports.PyOutPortVectorDense, "send", sending)

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


def emulated(network: LanguageModel | Chain, steps: Any) -> Counters:
    with Emulator().open(network) as session:
        session.score(steps)
        return session.counters


def compare_fine(
    network: LanguageModel, tokens: Sequence[int], mode: str, patch: pytest.MonkeyPatch
) -> Compared:
    """Run the fine graph and compare every unit of the machine with its process.

    In fall-through each token is read alone; that it counts no more says that in steps without a
    token nothing is sent. In a closed loop the first is read and the others are chosen: all but it
    are fed back. Raises AssertionError with the unit's name.
    """
    machine = machine_of(network, load_profile("loihi2"))
    assert machine.is_fine
    lava = Observed(patch)
    loops = isinstance(network, SelectingModel)
    with (LoopSession if loops else FineSession)(network) as session:
        assert session.depth == machine.steps
        if mode == "pipelined":
            session.score(tokens)
        elif mode == "closed-loop":
            assert isinstance(session, LoopSession)
            assert session.run_loop(tokens[:1], len(tokens) - 1).tolist() == list(tokens[1:])
        else:
            for token in tokens:
                session.step(token)
        done = session.counters
    assert done == emulated(network, tokens)
    priced = machine.counters(done)
    assert priced is not None
    assert priced.tokens == len(tokens)
    embedding = network.layers[0].name
    looked_up = {e.name for e in schedule(network).elements if e.layer == embedding}
    listed = units(machine)
    assert {unit.name for unit in listed} == set(lava.built) - (set() if loops else looked_up)
    halves: Counter[str] = Counter()
    weights = 0
    for unit in listed:
        process = lava.built[unit.name]
        if unit.part == "neuron":
            shape = process.a_in.shape if unit.program == "reciprocal_root" else process.s_out.shape
            assert unit.output.size == (1 if unit.program == "reciprocal_root" else shape[0])
            if unit.name == FEEDBACK:
                fed_back = len(tokens) - 1 if mode == "closed-loop" else 0
                assert lava.of(unit.name, SENT) == fed_back
                continue
            assert priced.count(unit.name, "output_events") == lava.of(unit.name, SENT), unit.name
            continue
        held = int((process.weights.init != 0).sum())
        assert unit.output.size * (MOST_OF_ROOT if unit.name.endswith(".sums") else 1) == (
            process.a_out.shape[0] // (3 if unit.name.endswith(".spread") else 1)
        )
        assert unit.non_zero == held, unit.name
        weights += held
        found = lava.of(unit.name, OPERATIONS), lava.of(unit.name, RECEIVED)
        if unit.name.endswith((".current", ".previous")):
            halves[unit.owner] += found[0] - priced.count(unit.name, "synaptic_operations")
            continue
        columns = ("synaptic_operations", "input_events")
        if unit.owner == embedding and network[embedding].output.bits == 16:
            # bytes that are 0 are priced, and have no synapse
            assert found[1] == priced.count(unit.name, "input_events")
            assert found[0] <= priced.count(unit.name, "synaptic_operations")
            continue
        assert tuple(priced.count(unit.name, column) for column in columns) == found, unit.name
    # halves of a projection behind a hard token shift are counted together
    assert not any(halves.values()), halves
    populations = [unit for unit in listed if unit.part == "neuron"]
    return Compared(
        len(populations), len(listed) - len(populations), sum(u.output.size for u in populations),
        weights, sum(lava.of(u.name, OPERATIONS) for u in listed),
        sum(lava.of(u.name, SENT) for u in populations),
    )  # fmt: skip


def compare_chain(
    network: Chain, raster: npt.NDArray[np.int64], patch: pytest.MonkeyPatch
) -> Compared:
    """Run the chain on stock processes and compare every layer with its process, see above."""
    machine = machine_of(network, load_profile("loihi2"))
    lava = Observed(patch, stock=True)
    from spikegpt_neuro.backends.lava.chains.session import StockChainSession

    with StockChainSession(network) as session:
        answer = session.score(raster)
    with Emulator().open(network) as session:
        assert np.array_equal(session.score(raster), answer)
        priced = machine.counters(session.counters)
    assert priced is not None
    needed = {demand.layer.name: demand for demand in demands(machine)}
    placed = [s.name for d in needed.values() for s in d.synapses if s.name != d.layer.name]
    again = [name + RECURRENT for name, d in needed.items() if d.layer.fan_in]
    assert {*needed, *placed, *again} == set(lava.built)
    for name, demand in needed.items():
        assert lava.built[name].s_out.shape == (demand.layer.output.size,)
        assert priced.count(name, "output_events") == lava.of(name, SENT), name
        for synapse in demand.synapses:
            process = synapse.name + (RECURRENT if synapse.name == name else "")
            shape = lava.built[process].weights.init.shape
            assert shape == (demand.layer.output.size, synapse.axons), process
            assert synapse.fan_in == synapse.axons
            done = priced.count(synapse.name, "synaptic_operations")
            assert done == lava.of(process, OPERATIONS), process
            if synapse.name != name:
                read = priced.count(synapse.name, "input_events")
                assert read == lava.of(process, RECEIVED), process
    synapses = [*placed, *again]
    return Compared(
        len(needed), len(synapses), sum(d.layer.output.size for d in needed.values()),
        sum(int((lava.built[name].weights.init != 0).sum()) for name in synapses),
        sum(lava.of(name, OPERATIONS) for name in synapses),
        sum(lava.of(name, SENT) for name in needed),
    )  # fmt: skip
