"""Chains against stock ``netx.hdf5.Network`` of lava-dl and against stock Lava processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.lava.chains.netx import NetxBackend, stock_file
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.errors import InputError, RunFailed
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.verification import Verification, verify

STEPS = {
    "mnist.net": 12, "tiny.net": 12, "gts/ntidigits/ntidigits.net": 40,
    "gts/pilotnet_sdnn/network.net": 9, "gts/pilotnet_sdnn/square_network.net": 12,
    "gts/pilotnet_lif/network.net": 5,
}  # fmt: skip
"""Stock convolutions and delays are slow."""


def assert_equal(found: Verification, layers: int) -> None:
    assert found.equal, found.to_dict()
    assert len(found.layers) >= layers


@pytest.mark.parametrize("name", STEPS)
def test_shipped_network_on_emulator_fused_and_stock_processes(
    name: str, read_shipped: Callable[[str], Network],
    random_raster: Callable[[Network, int], np.ndarray],
) -> None:  # fmt: skip
    network = read_shipped(name)
    raster = random_raster(network, STEPS[name])
    emulator, fused, stock = (get_backend(n) for n in ("emulator", "lava", "lava-fine"))
    found = verify(network, raster, emulator, fused)
    assert found.equal and found.counters_compared
    assert_equal(verify(network, raster, emulator, stock), layers=5)


@pytest.mark.parametrize("name", STEPS)
def test_shipped_network_equals_stock_netx(
    name: str, shipped: Callable[[str], Path], read_shipped: Callable[[str], Network],
    random_raster: Callable[[Network, int], np.ndarray],
) -> None:  # fmt: skip
    network = read_shipped(name)
    raster = random_raster(network, STEPS[name])
    netx = NetxBackend(shipped(name))
    assert_equal(verify(network, raster, get_backend("emulator"), netx), layers=5)


@pytest.mark.parametrize("message_bits", [0, 16])
@pytest.mark.parametrize("backend", ["netx", "lava", "lava-fine"])
def test_recurrence_delays_and_odd_weights(
    backend: str, message_bits: int, recurrent_chain: Path
) -> None:
    network = read_netx(recurrent_chain, input_message_bits=message_bits)
    raster = np.random.default_rng(2).integers(0, 5 if message_bits else 2, (60, 7))
    other = NetxBackend(recurrent_chain) if backend == "netx" else get_backend(backend)
    found = verify(network, raster, get_backend("emulator"), other)
    assert_equal(found, layers=8)
    with get_backend("emulator").open(network) as session:
        assert session.score(raster).any()


@pytest.mark.parametrize("backend", ["emulator", "lava", "lava-fine"])
def test_reset_starts_again(backend: str, recurrent_chain: Path) -> None:
    network = read_netx(recurrent_chain)
    raster = np.random.default_rng(2).integers(0, 2, (40, 7))
    with get_backend(backend).open(network) as session:
        whole = session.score(raster)
        session.reset()
        pieces = [session.score(raster[:25]), session.score(raster[25:])]
        session.reset()
        assert np.array_equal(session.step(raster[0]), whole[0])
    assert whole.any()
    assert np.array_equal(np.concatenate(pieces), whole)


def test_a_difference_is_named(recurrent_chain: Path) -> None:
    network = read_netx(recurrent_chain)
    stock = read_netx(recurrent_chain, synapse_delay=False)
    raster = np.random.default_rng(2).integers(0, 2, (40, 7))
    emulator = get_backend("emulator")
    with pytest.raises(InputError, match="SLAYER timing"):
        get_backend("lava-fine").open(stock)
    weight = network["dense_1.synapse"].weight.copy()
    weight[2, 3] += 2
    layers = tuple(
        type(layer)(layer.name, layer.inputs, layer.output, weight)
        if layer.name == "dense_1.synapse"
        else layer
        for layer in network.layers
    )
    changed = replace(network, layers=layers)
    found = verify(network, raster, emulator, get_backend("lava-fine"), right_network=changed)
    difference = found.difference
    assert difference is not None and not found.equal
    assert difference.layer == "dense_1.output_delay" and difference.index == 2
    assert difference.right - difference.left == 2
    assert not found.counters_compared


def test_stock_processes_do_not_count(recurrent_chain: Path) -> None:
    network = read_netx(recurrent_chain)
    with get_backend("lava-fine").open(network) as session:
        with pytest.raises(InputError, match="do not count"):
            _ = session.counters
        with pytest.raises(InputError, match="shape"):
            session.score(np.zeros((4, 3)))
    with pytest.raises(InputError, match="inside others"):
        get_backend("lava-fine").open(network, trace=["dense_1.delay"])


def test_stock_file_is_found_by_its_contents(recurrent_chain: Path, tmp_path: Path) -> None:
    network = read_netx(recurrent_chain)
    write_network(network, tmp_path / "chain.net")
    with pytest.raises(InputError, match="not beside it"):
        stock_file(network, tmp_path / "chain.net")
    copied = tmp_path / recurrent_chain.name
    copied.write_bytes(recurrent_chain.read_bytes())
    assert stock_file(network, tmp_path / "chain.net") == copied
    copied.write_bytes(b"changed")
    with pytest.raises(InputError, match="or was changed"):
        stock_file(network, tmp_path / "chain.net")


@pytest.mark.parametrize("backend", ["lava", "lava-fine"])
def test_a_killed_process_ends_the_run(backend: str, recurrent_chain: Path) -> None:
    network = read_netx(recurrent_chain)
    raster = np.random.default_rng(2).integers(0, 2, (400, 7))
    session = get_backend(backend).open(network)
    with session:
        session.score(raster[:3])
        own = session.process_ids  # type: ignore[attr-defined]
        os.kill(own[len(own) // 2], signal.SIGKILL)
        with pytest.raises(RunFailed, match="died with exit code -9"):
            session.score(raster)
    assert not any(Path(f"/proc/{process}").exists() for process in own)


@pytest.mark.parametrize("backend", ["lava", "lava-fine"])
def test_a_session_that_never_ran_closes_at_once_and_in_silence(
    backend: str, recurrent_chain: Path
) -> None:
    code = (
        "import sys, time; from spikegpt_neuro.backends import get_backend; "
        "from spikegpt_neuro.converters.netx import read_netx; "
        "session = get_backend(sys.argv[1]).open(read_netx(sys.argv[2])); "
        "begin = time.perf_counter(); session.close(); print(time.perf_counter() - begin)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, backend, recurrent_chain],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert float(done.stdout) < 2.0  # stock stop alone waits longer
