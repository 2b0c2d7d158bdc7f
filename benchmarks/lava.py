"""Against Lava's CPU runtime: our fused process graph, and a chain of stock Lava processes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.classes import ModelClass
from benchmarks.contenders import random_tokens
from benchmarks.measure import paired_ratio, rounds, summary
from benchmarks.studies import Plan
from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.backends.lava.backend import LavaBackend
from spikegpt_neuro.backends.lava.compatibility import prepare_lava
from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.network.layers import Dense, Lif, Port

LAYERS = 4
FIRING = 0.1
THRESHOLD = 1_000


def lava(plan: Plan) -> dict[str, Any]:
    """Both comparisons on four layers of the headline class's width."""
    return {"fused SpikeGPT": _fused(plan), "stock Dense and LIF": _stock(plan)}


def _fused(plan: Plan) -> dict[str, Any]:
    model_class = ModelClass("4 blocks", LAYERS, plan.headline.n_embd, 1_000)
    plan.say(f"lava: fused, {LAYERS} blocks of {model_class.n_embd}")
    network = model_class.network()
    tokens = random_tokens(model_class, 40)
    with EmulatorSession(network) as emulator, LavaBackend().open(network) as session:
        np.testing.assert_array_equal(emulator.score(tokens), session.score(tokens))

        def turn(run: Any) -> Any:
            def timed() -> float:
                begin = time.perf_counter()
                for token in tokens:
                    run.step(token)
                return (time.perf_counter() - begin) / len(tokens)

            return timed

        figures = rounds({"emulator": turn(emulator), "lava": turn(session)}, plan.rounds)
    return {
        "seconds_per_token": {name: summary(values) for name, values in figures.items()},
        "emulator_times_lava": paired_ratio(figures["lava"], figures["emulator"]),
    }


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
        fan_out = (weight != 0).sum(axis=0).astype(np.int32)
        layers.append(
            Dense(
                f"dense{i}", (source,), accumulator, weight=weight, fan_out=fan_out,
                accumulator_bits=24, bound=127 * width,
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

    def ours() -> float:
        begin = time.perf_counter()
        for t in range(steps):
            program.value("input")[0] = spikes[:, t]
            program.run(tokens)
        return (time.perf_counter() - begin) / steps

    def theirs() -> float:
        begin = time.perf_counter()
        source.run(condition=RunSteps(num_steps=steps), run_cfg=configuration)
        return (time.perf_counter() - begin) / steps

    try:
        ours(), theirs()
        figures = rounds({"emulator": ours, "lava": theirs}, plan.rounds)
    finally:
        source.stop()
    return {
        "seconds_per_step": {name: summary(values) for name, values in figures.items()},
        "emulator_times_lava": paired_ratio(figures["lava"], figures["emulator"]),
    }
