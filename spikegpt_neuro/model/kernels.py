"""Compiled float loops over time for training on a CPU: WKV and LIF, forward and backward.

Each function works in place on C-contiguous numpy arrays [B, T, C] (float32 or float64), walks
time once and treats channels as the inner, vectorised loop. Equations: ``wkv.py`` and ``lif.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import overload

Array = np.ndarray[Any, Any]
FAST = {"nnan", "nsz", "contract"}
"""Reordering freedoms given to LLVM: no NaN occur, signs of zero do not matter, fused multiply-add.
Sums are not reassociated, so results do not depend on the vector width."""


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled = numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")(function)
    return compiled


def _exp(x: Any) -> Any:
    """``e**x`` for x <= 0."""
    raise NotImplementedError


@overload(_exp, inline="always")
def _exp_overload(x):  # type: ignore[no-untyped-def]  # numba compares the signatures literally
    if x == numba.float64:
        return lambda x: math.exp(x)

    def single(x):  # type: ignore[no-untyped-def]
        # Cody-Waite reduction and a degree 7 polynomial, vectorised by LLVM; relative error 7e-8
        clipped = max(x, np.float32(-87.0))
        n = np.floor(clipped * np.float32(1.44269504) + np.float32(0.5))
        r = clipped - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
        p = np.float32(1 / 5040)
        p = p * r + np.float32(1 / 720)
        p = p * r + np.float32(1 / 120)
        p = p * r + np.float32(1 / 24)
        p = p * r + np.float32(1 / 6)
        p = p * r + np.float32(0.5)
        p = p * r * r + r + np.float32(1)
        power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23))
        return p * power.view(np.float32)

    return single


@_kernel
def wkv_forward(
    decay: Array, first: Array, key: Array, value: Array,
    numerator: Array, denominator: Array, exponent: Array, history: Array, result: Array,
) -> None:  # fmt: skip
    """State arrays [B, C] are read and written; ``history`` [3, B, T, C] gets the states before."""
    batch, length, channels = key.shape
    one = key.dtype.type(1)
    for b in range(batch):
        num, den, top = numerator[b], denominator[b], exponent[b]
        for t in range(length):
            k, v, y = key[b, t], value[b, t], result[b, t]
            nums, dens, tops = history[0, b, t], history[1, b, t], history[2, b, t]
            for c in range(channels):
                nums[c] = num[c]
                dens[c] = den[c]
                tops[c] = top[c]
                # one of the two weights is always 1: a single exponential serves both
                boosted = k[c] + first[c]
                lead = top[c] - boosted
                small = _exp(-abs(lead))
                past = small if lead < 0 else one
                present = one if lead < 0 else small
                y[c] = (past * num[c] + present * v[c]) / (past * den[c] + present)
                decayed = top[c] + decay[c]
                lead = decayed - k[c]
                small = _exp(-abs(lead))
                past = small if lead < 0 else one
                present = one if lead < 0 else small
                num[c] = past * num[c] + present * v[c]
                den[c] = past * den[c] + present
                top[c] = max(decayed, k[c])


@_kernel
def wkv_backward(
    decay: Array, first: Array, key: Array, value: Array, history: Array, result: Array,
    gradient: Array, to_decay: Array, to_first: Array, to_key: Array, to_value: Array,
) -> None:  # fmt: skip
    """Gradients by one pass back in time.

    ``alpha``, ``beta`` (times ``e^level``) are the gradients with respect to the state's numerator
    and denominator after token t; ``level`` keeps every exponential below at an argument <= 0.
    """
    batch, length, channels = key.shape
    zero, one = key.dtype.type(0), key.dtype.type(1)
    alpha = np.zeros_like(decay)
    beta = np.zeros_like(decay)
    level = np.zeros_like(decay)
    for b in range(batch):
        alpha[:] = 0
        beta[:] = 0
        level[:] = -1e38
        sum_decay, sum_first = to_decay[b], to_first[b]
        for step in range(length):
            t = length - 1 - step
            k, v, y, g = key[b, t], value[b, t], result[b, t], gradient[b, t]
            nums, dens, tops = history[0, b, t], history[1, b, t], history[2, b, t]
            gk, gv = to_key[b, t], to_value[b, t]
            for c in range(channels):
                boosted = k[c] + first[c]
                lead = tops[c] - boosted
                small = _exp(-abs(lead))
                past = small if lead < 0 else one
                present = one if lead < 0 else small
                top = max(tops[c], boosted)
                share = g[c] / (past * dens[c] + present)
                own = share * present
                own_key = own * (v[c] - y[c])
                sum_first[c] += own_key
                later = _exp(min(level[c] + k[c], zero))
                gv[c] = own + alpha[c] * later
                gk[c] = own_key + (alpha[c] * v[c] + beta[c]) * later
                decayed = level[c] + decay[c]
                carried = _exp(min(decayed + tops[c], zero))
                sum_decay[c] += (alpha[c] * nums[c] + beta[c] * dens[c]) * carried
                new_level = max(-top, decayed)
                old = _exp(decayed - new_level)
                new = _exp(-top - new_level)
                alpha[c] = alpha[c] * old + share * new
                beta[c] = beta[c] * old - share * y[c] * new
                level[c] = new_level


@_kernel
def lif_forward(
    current: Array, keep: float, gain: float, levels: int, soft_reset: bool,
    membrane: Array, potential: Array, spikes: Array,
) -> None:  # fmt: skip
    """``membrane`` [B, C] is read and written, ``potential`` and ``spikes`` [B, T, C] written."""
    batch, length, channels = current.shape
    real = current.dtype.type
    zero, most, kept, scale = real(0), real(levels), real(keep), real(gain)
    for b in range(batch):
        v = membrane[b]
        for t in range(length):
            x, h, s = current[b, t], potential[b, t], spikes[b, t]
            for c in range(channels):
                reached = kept * v[c] + scale * x[c]
                fired = min(max(np.floor(reached), zero), most)
                h[c] = reached
                s[c] = fired
                if soft_reset:
                    v[c] = reached - fired
                else:
                    v[c] = reached if fired == zero else zero


@_kernel
def lif_backward(
    gradient: Array, potential: Array, spikes: Array, keep: float, gain: float, levels: int,
    soft_reset: bool, to_current: Array,
) -> None:  # fmt: skip
    """Gradient with respect to the current, through time, with the summed ATan surrogate."""
    batch, length, channels = gradient.shape
    real = gradient.dtype.type
    zero, one, pi, kept, scale = real(0), real(1), real(math.pi), real(keep), real(gain)
    carried = np.zeros_like(gradient[0, 0])
    slope = np.zeros_like(gradient[0, 0])
    for b in range(batch):
        carried[:] = 0
        for step in range(length):
            t = length - 1 - step
            g, h, s, out = gradient[b, t], potential[b, t], spikes[b, t], to_current[b, t]
            slope[:] = 0
            for level in range(1, levels + 1):
                for c in range(channels):
                    scaled = (h[c] - real(level)) * pi
                    slope[c] += one / (one + scaled * scaled)
            for c in range(channels):
                if soft_reset:
                    through = one - slope[c]
                else:
                    through = (one if s[c] == zero else zero) - h[c] * slope[c]
                total = g[c] * slope[c] + carried[c] * through
                out[c] = scale * total
                carried[c] = kept * total


@_kernel
def slayer_integrate(
    driving: Array, keep: Array, state: Array, threshold: float, scale: float, result: Array
) -> None:
    """SLAYER's leaky integrator in fixed point, one row [T] of ``driving`` [M, T] after another.

    ``y = trunc(y * keep / 4096) + trunc(scale * x)``; above ``threshold`` >= 0 the next step starts
    from 0. ``keep`` int64 [M]; ``state`` int64 [M] is read; ``result`` [M, T] is ``y / scale``.
    """
    rows, length = driving.shape
    real = driving.dtype.type
    for m in range(rows):
        x, y = driving[m], result[m]
        old = state[m]
        for t in range(length):
            product = old * keep[m]
            kept = -((-product) >> 12) if product < 0 else product >> 12
            new = kept + np.int64(x[t] * real(scale))
            y[t] = real(new) / real(scale)
            old = np.int64(0) if threshold >= 0 and new >= threshold else new


@_kernel
def slayer_integrate_backward(gradient: Array, kept_share: Array, to_driving: Array) -> None:
    """Gradient of ``slayer_integrate`` as SLAYER defines it: the reset is not differentiated."""
    rows, length = gradient.shape
    for m in range(rows):
        carried = gradient.dtype.type(0)
        for step in range(length):
            t = length - 1 - step
            carried = kept_share[m] * carried + gradient[m, t]
            to_driving[m, t] = carried
