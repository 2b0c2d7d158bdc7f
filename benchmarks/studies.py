"""The studies: each returns plain values for the JSON file and the plots."""

from __future__ import annotations

import gc
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.classes import CLASSES, HEADLINE, QUICK_CLASSES, ModelClass, write_checkpoint
from benchmarks.contenders import Contender, Ours, RwkvPackage, TorchModel, random_tokens
from benchmarks.measure import (
    BandwidthProbe,
    clock,
    in_fresh_process,
    paired_ratio,
    rounds,
    summary,
)
from spikegpt_neuro.arithmetic import dense as synapses
from spikegpt_neuro.arithmetic.compiler import kernel
from spikegpt_neuro.backends.emulator import BLOCK, Emulator, EmulatorSession
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.network.layers import Dense

Say = Callable[[str], None]

DENSITIES = (1.0, 0.5, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.02)
"""Shares of active inputs of one projection."""

PROJECTIONS = {False: ((3072, 768), (768, 768), (768, 3072)), True: ((256, 64),)}
"""Shapes (inputs, outputs), by whether to be quick."""


@dataclass(frozen=True)
class Plan:
    """How thorough to be."""

    quick: bool
    rounds: int
    say: Say

    @property
    def classes(self) -> tuple[ModelClass, ...]:
        """Model classes to measure."""
        return QUICK_CLASSES if self.quick else CLASSES

    @property
    def headline(self) -> ModelClass:
        """The class the goals are stated for."""
        named = [c for c in self.classes if c.name == HEADLINE]
        return named[0] if named else self.classes[-1]


def _stepping(contender: Contender, tokens: list[int], steps: int) -> Callable[[], float]:
    """A turn: seconds a token, generating ``steps`` tokens (the median step)."""

    def turn() -> float:
        took = []
        for token in tokens[:steps]:
            begin = clock()
            contender.step(token)
            took.append(clock() - begin)
        return median(took)

    return turn


def _scoring(contender: Contender, tokens: list[int]) -> Callable[[], float]:
    """A turn: seconds a token, scoring all of ``tokens`` at once."""

    def turn() -> float:
        begin = clock()
        contender.score(tokens)
        return (clock() - begin) / len(tokens)

    return turn


def touched_bytes(session: EmulatorSession, model_class: ModelClass, tokens: list[int]) -> float:
    """Weight bytes a token reads: all of a dense walk, the active rows of an event-driven one."""
    before = session.counters
    session.score(tokens)
    counted = session.counters - before
    program = session.program
    total = 0.0
    for layer in program.layers:
        if isinstance(layer, Dense):
            events = counted.count(layer.name, "input_events") / len(tokens)
            share = events / layer.weight.shape[1]
            event_driven = program.is_event_driven(layer, share)
            total += layer.weight.size * (share if event_driven else 1.0)
    return total


def sizes(plan: Plan) -> dict[str, Any]:
    """Generation and scoring against the peers, by model size."""
    probe = BandwidthProbe()
    results = {}
    for model_class in plan.classes:
        plan.say(f"sizes: {model_class.name}")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_network(model_class.network(), folder / "model.net")
            checkpoint = write_checkpoint(model_class, folder)
            ours = Ours(folder / "model.net")
            torch_model = TorchModel(checkpoint, model_class)
            rwkv = RwkvPackage(checkpoint)
            tokens = random_tokens(model_class, 2 * BLOCK)
            for contender in (ours, torch_model, rwkv):
                contender.step(1)
                contender.score(tokens)
            turns: dict[str, Callable[[], float]] = {
                "probe": probe,
                "ours step": _stepping(ours, tokens, 30),
                "ours score": _scoring(ours, tokens),
                "torch step": _stepping(torch_model, tokens, 4),
                "torch score": _scoring(torch_model, tokens),
                "rwkv step": _stepping(rwkv, tokens, 4),
                "rwkv score": _scoring(rwkv, tokens),
            }
            figures = rounds(turns, plan.rounds)
            touched = touched_bytes(ours.session, model_class, tokens)
            results[model_class.name] = {
                "parameters": model_class.parameters,
                "weight_bytes_per_token_dense": model_class.weights,
                "weight_bytes_per_token_touched": touched,
                "seconds_per_token": {
                    name: summary(values) for name, values in figures.items() if name != "probe"
                },
                "probe_bytes_per_second": summary(figures["probe"]),
                "generation_times_torch": paired_ratio(figures["torch step"], figures["ours step"]),
                "generation_times_rwkv": paired_ratio(figures["rwkv step"], figures["ours step"]),
                "scoring_times_own_generation": paired_ratio(
                    figures["ours step"], figures["ours score"]
                ),
                "weight_bytes_over_probe": paired_ratio(
                    [touched / seconds for seconds in figures["ours step"]], figures["probe"]
                ),
            }
            del ours, torch_model, rwkv, turns
            gc.collect()
    return results


