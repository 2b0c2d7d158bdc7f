"""Runs on a stand-in for lava-loihi: what goes right, what goes wrong, and that nothing stays."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.backends.emulator import Emulator, EmulatorSession
from spikegpt_neuro.backends.loihi2.backend import Loihi2Backend
from spikegpt_neuro.backends.loihi2.supervised import SupervisedWorker, marked_processes
from spikegpt_neuro.backends.raster import EmulatorChainSession
from spikegpt_neuro.decomposition.neuron_programs import OWN_NEURONS, programs_of
from spikegpt_neuro.errors import InputError, RunFailed, SpikeGPTNeuroError, Unavailable
from spikegpt_neuro.network import Chain, ChainInfo, Network, Port
from spikegpt_neuro.network.layers import Residual
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.slayer_layers import (
    ChannelDelay,
    Cuba,
    Delta,
    NetxDense,
    RasterInput,
    RecurrentCuba,
    Sigma,
    SigmaDelta,
)
from spikegpt_neuro.verification import verify

pytestmark = pytest.mark.slow

TOKEN_SHAPES = {
    "upstream": RandomShape(n_layer=1, n_embd=8, vocabulary_size=12),
    "leaky": RandomShape("spike-driven", n_layer=1, n_embd=8, vocabulary_size=12, levels=3),
    "memoryless": RandomShape(
        "spike-driven", n_layer=1, n_embd=8, vocabulary_size=12, levels=3, voltage_decay=4096
    ),
}


def spikes(size: int) -> Port:
    return Port(size, "binary", 1, False, 1.0)


def sums(size: int) -> Port:
    return Port(size, "accumulator", 32, True, 1.0)


def even(generator: np.random.Generator, n: int, m: int) -> np.ndarray:
    return (2 * generator.integers(-40, 60, (n, m))).astype(np.int16)


def chain(*, bias: bool = False, recurrent: bool = False, stock_timing: bool = False) -> Network:
    """Two dense layers of CUBA neurons; the second has odd weights of both signs."""
    generator = np.random.default_rng(4)
    zero = np.zeros(9, np.int32)
    values = (generator.integers(20, 90, 9).astype(np.int32) if bias else zero, 1024, 300, 90)
    neurons: Cuba = Cuba("b.neuron", ("b.synapse",), spikes(9), *values)
    if recurrent:
        back = even(generator, 9, 9)
        neurons = RecurrentCuba("b.neuron", ("b.synapse",), spikes(9), *values, back)
    odd = generator.integers(-90, 127, (5, 9)).astype(np.int16)
    delays = [
        ChannelDelay("b.delay", ("input.raster",), spikes(7), np.ones(7, np.int32), 1),
        ChannelDelay("c.delay", ("b.neuron",), spikes(9), np.ones(9, np.int32), 1),
    ]
    before = [d.name if stock_timing else d.inputs[0] for d in delays]
    layers = (
        RasterInput("input.raster", (), spikes(7)), delays[0],
        NetxDense("b.synapse", (before[0],), sums(9), even(generator, 9, 7)), neurons, delays[1],
        NetxDense("c.synapse", (before[1],), sums(5), odd),
        Cuba("c.neuron", ("c.synapse",), spikes(5), np.zeros(5, np.int32), 2048, 100, 60),
    )  # fmt: skip
    kept = tuple(layer for layer in layers if stock_timing or layer not in delays)
    return Chain(ChainInfo(), kept)


def sigma_delta_chain() -> Network:
    """Delta input, one sigma-delta layer, sigma output: signed values in and out."""
    generator = np.random.default_rng(5)
    graded = Port(6, "graded", 24, True, 1.0)
    layers = (
        RasterInput("input.raster", (), Port(6, "graded", 18, True, 1.0)),
        Delta("input.neuron", ("input.raster",), graded, 2, 6),
        NetxDense("b.synapse", ("input.neuron",), sums(6), even(generator, 6, 6)),
        SigmaDelta("b.neuron", ("b.synapse",), graded, np.zeros(6, np.int32), 3, 6),
        NetxDense("c.synapse", ("b.neuron",), sums(3), even(generator, 3, 6)),
        Sigma("c.neuron", ("c.synapse",), Port(3, "graded", 32, True, 1.0)),
    )
    return Chain(ChainInfo(), layers)


def raster(steps: int = 40, size: int = 7, high: int = 2) -> np.ndarray:
    low = 0 if high == 2 else -high
    return np.random.default_rng(6).integers(low, high, (steps, size)).astype(np.int32)


def on_emulator(network: Network, rows: np.ndarray, interval: int | None = None) -> np.ndarray:
    found = []
    with EmulatorChainSession(network) as session:
        for begin in range(0, len(rows), interval or len(rows)):
            session.reset()
            found.append(session.score(rows[begin : begin + (interval or len(rows))]))
    return np.concatenate(found)


@pytest.fixture(autouse=True)
def _nothing_stays(machine: Any) -> Any:
    yield
    assert left_behind(machine) == []


def left_behind(machine: Any) -> list[int]:
    """What the test started and still runs: a worker, an actor, the driver's own child."""
    return marked_processes(machine.mark)


