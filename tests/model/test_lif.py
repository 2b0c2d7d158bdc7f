"""LIF neurons against a scalar loop; compiled and plain form; what the docstring promises."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from spikegpt_neuro.model.lif import UPSTREAM_NEURON, Compiled, NeuronConstants, Plain, lif

NEURONS = [
    UPSTREAM_NEURON,
    NeuronConstants(4096, 1, False),
    NeuronConstants(4096, 3, True),
    NeuronConstants(2048, 3, True),
    NeuronConstants(1000, 2, False, 0.7),
    NeuronConstants(0, 15, True),
]


def current(length: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    # quarters: membrane potentials meet thresholds exactly
    return torch.randint(-8, 13, (2, length, 5), generator=generator).double() / 4


def one_by_one(x: Tensor, neuron: NeuronConstants) -> tuple[Tensor, Tensor]:
    spikes, after = torch.zeros_like(x), torch.zeros(2, 5, dtype=x.dtype)
    for b in range(2):
        for c in range(5):
            v = 0.0
            for t in range(x.shape[1]):
                h = neuron.keep * v + neuron.gain * x[b, t, c].item()
                s = sum(h >= j for j in range(1, neuron.levels + 1))
                v = (h - s if neuron.soft_reset else 0.0) if s else h
                spikes[b, t, c] = s
            after[b, c] = v
    return spikes, after


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("form", [Compiled, Plain])
def test_against_one_neuron_at_a_time(
    neuron: NeuronConstants, form: type[torch.autograd.Function]
) -> None:
    spikes, _, after = form.apply(current(), torch.zeros(2, 5).double(), neuron)  # type: ignore[no-untyped-call]
    expected, expected_after = one_by_one(current(), neuron)
    assert torch.equal(spikes, expected)
    # the compiled form may fuse multiply and add: one rounding less a step
    torch.testing.assert_close(after, expected_after, rtol=0, atol=1e-12)


@pytest.mark.parametrize("neuron", NEURONS)
def test_pieces_equal_the_sequence(neuron: NeuronConstants) -> None:
    x = current()
    whole, _, whole_after = lif(x, None, neuron)
    membrane = None
    parts = []
    for part in torch.split(x, 7, 1):
        spikes, _, membrane = lif(part, membrane, neuron)
        parts.append(spikes)
    assert torch.equal(torch.cat(parts, 1), whole)
    assert membrane is not None
    assert torch.equal(membrane, whole_after)


@pytest.mark.parametrize("neuron", NEURONS)
def test_gradient_is_that_of_the_surrogate_through_time(neuron: NeuronConstants) -> None:
    """Autograd through a loop in which the spike count has the surrogate as its derivative."""
    x = (current(12) + 0.1).requires_grad_()

    def surrogate_primitive(h: Tensor) -> Tensor:
        return sum(torch.atan(math.pi * (h - j)) / math.pi for j in range(1, neuron.levels + 1))  # type: ignore[return-value]

    v = torch.zeros(2, 5).double()
    outputs = []
    for t in range(12):
        h = neuron.keep * v + neuron.gain * x[:, t]
        smooth = surrogate_primitive(h)
        fired = h.detach().floor().clamp(0, neuron.levels)
        s = smooth + (fired - smooth).detach()
        if neuron.soft_reset:
            v = h - s
        else:
            # (1 - any spike) * h; the derivative of "any spike" is taken as that of the count
            silent = smooth - smooth.detach() + (fired > 0).double()
            v = (1 - silent) * h
        outputs.append(s)
    wanted = torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    (expected,) = torch.autograd.grad(torch.stack(outputs, 1), x, wanted)
    for form in (Compiled, Plain):
        spikes, _, _ = form.apply(x, torch.zeros(2, 5).double(), neuron)  # type: ignore[no-untyped-call]
        (found,) = torch.autograd.grad(spikes, x, wanted)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)  # float64 rounding


def test_memoryless_graded_is_three_stock_binary_neurons() -> None:
    x = current()
    graded, _, after = lif(x, None, NeuronConstants(4096, 3, True))
    binary = sum(
        (lif(x - (j - 1), None, NeuronConstants(4096, 1, False))[0] for j in (1, 2, 3)),
        start=torch.zeros_like(x),
    )
    assert torch.equal(graded, binary)
    again, _, _ = lif(x, after + 5.0, NeuronConstants(4096, 3, True))
    assert torch.equal(again, graded)


def test_half_precision_runs_in_float32() -> None:
    x = current().to(torch.bfloat16)
    spikes, _, membrane = lif(x, None, UPSTREAM_NEURON)
    expected, _, _ = lif(x.float(), None, UPSTREAM_NEURON)
    assert spikes.dtype == torch.bfloat16
    assert membrane.dtype == torch.float32
    assert torch.equal(spikes.float(), expected)
