"""WKV: the time-mixing recurrence of RWKV, in real numbers, with gradients.

Per channel, with decay ``w = -exp(time_decay) < 0`` and ``u = time_first``::

    y_t = (sum_{i<t} e^{k_i + (t-1-i) w} v_i + e^{u + k_t} v_t)
        / (sum_{i<t} e^{k_i + (t-1-i) w}     + e^{u + k_t})

(SpikeGPT, arXiv 2302.13939, section 3; upstream ``src/model.py`` and its CUDA operator.) The sums
over the past are the state: numerator and denominator, both divided by ``e^exponent`` so that no
context length over- or underflows. An empty state is (0, 0, -1e38).

Two implementations with the same results: ``_Fused`` (CPU; one pass over time, compiled by numba)
and ``wkv_chunked`` (any device; plain torch, parallel within chunks of time).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikegpt_neuro.model import kernels

EMPTY_EXPONENT = -1e38
CHUNK = 32
"""Time steps ``wkv_chunked`` computes at once."""


class WkvState(NamedTuple):
    """Sums over the past: ``numerator / denominator`` times ``e^exponent`` each; shapes [B, C]."""

    numerator: Tensor
    denominator: Tensor
    exponent: Tensor


def empty_state(batch: int, channels: int, like: Tensor) -> WkvState:
    """The state before the first token, with ``like``'s device and dtype."""
    zeros = like.new_zeros(batch, channels)
    return WkvState(zeros, zeros, torch.full_like(zeros, EMPTY_EXPONENT))


def wkv(
    time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor, state: WkvState | None
) -> tuple[Tensor, WkvState]:
    """Weighted average of values, and the state after the last token.

    ``time_decay``, ``time_first`` [C]; ``key``, ``value`` [B, T, C]; float32 or float64 (half
    precisions are computed in float32). Gradients flow to all four tensors, not to the state.
    """
    if key.dtype in (torch.float16, torch.bfloat16):
        result, after = wkv(time_decay, time_first, key.float(), value.float(), state)
        return result.to(key.dtype), after
    decay = -torch.exp(time_decay.to(key.dtype))
    first = time_first.to(key.dtype)
    if state is None:
        state = empty_state(key.shape[0], key.shape[2], key)
    if key.device.type == "cpu":
        parts = _Fused.apply(decay, first, key, value, *state)  # type: ignore[no-untyped-call]
        result, *after_parts = parts
        return result, WkvState(*after_parts)
    return wkv_chunked(decay, first, key, value, state)


def wkv_chunked(
    decay: Tensor, first: Tensor, key: Tensor, value: Tensor, state: WkvState, chunk: int = CHUNK
) -> tuple[Tensor, WkvState]:
    """WKV in plain torch operations; ``decay`` is ``w`` itself. Gradients come from autograd.

    Within a chunk of n tokens all pairs are weighed at once ([B, n, n, C]); the state carries the
    past from chunk to chunk.
    """
    results = []
    numerator, denominator, exponent = state
    for k, v in zip(torch.split(key, chunk, 1), torch.split(value, chunk, 1), strict=True):
        length = k.shape[1]
        steps = torch.arange(length, device=k.device)
        distance = (steps[:, None] - 1 - steps[None, :]).to(k.dtype)[None, :, :, None]
        exponents = k[:, None] + decay * distance
        own = (steps[:, None] == steps[None, :])[None, :, :, None]
        future = (steps[:, None] < steps[None, :])[None, :, :, None]
        exponents = torch.where(own, (first + k)[:, None], exponents)
        exponents = exponents.masked_fill(future, EMPTY_EXPONENT)
        past = exponent[:, None] + decay * steps.to(k.dtype)[:, None]
        top = torch.maximum(exponents.amax(dim=2), past).detach()
        weights = torch.exp(exponents - top[:, :, None])
        past_weight = torch.exp(past - top)
        total = (weights * v[:, None]).sum(2) + past_weight * numerator[:, None]
        results.append(total / (weights.sum(2) + past_weight * denominator[:, None]))
        tail = k + decay * (length - 1 - steps).to(k.dtype)[:, None]
        carried = exponent + decay * length
        after = torch.maximum(tail.amax(dim=1), carried).detach()
        tail_weights = torch.exp(tail - after[:, None])
        carry = torch.exp(carried - after)
        numerator = carry * numerator + (tail_weights * v).sum(1)
        denominator = carry * denominator + tail_weights.sum(1)
        exponent = after
    return torch.cat(results, dim=1), WkvState(numerator, denominator, exponent)


class _Fused(torch.autograd.Function):
    """WKV by the numba kernels: forward and backward are one pass over time each."""

    @staticmethod
    def forward(
        ctx: Any, decay: Tensor, first: Tensor, key: Tensor,
        value: Tensor, numerator: Tensor, denominator: Tensor, exponent: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        key, value = key.contiguous(), value.contiguous()
        result = torch.empty_like(key)
        # the state before every token, kept for the backward pass
        history = torch.empty((3, *key.shape), dtype=key.dtype)
        after = tuple(part.clone() for part in (numerator, denominator, exponent))
        kernels.wkv_forward(
            *(t.detach().numpy() for t in (decay, first, key, value, *after, history, result))
        )
        ctx.save_for_backward(decay, first, key, value, history, result)
        ctx.mark_non_differentiable(*after)
        return (result, *after)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        decay, first, key, value, history, result = ctx.saved_tensors
        to_key, to_value = torch.empty_like(key), torch.empty_like(value)
        to_decay = torch.zeros(key.shape[0], key.shape[2], dtype=key.dtype)
        to_first = torch.zeros_like(to_decay)
        kernels.wkv_backward(
            *(
                t.numpy()
                for t in (
                    decay, first, key, value, history, result, gradient.contiguous(),
                    to_decay, to_first, to_key, to_value,
                )
            )
        )  # fmt: skip
        return to_decay.sum(0), to_first.sum(0), to_key, to_value, None, None, None