@kernel
def _visit_active(
    weight: np.ndarray, operands: np.ndarray, active: np.ndarray, result: np.ndarray
) -> None:
    """Both halves in one call, as the emulator makes them."""
    found = synapses.gather_active(operands, active)
    synapses.event_driven(weight, operands, active[:found], result)


class _Walks:
    """Copies of one projection, more than any cache holds, and both ways to walk them."""

    def __init__(self, inputs: int, outputs: int, copies: int) -> None:
        self._rng = np.random.default_rng(0)
        self._by_input = [
            self._rng.integers(-127, 128, (inputs, outputs)).astype(np.int8) for _ in range(copies)
        ]
        self._by_output = [np.ascontiguousarray(weight.T) for weight in self._by_input]
        self._result = np.zeros((1, outputs), np.int32)
        self._active = np.zeros(inputs + 1, np.int32)
        self._shape = (copies, inputs)

    def drive(self, density: float, largest: int) -> None:
        """Draw operands; every copy gets its own, and another one's at every turn."""
        operands = self._rng.integers(1, largest + 1, self._shape).astype(np.int32)
        operands[self._rng.random(self._shape) >= density] = 0
        self._operands, self._narrow = operands, operands.astype(np.int16)

    def dense(self) -> float:
        """Seconds of one dense walk."""
        order = self._rng.permutation(len(self._by_output))
        begin = clock()
        for weight, k in zip(self._by_output, order, strict=True):
            synapses.dense(weight, self._narrow[k : k + 1], self._result)
        return (clock() - begin) / order.size

    def event_driven(self) -> float:
        """Seconds of one event-driven walk."""
        order = self._rng.permutation(len(self._by_input))
        begin = clock()
        for weight, k in zip(self._by_input, order, strict=True):
            operands = self._operands[k]
            _visit_active(weight, operands, self._active, self._result[0])
        return (clock() - begin) / order.size


@kernel
def _visit_active_block(
    weight: np.ndarray, operands: np.ndarray, active: np.ndarray, result: np.ndarray
) -> None:
    for t in range(operands.shape[0]):
        _visit_active(weight, operands[t], active, result[t])


def _block_walks(inputs: int, outputs: int, density: float) -> dict[str, Callable[[], float]]:
    """Turns of both walks over a block of tokens, weights in the cache: seconds a token."""
    rng = np.random.default_rng(1)
    by_input = rng.integers(-127, 128, (inputs, outputs)).astype(np.int8)
    by_output = np.ascontiguousarray(by_input.T)
    operands = rng.integers(1, 128, (BLOCK, inputs)).astype(np.int32)
    operands[rng.random(operands.shape) >= density] = 0
    narrow = operands.astype(np.int16)
    result, active = np.zeros((BLOCK, outputs), np.int32), np.zeros(inputs + 1, np.int32)

    def dense() -> float:
        begin = clock()
        synapses.dense(by_output, narrow, result)
        return (clock() - begin) / BLOCK

    def event_driven() -> float:
        begin = clock()
        _visit_active_block(by_input, operands, active, result)
        return (clock() - begin) / BLOCK

    return {"dense": dense, "event": event_driven}


