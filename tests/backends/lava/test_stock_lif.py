"""The integer LIF against Lava's own fixed-point LIF model, unmodified."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.arithmetic.formats import CURRENT_LIMIT, MEMBRANE_LIMIT
from spikegpt_neuro.arithmetic.lif import lif
from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava


class _Wire:
    """Stands for a port: what was sent last is what is received."""

    def __init__(self) -> None:
        self.values = np.zeros(0, np.int32)

    def send(self, values: np.ndarray) -> None:
        self.values = values

    def recv(self) -> np.ndarray:
        return self.values


@pytest.fixture(scope="module")
def model() -> Any:
    prepare_lava()
    from lava.proc.lif.models import PyLifModelBitAcc

    return PyLifModelBitAcc


def _lava_lif(model: Any, n: int, *, dv: int, vth: int, bias: int) -> Any:
    neurons = model({"du": 4095, "dv": dv, "vth": vth, "shape": (n,)})
    neurons.a_in, neurons.s_out = _Wire(), _Wire()
    neurons.u, neurons.v = np.zeros(n, np.int32), np.zeros(n, np.int32)
    neurons.du, neurons.dv, neurons.vth = 4095, dv, vth
    neurons.bias_mant = np.full(n, bias, np.int16)
    neurons.bias_exp = np.zeros(n, np.int16)
    return neurons


@pytest.mark.parametrize("dv", [0, 1, 1000, 2048, 4095])
@pytest.mark.parametrize("vth", [1, 50, 2048, 100_000])
@pytest.mark.parametrize("bias", [-7, 0, 1])
def test_potentials_and_spikes_are_lavas(model: Any, dv: int, vth: int, bias: int) -> None:
    rng = np.random.default_rng([dv, vth, bias + 100])
    n, steps = 256, 60
    lava = _lava_lif(model, n, dv=dv, vth=vth, bias=bias)
    ones, zeros = np.ones(n, np.int32), np.zeros(n, np.int32)
    membrane, spikes, counts = zeros.copy(), zeros.copy(), np.zeros(2, np.int64)
    fired = 0
    for step in range(steps):
        spread = (2, vth + 1, CURRENT_LIMIT)[step % 3]
        current = rng.integers(-spread, spread + 1, n).clip(-CURRENT_LIMIT, CURRENT_LIMIT)
        current[:4] = (vth, vth - 1, CURRENT_LIMIT, -CURRENT_LIMIT)
        current = current.astype(np.int32)
        lava.a_in.values = current
        lava.run_spk()
        lif(current, ones, zeros, zeros, dv, vth, bias, 1, 0, membrane, spikes, counts)
        np.testing.assert_array_equal(spikes, lava.s_out.values)
        np.testing.assert_array_equal(membrane, lava.v)
        assert np.abs(membrane).max() <= MEMBRANE_LIMIT
        fired += int(spikes.sum())
    assert fired > 0