# what goes right


@pytest.mark.parametrize("way_in, way_out", [(0, 0), (2, 3)])
def test_chain_equals_emulator_whatever_the_adapters_take(
    machine: Any, way_in: int, way_out: int
) -> None:
    machine.ready(way_in=way_in, way_out=way_out)
    network, rows = chain(), raster()
    with Loihi2Backend().open(network, trace=["b.neuron"]) as session:
        found = session.score(rows)
        assert np.array_equal(found, on_emulator(network, rows))
        assert found.any()
        assert session.trace("b.neuron").shape == (40, 9)
        assert session.counters.tokens == 40
        assert len(session.process_ids) > 1
        with pytest.raises(InputError, match="open a session for the next"):
            session.score(rows)
    steps = 40 + 2 + way_in + way_out
    assert machine.boots[2:] == ["connect", f"disconnect after {steps} steps"]


def test_biased_chain_is_reset_on_the_chip_between_samples(machine: Any) -> None:
    machine.ready(way_in=2)
    network, rows = chain(bias=True), raster()
    with Loihi2Backend().resetting(8).open(network, trace=["c.neuron"]) as session:
        found = session.score(rows)
        assert np.array_equal(found, on_emulator(network, rows, 8))
        assert np.array_equal(session.trace("c.neuron"), found)
    # neither the interval nor the bias is without effect here
    assert not np.array_equal(on_emulator(network, rows, 8), on_emulator(network, rows))
    assert not np.array_equal(on_emulator(network, rows), on_emulator(chain(), rows))


def test_stock_timing_is_kept_across_samples(machine: Any) -> None:
    machine.ready()
    network, rows = chain(stock_timing=True), raster()
    with Loihi2Backend(reset_interval=10).open(network) as session:
        assert np.array_equal(session.score(rows), on_emulator(network, rows, 10))


def test_recurrent_chain_equals_emulator(machine: Any) -> None:
    machine.ready()
    network, rows = chain(recurrent=True), raster()
    with Loihi2Backend().open(network) as session:
        found = session.score(rows)
    assert np.array_equal(found, on_emulator(network, rows))
    assert not np.array_equal(found, on_emulator(chain(), rows))


def test_signed_graded_values_cross_the_adapters(machine: Any) -> None:
    machine.ready(way_in=1)
    network, rows = sigma_delta_chain(), raster(30, 6, 4)
    with Loihi2Backend().open(network) as session:
        found = session.score(rows)
    assert np.array_equal(found, on_emulator(network, rows))
    assert found.min() < 0 < found.max()