def blocks(plan: Plan) -> dict[str, Any]:
    """One projection of a block of tokens, event-driven against dense, by density."""
    results = {}
    for inputs, outputs in PROJECTIONS[plan.quick]:
        plan.say(f"blocks: {inputs} -> {outputs}")
        rows = []
        for density in DENSITIES:
            turns = _block_walks(inputs, outputs, density)
            rounds(turns, 1)
            figures = rounds(turns, 3 * plan.rounds)
            rows.append(
                {
                    "density": density,
                    "dense_seconds": summary(figures["dense"]),
                    "event_driven_seconds": summary(figures["event"]),
                    "event_driven_times_dense": paired_ratio(figures["dense"], figures["event"]),
                }
            )
        results[f"{inputs} -> {outputs}"] = rows
    return results


def projection(plan: Plan) -> dict[str, Any]:
    """One projection, event-driven against dense, by density; other inputs at every call."""
    results = {}
    for inputs, outputs in PROJECTIONS[plan.quick]:
        plan.say(f"projection: {inputs} -> {outputs}")
        copies = max(2, (1 << 20 if plan.quick else 96 << 20) // (inputs * outputs))
        walks = _Walks(inputs, outputs, copies)
        rows = []
        for density, largest in itertools.product(DENSITIES, (1, 127)):
            walks.drive(density, largest)
            turns = {"dense": walks.dense, "event": walks.event_driven}
            rounds(turns, 1)
            figures = rounds(turns, plan.rounds)
            rows.append(
                {
                    "density": density,
                    "binary": largest == 1,
                    "dense_seconds": summary(figures["dense"]),
                    "event_driven_seconds": summary(figures["event"]),
                    "event_driven_times_dense": paired_ratio(figures["dense"], figures["event"]),
                }
            )
        results[f"{inputs} -> {outputs}"] = rows
    return results


def firing(plan: Plan) -> dict[str, Any]:
    """Whole networks of one shape: the released layout, and binary spikes at several rates."""
    model_class = plan.headline
    tokens = random_tokens(model_class, 40)
    plan.say(f"firing: {model_class.name}, upstream layout")
    probe = BandwidthProbe()
    upstream = EmulatorSession(model_class.network())
    dense = EmulatorSession(model_class.network(), event_driven=False)
    results = []
    for rate in (0.02, 0.05, 0.1, 0.2, 0.3):
        plan.say(f"firing: {model_class.name}, spike-driven at {rate:.0%}")
        spiking = EmulatorSession(model_class.network(layout="spike-driven", firing=rate))
        turns = {
            "probe": probe,
            "upstream": _stepping(upstream, tokens, 20),
            "upstream dense": _stepping(dense, tokens, 20),
            "spike-driven": _stepping(spiking, tokens, 20),
        }
        for turn in turns.values():
            turn()
        figures = rounds(turns, plan.rounds)
        counters = spiking.counters
        hidden = [
            layer for layer in spiking.program.layers
            if isinstance(layer, Dense) and layer.name != "head.projection"
        ]  # fmt: skip
        operands = sum(layer.weight.shape[1] for layer in hidden) * counters.tokens
        events = sum(counters.count(layer.name, "input_events") for layer in hidden)
        results.append(
            {
                "wished_rate": rate,
                "operand_density": events / operands,
                "probe_bytes_per_second": summary(figures.pop("probe")),
                "seconds_per_token": {k: summary(v) for k, v in figures.items()},
                "spike_driven_times_upstream": paired_ratio(
                    figures["upstream"], figures["spike-driven"]
                ),
                "spike_driven_times_dense": paired_ratio(
                    figures["upstream dense"], figures["spike-driven"]
                ),
            }
        )
        del spiking
        gc.collect()
    return {"class": model_class.name, "rates": results}


def depth(plan: Plan) -> dict[str, Any]:
    """Generation by number of blocks: linear."""
    width = plan.headline.n_embd
    numbers = (1, 2, 3) if plan.quick else (6, 12, 18, 24)
    sessions = {}
    for n_layer in numbers:
        plan.say(f"depth: {n_layer} blocks of {width}")
        model_class = ModelClass("", n_layer, width, 1_000)
        sessions[n_layer] = EmulatorSession(model_class.network())
    tokens = random_tokens(ModelClass("", 1, 1, 1_000), 30)
    turns: dict[str, Callable[[], float]] = {
        str(n): _stepping(session, tokens, 30) for n, session in sessions.items()
    }
    turns["probe"] = BandwidthProbe()
    for turn in turns.values():
        turn()
    figures = rounds(turns, plan.rounds)
    return {
        "probe_bytes_per_second": summary(figures.pop("probe")),
        "seconds_per_token": {name: summary(values) for name, values in figures.items()},
    }


def context(plan: Plan) -> dict[str, Any]:
    """Generation after more and more tokens: flat."""
    model_class = plan.classes[0]
    lengths = (1, 100, 1_000) if plan.quick else (1, 10, 100, 1_000, 10_000, 100_000)
    plan.say(f"context: {model_class.name} up to {lengths[-1]:,} tokens")
    network = model_class.network()
    seen, results = 0, {}
    fresh, probe = EmulatorSession(network), BandwidthProbe()
    with Emulator().open(network) as session:
        for length in lengths:
            while seen < length:
                piece = random_tokens(model_class, min(2_000, length - seen), seed=seen)
                session.score(piece)
                seen += len(piece)
            state = session.state
            tokens = random_tokens(model_class, 30)
            turns = {
                "probe": probe,
                "here": _stepping(session, tokens, 30),
                "start": _stepping(fresh, tokens, 30),
            }
            figures = rounds(turns, plan.rounds)
            session.state = state  # measuring does not lengthen the context
            results[str(length)] = {
                "probe_bytes_per_second": summary(figures["probe"]),
                "seconds_per_token": summary(figures["here"]),
                "times_first_token": paired_ratio(figures["here"], figures["start"]),
            }
    return {"class": model_class.name, "lengths": results}


_OPEN = """
import sys
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.backends.emulator import Emulator
session = Emulator().open(read_network(sys.argv[1]))
session.step(1)
for token in range(int(sys.argv[2])):
    session.step(token)
"""


def resources(plan: Plan) -> dict[str, Any]:
    """Time to the first token in a fresh process (warm caches), and memory while generating."""
    model_class = plan.headline
    plan.say(f"resources: {model_class.name}")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.net"
        write_network(model_class.network(), path)
        in_fresh_process(_OPEN, str(path), "1")
        opened = [in_fresh_process(_OPEN, str(path), "0") for _ in range(plan.rounds)]
        generated = in_fresh_process(_OPEN, str(path), "50")
    return {
        "class": model_class.name,
        "wall_seconds_to_first_token": summary([run["wall_seconds"] for run in opened]),
        "cpu_seconds_to_first_token": summary([run["cpu_seconds"] for run in opened]),
        "memory_beyond_mapped_files_bytes": generated["RssAnon"],
        "memory_of_mapped_files_bytes": generated["RssFile"],
    }


_EXPORT = """
import sys
from pathlib import Path
from spikegpt_neuro.converters.export import export_checkpoint
export_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def export(plan: Plan) -> dict[str, Any]:
    """Export of a checkpoint of the headline class: wall time with imports, most memory."""
    model_class = plan.headline
    with tempfile.TemporaryDirectory() as name:
        plan.say(f"export: {model_class.name}")
        checkpoint = write_checkpoint(model_class, Path(name))
        target = str(Path(name) / "model.net")
        runs = [in_fresh_process(_EXPORT, str(checkpoint), target) for _ in range(3)]
    return {
        "class": model_class.name,
        "wall_seconds": summary([run["wall_seconds"] for run in runs]),
        "cpu_seconds": summary([run["cpu_seconds"] for run in runs]),
        "peak_memory_bytes": max(run["VmHWM"] for run in runs),
    }
