"""WKV: both implementations against the definition, their gradients, and every way to cut time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from spikegpt_neuro.model.wkv import WkvState, empty_state, wkv, wkv_chunked


def tensors(length: int, dtype: torch.dtype = torch.float64, spread: float = 2.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    channels = 3
    decay = torch.randn(channels, generator=generator, dtype=dtype)
    first = torch.randn(channels, generator=generator, dtype=dtype)
    key = torch.randn(2, length, channels, generator=generator, dtype=dtype) * spread
    value = torch.randn(2, length, channels, generator=generator, dtype=dtype)
    return [decay, first, key, value]


def by_definition(time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The sums as written in the module's docstring, term by term in Python floats."""
    result = torch.zeros_like(value)
    for b in range(key.shape[0]):
        for c in range(key.shape[2]):
            w = -math.exp(time_decay[c].item())
            for t in range(key.shape[1]):
                weights = [math.exp(key[b, i, c].item() + (t - 1 - i) * w) for i in range(t)]
                weights.append(math.exp(time_first[c].item() + key[b, t, c].item()))
                total = sum(p * value[b, i, c].item() for i, p in enumerate(weights))
                result[b, t, c] = total / sum(weights)
    return result


@pytest.mark.parametrize("length", [1, 2, 31, 33, 70])
def test_both_implementations_are_the_definition(length: int) -> None:
    decay, first, key, value = tensors(length)
    expected = by_definition(decay, first, key, value)
    compiled, after = wkv(decay, first, key, value, None)
    plain, plain_after = wkv_chunked(-torch.exp(decay), first, key, value, empty_state(2, 3, key))
    # float64 rounding of sums of up to 70 terms
    torch.testing.assert_close(compiled, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(plain, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(after[:2], plain_after[:2], strict=True):
        torch.testing.assert_close(
            a * torch.exp(after.exponent), b * torch.exp(plain_after.exponent)
        )


def test_gradients_against_finite_differences() -> None:
    arguments = [tensor.requires_grad_() for tensor in tensors(6)]
    state = WkvState(
        torch.randn(2, 3).double(), torch.rand(2, 3).double() + 0.1, torch.zeros(2, 3).double()
    )
    assert torch.autograd.gradcheck(lambda *a: wkv(*a, state)[0], arguments)
    assert torch.autograd.gradcheck(
        lambda d, f, k, v: wkv_chunked(-torch.exp(d), f, k, v, state, chunk=4)[0], arguments
    )


def test_gradients_of_both_agree_over_many_chunks() -> None:
    arguments = [tensor.requires_grad_() for tensor in tensors(100)]
    upstream_gradient = torch.randn(2, 100, 3, dtype=torch.float64)
    compiled = torch.autograd.grad(wkv(*arguments, None)[0], arguments, upstream_gradient)
    decay, first, key, value = arguments
    plain = torch.autograd.grad(
        wkv_chunked(-torch.exp(decay), first, key, value, empty_state(2, 3, key))[0],
        arguments, upstream_gradient,
    )  # fmt: skip
    for a, b in zip(compiled, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)  # float64 rounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("piece", [1, 3, 64])
def test_recurrent_form_equals_the_sequence_exactly(piece: int, dtype: torch.dtype) -> None:
    decay, first, key, value = tensors(64, dtype)
    whole, whole_after = wkv(decay, first, key, value, None)
    state = None
    parts = []
    for begin in range(0, 64, piece):
        part = slice(begin, begin + piece)
        result, state = wkv(decay, first, key[:, part], value[:, part], state)
        parts.append(result)
    assert torch.equal(torch.cat(parts, 1), whole)
    assert state is not None
    assert all(torch.equal(a, b) for a, b in zip(state, whole_after, strict=True))


def test_float32_over_a_long_context_with_extreme_keys() -> None:
    decay, first, key, value = tensors(20_000, torch.float32, spread=30.0)
    result, after = wkv(decay, first, key, value, None)
    exact, _ = wkv(*(t.double() for t in (decay, first, key, value)), None)
    assert torch.isfinite(result).all()
    assert all(torch.isfinite(part).all() for part in after)
    # the exponent, here around 100, decays by a float32 addition a step; its rounding adds up
    assert (result - exact).abs().max() < 2e-3


def test_half_precision_is_computed_in_float32() -> None:
    decay, first, key, value = tensors(20, torch.float32)
    result, after = wkv(decay, first, key.bfloat16(), value.bfloat16(), None)
    exact, _ = wkv(decay, first, key.bfloat16().float(), value.bfloat16().float(), None)
    assert result.dtype == torch.bfloat16
    assert after.exponent.dtype == torch.float32
    assert torch.equal(result, exact.bfloat16())