@pytest.mark.parametrize("shape", TOKEN_SHAPES.values(), ids=TOKEN_SHAPES)
def test_tokens_with_registered_neuron_programs(machine: Any, shape: RandomShape) -> None:
    """All of the fine graph is on the chip, or it would be refused: so there is no probe in it."""
    machine.ready(way_in=2)
    machine.install("programs")
    network = random_network(shape)
    tokens = np.random.default_rng(3).integers(0, 12, 20).tolist()
    with (
        Loihi2Backend().open(network, trace=["head.projection"]) as board,
        EmulatorSession(network, trace=["head.projection"]) as emulator,
    ):
        for act in (
            lambda s: s.score(tokens), lambda s: s.step(3), lambda s: s.score([]),
            lambda s: s.reset(), lambda s: s.score(tokens), lambda s: s.trace("head.projection"),
        ):  # fmt: skip
            assert np.array_equal(act(board), act(emulator))  # type: ignore[no-untyped-call]
        assert board.counters == emulator.counters


def test_these_networks_need_every_program() -> None:
    used = {name for shape in TOKEN_SHAPES.values() for name in programs_of(random_network(shape))}
    assert set(OWN_NEURONS) - used == {"feedback"}  # of closed loops, which boards do not run


def test_a_board_found_by_slurm(machine: Any) -> None:
    machine.install("sdk")
    machine.slurm()
    machine.board()
    machine.variable("PARTITION", "kp")
    with Loihi2Backend().open(chain()) as session:
        assert session.score(raster(4)).shape == (4, 5)


def test_verify_gives_a_board_the_raster_at_once(machine: Any) -> None:
    machine.ready()
    found = verify(chain(), raster(80), Emulator(), Loihi2Backend())
    assert found.equal
    assert found.layers == ("c.neuron",)
    assert found.values_compared == 80 * 5
    assert not found.counters_compared


# what is measured


def test_profiled_run(machine: Any) -> None:
    machine.ready()
    with Loihi2Backend().measuring().open(chain()) as session:
        session.score(raster())
    found = session.measurement
    steps = 43  # 40 rows, two synapses, one step to leave
    assert (found.time_steps, found.tokens, found.mode) == (steps, 40, "pipelined")
    assert found.seconds_per_step == pytest.approx(20e-6)
    assert found.power_watts == {
        "total": pytest.approx(0.6), "static": 0.25, "vdd": pytest.approx(0.25),
        "vddm": pytest.approx(0.3), "vddio": pytest.approx(0.01),
    }  # fmt: skip
    assert found.activity == {
        "synaptic_operations": 123 * steps, "neuron_updates": 12 * steps,
        "spikes_in": 3 * steps, "spikes_out": 2 * steps,
    }  # fmt: skip
    assert (found.cores, found.fullest_core_memory_share) == (3, 0.5)
    assert found.joules_per_token("total") == pytest.approx(0.6 * 20e-6 * steps / 40)


@pytest.mark.parametrize("kept", [[], ["Loihi2ExecutionTime"]])
def test_absent_profilers_are_notes(machine: Any, kept: list[str]) -> None:
    machine.ready(profilers=kept)
    with Loihi2Backend(profiled=True).open(chain()) as session:
        assert session.score(raster()).any()
    found = session.measurement
    assert found.power_watts == {}
    assert found.joules_per_token("total") is None
    assert (found.seconds_per_step is not None) == bool(kept)
    assert sum("is not available" in note for note in found.notes) == 4 - len(kept)


def test_profilers_that_cannot_be_read_are_a_note(machine: Any) -> None:
    machine.ready()
    session = Loihi2Backend().measuring().open(chain())
    session.score(raster())
    session._worker._process.kill()  # type: ignore[attr-defined]
    session.close()
    found = session.measurement
    assert (found.time_steps, found.tokens, found.power_watts) == (43, 40, {})
    assert "the profilers could not be read" in found.notes[0]


# what goes wrong


def fails(kind: type[SpikeGPTNeuroError], network: Network, *, within: float = 240) -> str:
    """The message of opening and running ``network``; it must come in time."""
    begin = time.monotonic()
    with pytest.raises(kind) as caught, Loihi2Backend().open(network) as session:
        session.score(raster() if isinstance(network, Chain) else [1, 2])
    assert time.monotonic() - begin < within
    return str(caught.value)


