"""Neurons and synapses of SLAYER's chains against their equations in Python integers, and by hand.

The equations are lava-nc 0.10.0's (``LIF`` bit-accurate, ``Sigma``, ``Delta``, ``SigmaDelta``) and
PyTorch's of a convolution; ``tests/chains`` hold whole chains against lava-nc and SLAYER itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.arithmetic import slayer_neurons as neurons
from spikegpt_neuro.arithmetic.varied_neurons import varied_cuba, varied_lif

LIMIT = 2**23
"""Currents wrap beyond it; voltages saturate one below."""


def _vector(values: object) -> np.ndarray:
    return np.array(values, np.int32)


def _counts(n: int = 2) -> np.ndarray:
    return np.zeros(n, np.int64)


def _towards_zero(state: int, decay: int) -> int:
    """``trunc(state * (4096 - decay) / 4096)``."""
    product = abs(state) * (4096 - decay) // 4096
    return product if state >= 0 else -product


def _wrapped(wide: int) -> int:
    """lava-nc: once down from above 2**23, once up from -2**23 on."""
    if wide > LIMIT:
        wide -= 2 * LIMIT
    if wide <= -LIMIT:
        wide += 2 * LIMIT
    return wide


@dataclass
class Cuba:
    """One current-based neuron in Python integers; ``threshold`` None: it never fires."""

    current_decay: int
    voltage_decay: int
    bias: int
    threshold: int | None
    u: int = 0
    v: int = 0
    active: int = 0
    clipped: int = 0

    def step(self, driving: int) -> int:
        self.active += driving != 0
        self.u = _wrapped(_towards_zero(self.u, self.current_decay) + driving * 64)
        wide = _towards_zero(self.v, self.voltage_decay) + self.u + self.bias * 64
        self.v = max(1 - LIMIT, min(LIMIT - 1, wide))
        self.clipped += self.v != wide
        if self.threshold is None:
            return self.v
        fires = self.v > self.threshold * 64
        self.v = 0 if fires else self.v
        return int(fires)


decays = st.integers(0, 4096)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1), current_decay=decays, voltage_decay=decays,
    threshold=st.integers(0, 2**17 - 1), largest=st.sampled_from([3, 900, 2**17 - 1]),
)  # fmt: skip
@pytest.mark.parametrize("fires", [True, False])
def test_current_based_neurons(
    fires: bool, seed: int, current_decay: int, voltage_decay: int, threshold: int, largest: int
) -> None:
    rng = np.random.default_rng(seed)
    bias = rng.integers(-largest, largest + 1, 4)
    exact = [Cuba(current_decay, voltage_decay, int(b), threshold if fires else None) for b in bias]
    u, v, sent, counts = _vector([0] * 4), _vector([0] * 4), _vector([7] * 4), _counts()
    varied = u.copy(), v.copy(), sent.copy(), _counts()
    decay = _vector([current_decay] * 4), _vector([voltage_decay] * 4)
    for _ in range(30):
        driving = _vector(rng.integers(-largest, largest + 1, 4) * (rng.random(4) < 0.8))
        expected = [one.step(int(x)) for one, x in zip(exact, driving, strict=True)]
        common = driving, _vector(bias), current_decay, voltage_decay
        if fires:
            neurons.cuba(*common, threshold, u, v, sent, counts)
            varied_cuba(driving, _vector(bias), *decay, threshold, *varied)
            assert varied[2].tolist() == expected
        else:
            neurons.leaky_integrator(*common, u, v, sent, counts)
        assert sent.tolist() == expected
        assert u.tolist() == [one.u for one in exact]
        assert v.tolist() == [one.v for one in exact]
    totals = [sum(one.active for one in exact), sum(one.clipped for one in exact)]
    assert counts.tolist() == totals
    if fires:
        assert varied[3].tolist() == totals
        assert [varied[0].tolist(), varied[1].tolist()] == [u.tolist(), v.tolist()]


def test_each_neuron_decays_at_its_own_rate() -> None:
    # u: 6400 (all, half, none of it kept), 640 of new input; v: 1001 decayed alike, plus u
    u, v, sent, counts = _vector([6400] * 3), _vector([1001] * 3), _vector([0] * 3), _counts()
    driving, bias = _vector([10, 10, 0]), _vector([0, 1, -1])
    varied_cuba(
        driving, bias, _vector([0, 2048, 4096]), _vector([4096, 2048, 0]), 110, u, v, sent, counts
    )
    assert u.tolist() == [7040, 3840, 0]
    # 0 + 7040 is not above 110 * 64 = 7040; 500 + 3840 + 64; 1001 + 0 - 64
    assert v.tolist() == [7040, 4404, 937]
    assert sent.tolist() == [0, 0, 0]
    assert counts.tolist() == [2, 0]


def test_currents_wrap_where_lava_nc_s_do() -> None:
    for wide, found in (
        (LIMIT - 1, LIMIT - 1), (LIMIT, LIMIT), (LIMIT + 1, 1 - LIMIT), (1 - LIMIT, 1 - LIMIT),
        (-LIMIT, LIMIT), (-LIMIT - 1, LIMIT - 1), (3 * LIMIT, LIMIT), (0, 0),
    ):  # fmt: skip
        assert neurons.wrapped(wide) == found == _wrapped(wide)


def test_states_decay_towards_zero() -> None:
    for state, decay, found in (
        (4096, 1, 4095), (-4096, 1, -4095), (1, 1, 0), (-1, 1, 0), (-1, 0, -1), (5, 2048, 2),
        (-5, 2048, -2), (-(2**23) + 1, 2048, -(2**22) + 1), (77, 4096, 0),
    ):  # fmt: skip
        assert neurons.decayed(state, decay) == found


def test_a_voltage_at_the_threshold_does_not_fire_and_clipped_ones_are_counted() -> None:
    u, v, sent, counts = _vector([0] * 4), _vector([0] * 4), _vector([0] * 4), _counts()
    driving, bias = _vector([100, 101, 131071, -131071]), _vector([0, 0, 5, -5])
    neurons.cuba(driving, bias, 4096, 4096, 100, u, v, sent, counts)
    assert sent.tolist() == [0, 1, 1, 0]
    assert v.tolist() == [6400, 0, 0, 1 - LIMIT]
    assert counts.tolist() == [4, 2]


def test_lif_neurons_with_a_rate_each() -> None:
    # current round_shift(3 * 5, 2) + 1 = 5, clipped at 131071, and -2
    membrane, sent, counts = _vector([6400, 0, -4097]), _vector([0] * 3), _counts()
    varied_lif(
        _vector([3, 2**20, -2]), _vector([5, 1, 4]), _vector([2, 0, 2]), _vector([1, 0, 0]),
        _vector([4096, 0, 2048]), 90, 7, 1, 0, membrane, sent, counts,
    )  # fmt: skip
    # 0 + 320 + 7; 131071 * 64 + 7 is within 24 bits, so it fires and is reset; -2048 - 128 + 7
    assert membrane.tolist() == [327, 0, -2169]
    assert sent.tolist() == [0, 1, 0]
    assert counts.tolist() == [3, 1]


def test_products_visit_what_is_not_zero() -> None:
    weight = np.array([[1, 0, -3], [200, -256, 0], [7, 7, 7]], np.int16)
    result, counts = _vector([10, 20, 30]), _counts(3)
    neurons.by_input(weight, _vector([-1, 4, 0]), result, counts)
    assert result.tolist() == [10 - 1 + 800, 20 - 1024, 30 + 3]
    # input 0 reaches 2 weights with a unit, input 1 reaches 2 with 4
    assert counts.tolist() == [4, 2, 2 + 8]


CASES = [
    # channels in, out, groups; image; kernel, stride, padding, dilation (height, width)
    (2, 3, 1, (5, 6), (3, 2), (1, 1), (0, 0), (1, 1)),
    (4, 6, 2, (6, 5), (2, 3), (2, 1), (1, 2), (1, 2)),
    (3, 3, 3, (7, 7), (3, 3), (2, 3), (2, 1), (2, 1)),
    (1, 2, 1, (4, 9), (1, 4), (3, 2), (0, 3), (1, 1)),
]


@pytest.mark.parametrize("case", CASES)
def test_convolutions_are_those_of_pytorch(case: tuple) -> None:
    inputs, outputs, groups, image, kernel, stride, padding, dilation = case
    rng = np.random.default_rng(outputs)
    weight = rng.integers(-256, 256, (outputs, inputs // groups, *kernel)).astype(np.int16)
    weight[rng.random(weight.shape) < 0.3] = 0
    x = rng.integers(-3, 4, (inputs, *image)).astype(np.int32)
    exact = torch.nn.functional.conv2d(
        torch.from_numpy(x).double()[None], torch.from_numpy(weight).double(), None, stride,
        padding, dilation, groups,
    )[0].numpy().astype(np.int64)  # fmt: skip
    fans = torch.nn.functional.conv_transpose2d(  # outputs that each input reaches
        torch.ones(1, *exact.shape, dtype=torch.float64), torch.from_numpy(weight != 0).double(),
        None, stride, padding,
        tuple(
            n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, m, s, p, d, k in zip(
                image, exact.shape[1:], stride, padding, dilation, kernel, strict=True
            )
        ), groups, dilation,
    )[0].numpy().astype(np.int64)  # fmt: skip
    geometry = _vector(
        [inputs, *image, outputs, *exact.shape[1:], *kernel, *stride, *padding, *dilation, groups]
    )
    result, counts = np.zeros(exact.size, np.int32), _counts(3)
    neurons.convolution(weight.ravel(), geometry, x.ravel(), result, counts)
    assert result.tolist() == exact.ravel().tolist()
    assert counts.tolist() == [
        int(fans[x != 0].sum()), int(fans[abs(x) == 1].sum()), int((fans * abs(x)).sum()),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("total", "found"), [(2**23 - 1, 2**23 - 1), (2**23, -(2**23)), (-(2**23) - 1, 2**23 - 1)]
)
def test_sums_of_a_convolution_wrap_at_24_bits(total: int, found: int) -> None:
    geometry = _vector([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1])
    result, counts = _vector([total - 10]), _counts(3)
    neurons.convolution(np.array([5], np.int16), geometry, _vector([2]), result, counts)
    assert result.tolist() == [found]


def test_outputs_come_late_by_their_channel_s_delay() -> None:
    delay, line = _vector([0, 1, 3]), np.zeros((3, 3), np.int32)
    seen = []
    for t in range(1, 7):
        result = _vector([-9] * 3)
        neurons.channel_delay(_vector([t, 10 * t, 100 * t]), delay, line, result)
        seen.append(result.tolist())
    assert seen == [
        [1, 0, 0], [2, 10, 0], [3, 20, 0], [4, 30, 100], [5, 40, 200], [6, 50, 300],
    ]  # fmt: skip


def test_sigma_adds_up() -> None:
    total, result, counts = _vector([5, -5]), _vector([0, 0]), _counts()
    for driving in ([3, 0], [-10, 1]):
        neurons.sigma(_vector(driving), total, result, counts)
    assert total.tolist() == result.tolist() == [-2, -4]
    assert counts.tolist() == [3, 0]


def test_changes_are_sent_from_the_threshold_on_and_kept_below_it() -> None:
    # threshold 2 and 3 fraction bits: 2 * 2**9 = 1024 of the state; a message is state >> 6
    last, residue = _vector([0, 0, 0]), _vector([0, 0, 0])
    result, counts = _vector([0, 0, 0]), _counts()
    seen = []
    for driving in ([1, 2, -2], [3, 2, 0], [3, 3, 1]):
        neurons.delta(_vector(driving), 2, 3, last, residue, result, counts)
        seen.append((result.tolist(), residue.tolist()))
    assert seen == [
        ([0, 16, -16], [512, 0, 0]),  # 1 is kept
        ([24, 0, 16], [0, 0, 0]),  # 2 more and the 1; no change; back by 2
        ([0, 0, 0], [0, 512, 512]),
    ]
    assert last.tolist() == [1536, 1536, 512]
    assert counts.tolist() == [8, 0]


def test_sigma_delta_neurons_sum_rectify_and_send_changes() -> None:
    # 1 fraction bit: bias and threshold in units of 128; threshold 1
    total, last, residue = _vector([0, 0]), _vector([0, 0]), _vector([0, 0])
    result, counts = _vector([0, 0]), _counts()
    seen = []
    for driving in ([100, -300], [50, 0], [-900, 500]):
        neurons.sigma_delta(
            _vector(driving), _vector([1, -1]), 1, 1, total, last, residue, result, counts
        )
        seen.append((result.tolist(), last.tolist(), residue.tolist()))
    assert seen == [
        ([3, 0], [228, 0], [0, 0]),  # 100 + 128 >> 6; below 0
        ([0, 0], [278, 0], [50, 0]),  # a change of 50 is below 128
        ([-4, 0], [0, 72], [0, 72]),  # 50 - 278 = -228 >> 6; 200 - 128 = 72
    ]
    assert total.tolist() == [-750, 200]
    assert counts.tolist() == [5, 0]
