"""Synapses and neurons of stock NetX chains (SLAYER): equal to lava-nc's fixed-point models.

Synapses deliver one time step late: the layer before them is a ``Delay``, as stock ``Dense`` and
``Conv`` hold their sums back a step.
"""

# numba types its integers itself: a numpy scalar and an int are one there
# mypy: disable-error-code="arg-type,assignment"

from __future__ import annotations

import numpy as np

from spikegpt_neuro.arithmetic.compiler import inline_kernel, kernel
from spikegpt_neuro.arithmetic.fixed_point import clip
from spikegpt_neuro.arithmetic.formats import (
    ALIGNMENT_BITS,
    DECAY_BITS,
    SPIKE_STATE_BITS,
    STATE_LIMIT,
)


@kernel
def by_input(
    weight: np.ndarray, operands: np.ndarray, result: np.ndarray, counts: np.ndarray
) -> None:
    """``result[j] += sum_k weight[k, j] * operands[k]``, visiting non-zero operands only.

    ``weight``: int16 [m, n], transposed. ``operands``: int32 [m]. ``result``: int32 [n]; sums wrap
    at 32 bits as in lava-nc's ``Dense``. ``counts``: int64 [3], adds synaptic operations, those of
    unit operands, and unit additions.
    """
    for k in range(operands.size):
        x = operands[k]
        if x == 0:
            continue
        fan_out = 0
        for j in range(result.size):
            result[j] += weight[k, j] * x
            fan_out += weight[k, j] != 0
        counts[0] += fan_out
        counts[1] += fan_out if abs(x) == 1 else 0
        counts[2] += fan_out * abs(x)


