"""Against Lava's CPU runtime: our fused process graph, and a chain of stock Lava processes.

A Lava graph is many processes: what is compared is the processor seconds of all of them together,
that is the time on one core. On the wall, with as many cores as one likes, stands beside it.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.classes import ModelClass
from benchmarks.contenders import random_tokens
from benchmarks.measure import paired_ratio, processor_seconds, summary
from benchmarks.studies import Plan
from spikegpt_neuro.backends import Session
from spikegpt_neuro.backends.emulator import BLOCK, EmulatorSession
from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava
from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.network.layers import Dense, Lif
from spikegpt_neuro.network.schema import Port

LAYERS = 4
FIRING = 0.1
THRESHOLD = 1_000

Turn = Callable[[], tuple[float, float]]
"""Processor and wall seconds a token."""


def lava(plan: Plan) -> dict[str, Any]:
    """Both comparisons on four layers of the headline class's width."""
    return {"fused SpikeGPT": _fused(plan), "stock Dense and LIF": _stock(plan)}


def _costing(process_ids: list[int], run: Callable[[], object], tokens: int) -> Turn:
    """A turn: processor seconds a token, of all these processes together; also on the wall."""

    def turn() -> tuple[float, float]:
        wall, begin = time.perf_counter(), processor_seconds(process_ids)
        spent, read = 0.0, 0
        while spent == 0.0:  # the system counts processor time in ticks; a run may be shorter
            run()
            read += tokens
            spent = processor_seconds(process_ids) - begin
        return spent / read, (time.perf_counter() - wall) / read

    return turn


def _compared(ours: Turn, theirs: Turn, plan: Plan) -> dict[str, Any]:
    """Both in turns: seconds a token, and how many times faster ours is."""
    seen: dict[str, list[tuple[float, float]]] = {"emulator": [], "lava": []}
    for i in range(plan.rounds):
        turns = [("emulator", ours), ("lava", theirs)]
        for name, turn in turns if i % 2 == 0 else reversed(turns):
            seen[name].append(turn())
    processor, wall = (
        {name: [figures[i] for figures in seen[name]] for name in seen} for i in range(2)
    )
    return {
        "processor_seconds_per_token": {k: summary(v) for k, v in processor.items()},
        "wall_seconds_per_token": {k: summary(v) for k, v in wall.items()},
        "emulator_times_lava": paired_ratio(processor["lava"], processor["emulator"]),
        "emulator_times_lava_on_the_wall": paired_ratio(wall["lava"], wall["emulator"]),
    }


def _fused(plan: Plan) -> dict[str, Any]:
    """Token by token, and known tokens, for which Lava's stages work as a pipeline."""
    model_class = ModelClass("4 blocks", LAYERS, plan.headline.n_embd, 1_000)
    plan.say(f"lava: fused, {LAYERS} blocks of {model_class.n_embd}")
    prepare_lava()
    from spikegpt_neuro.backends.lava.fused.session import FusedSession

    network = model_class.network()
    tokens = random_tokens(model_class, 2 * BLOCK)
    few = tokens[:40]
    with EmulatorSession(network) as emulator, FusedSession(network) as session:
        np.testing.assert_array_equal(emulator.score(few), session.score(few))
        own, graph = [os.getpid()], [os.getpid(), *session.process_ids]

        def stepping(run: Session) -> Callable[[], object]:
            return lambda: [run.step(token) for token in few]

        generating = _compared(
            _costing(own, stepping(emulator), len(few)),
            _costing(graph, stepping(session), len(few)), plan,
        )  # fmt: skip
        scoring = _compared(
            _costing(own, lambda: emulator.score(tokens), len(tokens)),
            _costing(graph, lambda: session.score(tokens), len(tokens)), plan,
        )  # fmt: skip
    return {"processes": len(graph) - 1, "generating": generating, "scoring": scoring}


def _weights(width: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [2 * rng.integers(-60, 61, (width, width)).astype(np.int8) for _ in range(LAYERS)]


def _chain(width: int) -> Program:
    """The same chain for the emulator: LIFs as Lava's, spikes of one step."""
    layers: list[Dense | Lif] = []
    source = "input"
    zero, one = np.zeros(width, np.int32), np.ones(width, np.int32)
    for i, weight in enumerate(_weights(width)):
        accumulator = Port(width, "accumulator", 32, True, 0.0)
        layers.append(
            Dense(
                f"dense{i}", (source,), accumulator, weight=weight,
                accumulator_bits=24,
            )
        )  # fmt: skip
        source = f"lif{i}"
        layers.append(
            Lif(
                source, (f"dense{i}",), Port(width, "binary", 1, False, 1.0), multiplier=one,
                shift=zero, offset=zero, voltage_decay=2048, threshold=THRESHOLD, bias=0, levels=1,
                soft_reset=0,
            )
        )  # fmt: skip
    return Program(layers, sizes={"input": width})


def _stock(plan: Plan) -> dict[str, Any]:
    """Four stock Dense and LIF processes, fixed point, as netx would build them."""
    width, steps = plan.headline.n_embd, 300
    plan.say(f"lava: stock, {LAYERS} x (Dense + LIF) of {width}")
    prepare_lava()
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.dense.process import Dense as LavaDense
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source
    from lava.proc.lif.process import LIF

    spikes = (np.random.default_rng(1).random((width, steps)) < FIRING).astype(np.int32)
    source = Source(data=spikes)
    port = source.s_out
    for weight in _weights(width):
        synapses = LavaDense(weights=weight.astype(np.int32))
        neurons = LIF(shape=(width,), du=4095, dv=2048, vth=THRESHOLD)
        port.connect(synapses.s_in)
        synapses.a_out.connect(neurons.a_in)
        port = neurons.s_out
    sink = Sink(shape=(width,), buffer=steps)
    port.connect(sink.a_in)
    configuration = Loihi2SimCfg(select_tag="fixed_pt")
    program = _chain(width)
    tokens = np.zeros(1, np.int64)

    def ours() -> None:
        for t in range(steps):
            program.value("input")[0] = spikes[:, t]
            program.run(tokens)

    def theirs() -> None:
        source.run(condition=RunSteps(num_steps=steps), run_cfg=configuration)

    try:
        ours(), theirs()
        actors = [process.pid for process in multiprocessing.active_children() if process.pid]
        own, graph = [os.getpid()], [os.getpid(), *actors]
        compared = _compared(_costing(own, ours, steps), _costing(graph, theirs, steps), plan)
        return {"processes": len(actors), **compared}
    finally:
        source.stop()
