"""For all tests: Ctrl-C, and the networks the lava-dl wheel ships where it is installed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.network import Network

# a machine that is busy is no fault of the code's
hypothesis.settings.register_profile("no-clock", deadline=None)
hypothesis.settings.load_profile("no-clock")

FOLDER = "tests/lava/lib/dl/netx"
LAYERS = {"gts/ntidigits/ntidigits.net": 5}  # its last one is `average`, which nothing runs
Shipped = Callable[[str], Path]


def find_shipped(name: str) -> Path:
    """A file of the wheel; its absence fails the test and says what is missing."""
    try:
        path = Path(str(distribution("lava-dl").locate_file(f"{FOLDER}/{name}")))
    except PackageNotFoundError:
        pytest.fail("lava-dl is not installed; its wheel ships the golden arrays (`make setup`).")
    if not path.is_file():
        pytest.fail(f"the installed lava-dl does not ship {FOLDER}/{name}.")
    return path


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Tests that send Ctrl-C work in the background too, where shells have it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shipped() -> Shipped:
    return find_shipped


@pytest.fixture(scope="session")
def read_shipped() -> Callable[[str], Network]:
    """A shipped network with stock timing, as far as anything can run it."""
    return lambda name: read_netx(find_shipped(name), layers=LAYERS.get(name))


@pytest.fixture(scope="session")
def random_raster() -> Callable[[Network, int], np.ndarray]:
    """A raster of random spikes, or of numbers where the chain takes numbers."""

    def make(network: Network, steps: int) -> np.ndarray:
        port = network.layers[0].output
        low, high = (0, 2) if port.bits == 1 else (-20, 70)
        return np.random.default_rng(3).integers(low, high, (steps, port.size))

    return make