@kernel
def convolution(
    weight: np.ndarray,
    geometry: np.ndarray,
    operands: np.ndarray,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Two-dimensional convolution of SLAYER (a correlation), visiting non-zero operands only.

    ``result[o, y, x] += sum weight[o, c, i, j] * operands[c, y*sy - py + i*dy, x*sx - px + j*dx]``

    ``weight``: int16 [outputs, inputs / groups, kernel height, width], flat. ``geometry``: int32
    [15]: input channels, height, width; output channels, height, width; kernel, stride, padding,
    dilation (height, width each); groups. ``operands``, ``result``: int32, flat (C, H, W). Sums
    wrap at 24 bits as in lava-nc's ``Conv``. ``counts``: see ``by_input``.
    """
    in_c, in_h, in_w = geometry[0], geometry[1], geometry[2]
    out_c, out_h, out_w = geometry[3], geometry[4], geometry[5]
    k_h, k_w, s_h, s_w = geometry[6], geometry[7], geometry[8], geometry[9]
    p_h, p_w, d_h, d_w = geometry[10], geometry[11], geometry[12], geometry[13]
    groups = geometry[14]
    in_group, out_group = in_c // groups, out_c // groups
    for index in range(operands.size):
        value = operands[index]
        if value == 0:
            continue
        fan_out = 0
        c, y, x = index // (in_h * in_w), index // in_w % in_h, index % in_w
        group = c // in_group
        for i in range(k_h):
            top = y + p_h - i * d_h
            if top < 0 or top % s_h != 0 or top // s_h >= out_h:
                continue
            for j in range(k_w):
                left = x + p_w - j * d_w
                if left < 0 or left % s_w != 0 or left // s_w >= out_w:
                    continue
                for o in range(group * out_group, (group + 1) * out_group):
                    w = weight[((o * in_group + c % in_group) * k_h + i) * k_w + j]
                    result[(o * out_h + top // s_h) * out_w + left // s_w] += w * value
                    fan_out += w != 0
        counts[0] += fan_out
        counts[1] += fan_out if abs(value) == 1 else 0
        counts[2] += fan_out * abs(value)
    for index in range(result.size):
        result[index] = ((result[index] + STATE_LIMIT) & (2 * STATE_LIMIT - 1)) - STATE_LIMIT


@kernel
def channel_delay(
    driving: np.ndarray, delay: np.ndarray, line: np.ndarray, result: np.ndarray
) -> None:
    """``result[t, i] = driving[t - delay[i], i]``, 0 before the start.

    ``delay``: int32 [n], 0..depth. ``line``: int32 [depth, n], the last ``depth`` inputs, newest
    first. Stock NetX's delays of a layer's outputs.
    """
    for i in range(driving.size):
        result[i] = driving[i] if delay[i] == 0 else line[delay[i] - 1, i]
    for d in range(line.shape[0] - 1, 0, -1):
        line[d] = line[d - 1]
    line[0] = driving


@inline_kernel
def wrapped(wide: int) -> int:
    """A current of 24 bits, wrapped at 2**23 as in lava-nc's ``LIF``."""
    u = wide - 2 * STATE_LIMIT if wide > STATE_LIMIT else wide
    return wide + 2 * STATE_LIMIT if u <= -STATE_LIMIT else u


@inline_kernel
def decayed(state: int, decay: int) -> int:
    """``state * (4096 - decay) / 4096``, towards zero."""
    product = state * ((1 << DECAY_BITS) - decay)
    return (product + (((1 << DECAY_BITS) - 1) if product < 0 else 0)) >> DECAY_BITS


@kernel
def cuba(
    driving: np.ndarray,
    bias: np.ndarray,
    current_decay: int,
    voltage_decay: int,
    threshold: int,
    current: np.ndarray,
    voltage: np.ndarray,
    spikes: np.ndarray,
    counts: np.ndarray,
) -> None:
    """One time step of current-based LIF neurons, exactly lava-nc 0.10.0's fixed-point ``LIF``.

    Equation, per neuron::

        u = trunc(u * (4096 - current_decay) / 4096) + driving * 2**6     wraps at 2**23
        v = trunc(v * (4096 - voltage_decay) / 4096) + u + bias * 2**6    clipped to +-(2**23 - 1)
        s = v > threshold * 2**6;  v = 0 where s

    Shapes: all vectors int32 [n]; ``current`` and ``voltage`` are state. ``counts``: int64 [2],
    adds neurons with non-zero input and clipped voltages.
    """
    for i in range(driving.size):
        wide = decayed(np.int64(current[i]), current_decay) + (driving[i] << ALIGNMENT_BITS)
        u = wrapped(wide)
        current[i] = u
        wide = decayed(np.int64(voltage[i]), voltage_decay) + u + (bias[i] << ALIGNMENT_BITS)
        v = clip(wide, 1 - STATE_LIMIT, STATE_LIMIT - 1)
        spikes[i] = v > threshold << ALIGNMENT_BITS
        voltage[i] = 0 if spikes[i] else v
        counts[0] += driving[i] != 0
        counts[1] += v != wide


@kernel
def leaky_integrator(
    driving: np.ndarray,
    bias: np.ndarray,
    current_decay: int,
    voltage_decay: int,
    current: np.ndarray,
    voltage: np.ndarray,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """One time step of neurons that never fire and send their voltage: ``cuba`` without threshold.

    Equation, per neuron::

        u = trunc(u * (4096 - current_decay) / 4096) + driving * 2**6     wraps at 2**23
        v = trunc(v * (4096 - voltage_decay) / 4096) + u + bias * 2**6    clipped to +-(2**23 - 1)

    Vectors int32 [n]; ``current`` and ``voltage`` are state. ``counts``: see ``cuba``.
    """
    for i in range(driving.size):
        wide = decayed(np.int64(current[i]), current_decay) + (driving[i] << ALIGNMENT_BITS)
        u = wrapped(wide)
        current[i] = u
        wide = decayed(np.int64(voltage[i]), voltage_decay) + u + (bias[i] << ALIGNMENT_BITS)
        v = clip(wide, 1 - STATE_LIMIT, STATE_LIMIT - 1)
        voltage[i] = v
        result[i] = v
        counts[0] += driving[i] != 0
        counts[1] += v != wide


@kernel
def alif(
    driving: np.ndarray,
    bias: np.ndarray,
    decays: np.ndarray,
    threshold: int,
    threshold_step: int,
    current: np.ndarray,
    voltage: np.ndarray,
    raised: np.ndarray,
    refractory: np.ndarray,
    spikes: np.ndarray,
    counts: np.ndarray,
) -> None:
    """One time step of adaptive LIF neurons, in the integers of SLAYER's quantised ``alif``.

    Equation, per neuron; ``T = threshold * 2**6``, ``trunc_d(x) = trunc(x * (4096 - d) / 4096)``
    with ``decays`` d of current, voltage, threshold and refractory state, int64 [4]::

        u = trunc_u(u) + (driving + bias) * 2**6      wraps at 2**23
        v = trunc_v(v) + u                            clipped to +-(2**23 - 1)
        a = trunc_a(a);  r = trunc_r(r)               a: how far the threshold is raised
        s = v - r >= T + a
        r = r + 2 (T + a);  a = a + threshold_step * 2**6    where s

    Shapes: all vectors int32 [n]; ``current``, ``voltage``, ``raised`` and ``refractory`` are
    state, 0 at first. SLAYER computes in int64 and neither wraps nor clips; its integers are the
    same below 2**23. ``counts``: int64 [2], adds neurons with non-zero input and clipped voltages.
    """
    for i in range(driving.size):
        wide = decayed(np.int64(current[i]), decays[0])
        wide += (driving[i] + bias[i]) << ALIGNMENT_BITS
        u = wrapped(wide)
        current[i] = u
        wide = decayed(np.int64(voltage[i]), decays[1]) + u
        v = clip(wide, 1 - STATE_LIMIT, STATE_LIMIT - 1)
        voltage[i] = v
        a = decayed(np.int64(raised[i]), decays[2])
        r = decayed(np.int64(refractory[i]), decays[3])
        limit = (threshold << ALIGNMENT_BITS) + a
        spikes[i] = v - r >= limit
        raised[i] = a + (threshold_step << ALIGNMENT_BITS if spikes[i] else 0)
        refractory[i] = r + (2 * limit if spikes[i] else 0)
        counts[0] += driving[i] != 0
        counts[1] += v != wide


@kernel
def sigma(driving: np.ndarray, total: np.ndarray, result: np.ndarray, counts: np.ndarray) -> None:
    """``total += driving; result = total``: lava-nc's ``Sigma``. Vectors int32 [n]."""
    for i in range(driving.size):
        total[i] += driving[i]
        result[i] = total[i]
        counts[0] += driving[i] != 0


@kernel
def send_changes(
    activation: np.ndarray,
    threshold: int,
    last: np.ndarray,
    residue: np.ndarray,
    result: np.ndarray,
) -> None:
    """Delta encoding, lava-nc's ``Delta`` without cumulative error.

    Equation: ``d = activation - last + residue``; sent where ``|d| >= threshold``, otherwise kept
    in ``residue``; messages are ``sent >> 6``. Vectors int32 [n]; ``last``, ``residue``: state.
    """
    for i in range(activation.size):
        change = activation[i] - last[i] + residue[i]
        sent = change if abs(change) >= threshold else 0
        residue[i] = change - sent
        last[i] = activation[i]
        result[i] = sent >> SPIKE_STATE_BITS


@kernel
def delta(
    driving: np.ndarray,
    threshold: int,
    spike_bits: int,
    last: np.ndarray,
    residue: np.ndarray,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """``send_changes`` of ``driving * 2**(spike_bits + 6)``: the input of a sigma-delta network."""
    for i in range(driving.size):
        counts[0] += driving[i] != 0
        result[i] = driving[i] << (spike_bits + SPIKE_STATE_BITS)
    send_changes(result, threshold << (spike_bits + SPIKE_STATE_BITS), last, residue, result)


@kernel
def sigma_delta(
    driving: np.ndarray,
    bias: np.ndarray,
    threshold: int,
    spike_bits: int,
    total: np.ndarray,
    last: np.ndarray,
    residue: np.ndarray,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Sum, add bias, ReLU, ``send_changes``: lava-nc's ``SigmaDelta`` with ReLU activation.

    ``bias`` and ``threshold`` are in units of ``2**(spike_bits + 6)`` of the state.
    """
    shift = spike_bits + SPIKE_STATE_BITS
    for i in range(driving.size):
        total[i] += driving[i]
        result[i] = max(total[i] + (bias[i] << shift), 0)
        counts[0] += driving[i] != 0
    send_changes(result, threshold << shift, last, residue, result)
