"""The fine graph as a machine: a unit for every element of it, built stage by stage.

A chip keeps synapses with the neurons they end at, and hears a gate through synapses: what the
graph joins without a process (a pair of flags at a population) is a synapse here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from spikegpt_neuro.decomposition.elements import (
    FLAGS,
    GATED,
    MOMENTS,
    NORM_STEPS,
    STATISTICS,
    SYNAPSES,
    Element,
)
from spikegpt_neuro.decomposition.neuron_programs import OWN_NEURONS
from spikegpt_neuro.decomposition.schedule import StagePlan, schedule, without_embedding
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.mapping.units import Counts, Machine, Steps, Unit
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.schema import Layer, Port, Role
from spikegpt_neuro.network.selection import STAGE

STOCK_STATE: Final = {"lif": 2, "graded": 1}
"""Words of state of stock neurons: current and voltage; the sum."""
HOST_GATE: Final = "token.gate"
"""The flags that the host sends with a token."""
FEEDBACK: Final = f"{STAGE}.feedback"
"""The neurons that pass the chosen token on, where the graph chooses it."""


def fine_machine(network: Network) -> Machine:
    """The fine graph as a chip gets it, without probes.

    The host sends the embedding's rows; not to a network that chooses its tokens itself, whose
    table is on the chip. That machine is as in the middle of a generation: the host sends nothing.
    """
    return _Builder(network).run()


def carried(events: int, operations: int, units: int = 0) -> Counts:
    """Counts of synapses whose operands are ``events``; ``units`` of these are 1."""
    return {
        "input_events": events, "unit_input_events": units, "synaptic_operations": operations,
        "unit_synaptic_operations": operations if units else 0, "unit_additions": operations,
    }  # fmt: skip


_OF_NEURONS = (
    "input_events",
    "unit_input_events",
    "output_events",
    "active_updates",
    "saturations",
)


class _Builder:
    """Collects units, stage by stage."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._planned = schedule(network)
        first, *others = self._planned.stages
        self._loops = self._planned.chooses
        self._stages = (first if self._loops else without_embedding(first), *others)
        self._units: dict[str, Unit] = {}
        self._visits: dict[str, Steps] = {}
        self._waiting: dict[str, int] = {}

    def run(self) -> Machine:
        """The whole graph."""
        name = self._network.layers[0].name
        if not self._loops:
            self._add(
                name, "host", (), self._network.layers[0].output, name, "input", (0,),
                count=lambda c: dict(c.layers.get(name, {})),
            )  # fmt: skip
        flags = Port(FLAGS, "binary", 1, False, 1.0)
        self._add(
            HOST_GATE, "host", (), flags, name, "input", (0,),
            count=lambda c: {"output_events": 0 if self._loops else c.tokens},
        )  # fmt: skip
        before = FEEDBACK if self._loops else HOST_GATE
        for plan in self._stages:
            before = self._stage(plan, before)
        if self._loops:
            self._feedback()
        # what waits does so at the neurons it waits for
        units = tuple(
            replace(unit, words=unit.words + self._waiting.get(unit.name, 0))
            for unit in self._units.values()
        )
        return Machine(
            self._network, units, {unit.name: unit.owner for unit in units}, self._visits,
            self._planned.depth, True,
        )  # fmt: skip

    def _add(
        self, name: str, program: str, inputs: tuple[str, ...], output: Port, owner: str,
        part: Role, visits: Steps, **facts: Any,
    ) -> None:  # fmt: skip
        place = facts.pop("place", self._network[owner].stage)
        self._units[name] = Unit(
            name=name, inputs=inputs, output=output, program=program, owner=owner, place=place,
            part=part, **facts,
        )  # fmt: skip
        self._visits[name] = visits

    def _stage(self, plan: StagePlan, before: str) -> str:
        """Its units; the name of its gates."""
        gates, owner, pairs = f"{plan.name}.gates", plan.layers[0].name, len(plan.gates)
        # of the spikes that are fed back any one says that a token is here
        axons = FLAGS if before != FEEDBACK else FLAGS + self._network.layers[-1].output.size
        flags = Port(FLAGS * pairs, "binary", 1, False, 1.0)
        self._add(
            f"{gates}.lines", "gate_lines", (before,), flags, owner, "synapse", (plan.base + 1,),
            axons=axons, synapses=axons - 1, non_zero=axons * pairs, width=1, row_sum=1, light=True,
            count=lambda c: carried(c.tokens, pairs * c.tokens, c.tokens),
        )  # fmt: skip
        self._waiting[gates] = FLAGS * sum(plan.gates)
        self._add(
            gates, "gate_lines", (f"{gates}.lines",), flags, owner, "neuron",
            tuple(plan.base + step for step in plan.gates), words=FLAGS * pairs,
            count=lambda c: {
                "output_events": pairs * c.tokens, "active_updates": pairs * c.tokens,
            },
        )  # fmt: skip
        for element in plan.elements:
            if element.program in SYNAPSES:
                self._synapses(element, plan)
                continue
            start = plan.levels[element.name] + element.gate_step == plan.base
            self._population(element, plan, before if start else gates)
        return gates

    def _population(self, element: Element, plan: StagePlan, gate: str) -> None:
        layer, size = self._network[element.layer], element.size
        step = plan.levels[element.name]
        inputs = tuple(dict.fromkeys(s for port in element.inputs for s in port))
        is_norm, is_gated = element.program == "layer_norm", element.program in GATED
        if is_norm:
            inputs += (f"{element.name}.spread",)
            self._norm(element, layer, step)
        visits = (step, step + NORM_STEPS) if is_norm else (step,)
        program = "normalise" if is_norm else element.program
        entry = OWN_NEURONS.get(program)
        state = STOCK_STATE[program] if entry is None else len(entry.states)

        def counted(c: Counters) -> Counts:
            found = {column: c.count(layer.name, column) for column in _OF_NEURONS}
            return found | ({"active_updates": c.tokens * size} if is_gated else {})

        if is_gated:
            inputs += (f"{element.name}.gate",)
            flag = Port(size, "accumulator", 8, True, 0.0)
            self._add(
                f"{element.name}.gate", "gate", (gate,), flag, layer.name, "synapse", visits[-1:],
                axons=FLAGS, synapses=FLAGS, non_zero=FLAGS * size, width=1, row_sum=1,
                light=True, count=lambda c: carried(c.tokens, size * c.tokens, c.tokens),
            )  # fmt: skip
        given = element.parameters
        arrays = sum(int(np.size(value)) for value in given.values() if np.ndim(value))
        self._add(
            element.name, program, inputs, layer.output, layer.name, "neuron", visits,
            words=state * size, constants=layer.parameter_words if "layer" in given else arrays,
            each=None if entry is None else entry.operations_of(layer.levels_compared),
            spiking=layer.fires, count=counted,
        )  # fmt: skip

    def _feedback(self) -> None:
        """The way back from the winner, and the flags that open and close it."""
        winner, depth = self._network.layers[-1], self._planned.depth
        size, entry = winner.output.size, OWN_NEURONS["feedback"]
        flags = f"{FEEDBACK}.flags"
        self._add(
            flags, "gate", (HOST_GATE,), Port(size, "accumulator", 8, True, 0.0), winner.name,
            "synapse", (depth,), axons=FLAGS, synapses=FLAGS, non_zero=FLAGS * size, width=1,
            row_sum=1, light=True, count=lambda c: carried(0, 0),
        )  # fmt: skip
        self._waiting[FEEDBACK] = FLAGS * depth
        self._add(
            FEEDBACK, "feedback", (winner.name, flags), winner.output, winner.name, "neuron",
            (depth,), words=len(entry.states) * size, each=entry.operations,
            count=lambda c: {
                "input_events": c.tokens, "unit_input_events": c.tokens,
                "output_events": c.tokens, "active_updates": c.tokens,
            },
        )  # fmt: skip

    def _table(self, element: Element, layer: Layer, port: Port, step: Steps) -> None:
        """Rows of the embedding, of which a token's spike meets one.

        Bits are counted as they are; of 16-bit rows every byte, also those that are 0.
        """
        weight, given = element.parameters["weight"], element.parameters
        low, high, rows = int(weight.min()), int(weight.max()), int(weight.shape[1])
        binary = layer.output.payload == "binary"

        def counted(c: Counters) -> Counts:
            met = c.count(layer.name, "output_events") if binary else c.tokens * element.size
            return carried(c.tokens, met, c.tokens)

        self._add(
            element.name, element.program, (FEEDBACK,), port, layer.name, "synapse", step,
            axons=rows, synapses=rows, non_zero=int(np.count_nonzero(weight)), bits=given["bits"],
            width=max(high, -1 - low).bit_length() + int(given["mixed"]),
            row_sum=max(high, -low) << given["exponent"],
            count=counted,
        )  # fmt: skip

    def _norm(self, element: Element, layer: Layer, step: int) -> None:
        """The sums of a norm: synapses to its root, the root, synapses back."""
        name, size = element.name, element.size
        accumulators = Port(size, "accumulator", 24, True, 0.0)
        self._add(
            f"{name}.sums", "sparse", (name,), replace(accumulators, size=1), layer.name,
            "synapse", (step + 1,), axons=MOMENTS * size, synapses=MOMENTS * size,
            non_zero=MOMENTS * size, width=1, light=True,
            count=lambda c: carried(
                c.count(layer.name, "sum_events"), c.count(layer.name, "sum_events")
            ),
        )  # fmt: skip
        entry = OWN_NEURONS["reciprocal_root"]
        self._add(
            f"{name}.root", "reciprocal_root", (f"{name}.sums",), Port(1, "graded", 24, True, 0.0),
            layer.name, "neuron", (step + 1,), constants=len(entry.parameters),
            each=entry.operations,
            count=lambda c: {
                "input_events": c.count(layer.name, "sum_events"), "active_updates": c.tokens,
                "output_events": c.count(layer.name, "statistic_events"),
            },
        )  # fmt: skip
        self._add(
            f"{name}.spread", "sparse", (f"{name}.root",), accumulators, layer.name, "synapse",
            (step + NORM_STEPS,), axons=STATISTICS, synapses=STATISTICS,
            non_zero=STATISTICS * size, width=1, light=True,
            count=lambda c: carried(
                c.count(layer.name, "statistic_events"),
                c.count(layer.name, "statistic_events") * size,
            ),
        )  # fmt: skip

    def _synapses(self, element: Element, plan: StagePlan) -> None:
        inputs = tuple(dict.fromkeys(s for port in element.inputs for s in port))
        step = (plan.levels[element.name] + element.latency,)
        layer = self._network.by_name.get(element.layer)
        port = Port(element.size, "accumulator", 32, True, 0.0)
        if layer is not None and layer.rows is not None:
            self._projection(element, layer, inputs, port, step)
            return
        if layer is not None and layer.role == "input":
            self._table(element, layer, port, step)
            return
        # one synapse a neuron: a delay, or the whole factors of a residual's branch
        source = self._units[inputs[0]]
        part: Role = "wiring" if source.part in ("synapse", "wiring") else "synapse"
        largest, place = 1, element.stage
        if element.program == "delay":
            readers = [e for e in plan.elements if any(element.name in p for p in e.inputs)]
            for reader in readers:
                words = element.size * element.latency
                self._waiting[reader.name] = self._waiting.get(reader.name, 0) + words
            owner = readers[0].layer
        else:
            owner = element.layer
            largest = int(np.abs(element.parameters["weight"].data).max())

        def counted(c: Counters) -> Counts:
            events = c.count(source.owner, "output_events")
            return carried(events, events)

        self._add(
            element.name, element.program, inputs, port, owner, part, step, axons=element.size,
            synapses=1, non_zero=element.size, width=largest.bit_length() + 1, row_sum=largest,
            light=True, place=place, count=counted,
        )  # fmt: skip

    def _projection(
        self, element: Element, layer: Layer, inputs: tuple[str, ...], port: Port, step: Steps
    ) -> None:
        columns, bits = element.parameters["columns"], element.parameters["bits"]
        fan_out = layer.fan_out if columns is None else layer.fan_out[columns]  # type: ignore[attr-defined]
        read, whole = fan_out.size, layer.operand_size
        is_last = element.name.endswith(".previous")

        def counted(c: Counters) -> Counts:
            found = dict(c.layers.get(layer.name, {}))
            if read == whole:
                return found
            if is_last:  # what rounding leaves
                return {k: n - n * (whole - read) // whole for k, n in found.items()}
            return {k: n * read // whole for k, n in found.items()}

        self._add(
            element.name, element.program, inputs, port, layer.name, "synapse", step, axons=read,
            synapses=read, non_zero=int(fan_out.sum()), bits=bits, width=layer.weight_width,
            row_sum=layer.largest_row_sum, declared_bits=layer.sum_bits, count=counted,
        )  # fmt: skip