def test_refused_before_the_board_is_touched(machine: Any) -> None:
    machine.ready()
    network = random_network(RandomShape(n_layer=1, n_embd=8, vocabulary_size=12))
    message = fails(Unavailable, network)
    assert "nothing was sent to a board" in message
    # every own neuron of the graph, and nothing else
    needed = re.findall(r"(\w+): needs a neuron program: ([^\n]*)", message)
    assert [name for name, _ in needed] == sorted(set(programs_of(network)) & set(OWN_NEURONS))
    assert all(text.startswith(OWN_NEURONS[name].purpose) for name, text in needed)
    assert "no process model for the chip" not in message
    assert machine.boots == []


def test_one_program_missing(machine: Any, tmp_path: Path) -> None:
    machine.ready()
    metadata = tmp_path / "part/fake_programs-1.0.dist-info"
    shutil.copytree(Path(__file__).parent / "programs", metadata.parent)
    points = metadata / "entry_points.txt"
    kept = [line for line in points.read_text().splitlines() if not line.startswith("sigmoid")]
    points.write_text("\n".join(kept))
    machine.install(str(metadata.parent))
    message = fails(Unavailable, random_network(RandomShape(n_layer=1, n_embd=8)))
    assert message.count("needs a neuron program") == 1
    assert "sigmoid: needs a neuron program: a gate" in message
    assert machine.boots == []


def test_a_network_without_a_fine_graph_is_refused(machine: Any) -> None:
    machine.ready()
    network = random_network(RandomShape(n_layer=1, n_embd=8, vocabulary_size=12))
    layers = tuple(
        dataclasses.replace(layer, shift=np.full_like(layer.shift, 31))
        if isinstance(layer, Residual) else layer
        for layer in network.layers
    )  # fmt: skip
    network = dataclasses.replace(network, layers=layers)
    with pytest.raises(InputError, match="has no fine Lava graph"):
        Loihi2Backend().open(network)
    assert machine.boots == []


def test_stock_process_without_a_model_for_the_chip(machine: Any, tmp_path: Path) -> None:
    machine.ready()
    hidden = tmp_path / "older/lava/proc/sdn"
    hidden.mkdir(parents=True)
    source = Path(__file__).parent / "sdk/lava/proc/sdn/ncmodels.py"
    text = source.read_text().replace("executes_as = models.PySigmaModelFixed", "pass")
    hidden.joinpath("ncmodels.py").write_text(text.replace("proc=process.Sigma,", "proc=None,"))
    machine.install(str(tmp_path / "older"))
    message = fails(Unavailable, sigma_delta_chain())
    assert "lava.proc.sdn.process.Sigma: no process model for the chip" in message
    assert machine.boots == []


def test_import_error(machine: Any, tmp_path: Path) -> None:
    machine.ready()
    broken = tmp_path / "broken/lava/utils"
    broken.mkdir(parents=True)
    broken.joinpath("loihi2_profiler.py").write_text("import nxcore_native_part\n")
    machine.install(str(tmp_path / "broken"))
    assert "No module named 'nxcore_native_part'" in fails(Unavailable, chain())
    availability = Loihi2Backend().available()
    assert not availability.ok
    assert "nxcore_native_part" in availability.missing[0]


def test_host_unreachable(machine: Any) -> None:
    machine.ready()
    machine.ethernet(answers=False)
    assert "ping 192.0.2.1` failed" in fails(Unavailable, chain())
    assert machine.boots == []


def test_board_refuses(machine: Any) -> None:
    machine.ready(board="refuses")
    message = fails(Unavailable, chain())
    assert "Boards might be busy" in message
    assert "squeue" in message


def test_board_stays_in_the_queue(machine: Any) -> None:
    machine.ready(board="queues")
    machine.variable("SPIKEGPT_NEURO_LOIHI2_START_SECONDS", 15)
    message = fails(Unavailable, chain())
    assert "did not answer within 15 s" in message
    assert "SPIKEGPT_NEURO_LOIHI2_START_SECONDS" in message


def test_run_fails_midway(machine: Any) -> None:
    machine.ready(fails=[2, 17])
    assert "the board stopped at time step 17" in fails(RunFailed, chain())


def test_run_hangs_midway(machine: Any) -> None:
    machine.ready(hangs=[2, 17])
    machine.variable("SPIKEGPT_NEURO_LOIHI2_RUN_SECONDS", 10)
    assert "did not finish within 10 s" in fails(RunFailed, chain())


def test_worker_dies(machine: Any) -> None:
    machine.ready(hangs=[2, 17])
    session = Loihi2Backend().open(chain())
    worker = session._worker._process  # type: ignore[attr-defined]
    threading.Timer(3, worker.kill).start()
    with pytest.raises(RunFailed, match="died with exit code -9"):
        session.score(raster())
    assert left_behind(machine) == []
    session.close()


def test_wrong_integers_are_not_counted(machine: Any) -> None:
    machine.ready(wrong=30)
    network, rows = chain(), raster()
    with Loihi2Backend().open(network) as session:
        found = session.score(rows)
        assert not np.array_equal(found, on_emulator(network, rows))
        with pytest.raises(RunFailed, match=r"c\.neuron, step 27, index 0: \d on the board"):
            _ = session.counters


def test_interrupt_ends_everything(machine: Any) -> None:
    machine.ready(hangs=[2, 17])
    session = Loihi2Backend().open(chain())
    threading.Timer(3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        session.score(raster())
    assert left_behind(machine) == []


def test_nothing_outlives_a_killed_caller(machine: Any, tmp_path: Path) -> None:
    machine.ready(hangs=[2, 17])
    program = (
        "import pickle, sys, time\n"
        "from spikegpt_neuro.backends.loihi2.backend import Loihi2Backend\n"
        "session = Loihi2Backend().open(pickle.load(open(sys.argv[1], 'rb')))\n"
        "print('booting', flush=True)\n"
        "session.score(pickle.load(open(sys.argv[2], 'rb')))\n"
    )
    files = [tmp_path / "network", tmp_path / "raster"]
    for file, value in zip(files, (chain(), raster()), strict=True):
        file.write_bytes(pickle.dumps(value))
    caller = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, files)], stdout=subprocess.PIPE, text=True
    )
    assert caller.stdout is not None
    assert caller.stdout.readline() == "booting\n"
    while machine.boots.count("connect") < 2:
        time.sleep(0.02)
    assert len(left_behind(machine)) > 3  # the worker, its actors, the driver's own child
    caller.kill()
    caller.wait()
    limit = time.monotonic() + 20
    while left_behind(machine) and time.monotonic() < limit:
        time.sleep(0.05)
    assert left_behind(machine) == []


@pytest.mark.parametrize("value", ["soon", "0", "-3", "inf"])
def test_time_limits_are_numbers(machine: Any, value: str) -> None:
    machine.ready()
    machine.variable("SPIKEGPT_NEURO_LOIHI2_RUN_SECONDS", value)
    with pytest.raises(InputError, match="must be a number of seconds above 0"):
        Loihi2Backend().open(chain())


def test_what_cannot_be_exact_on_a_board_is_refused(machine: Any) -> None:
    machine.ready()
    cases = [
        (chain(bias=True, stock_timing=True), None, "--slayer-timing"),
        (chain(bias=True, recurrent=True), None, "b.neuron: a recurrent_cuba cannot be reset"),
        (sigma_delta_chain(), 5, "input.neuron: a delta cannot be reset"),
        (chain(), 0, "reset interval of 0"),
    ]
    for network, interval, words in cases:
        with pytest.raises(InputError, match=words):
            Loihi2Backend(reset_interval=interval).open(network)
    assert machine.boots == []


def test_a_closed_session_says_so(machine: Any) -> None:
    machine.ready()
    worker = SupervisedWorker()
    worker.end()
    worker.end()
    with pytest.raises(RunFailed, match="closed"):
        worker.ask(None, int, 1.0)  # type: ignore[arg-type]
