"""Leaky integrate-and-fire neurons in real numbers, binary or graded, with a surrogate gradient.

Per neuron, threshold 1::

    h = keep * v + gain * x                         membrane potential before the threshold
    s = number of j in 1..levels with h >= j        binary for levels 1, graded 0..levels otherwise
    v = 0 if s > 0 (hard reset), or h - s (soft)    carried to the next token

``keep = 1 - decay_4096 / 4096``, with ``decay_4096`` the integer network's ``voltage_decay``.
Upstream's neuron (SpikingJelly ``LIFNode``, tau 2, decayed input) is keep = gain = 1/2, levels 1,
hard reset. With full decay the neuron is memoryless: it has no state, the reset is idle, and levels
0..L are exactly L stock binary neurons with thresholds 1..L that share their weights.

Backward: ``ds/dh = sum_j 1 / (1 + (pi (h - j))**2)`` (ATan, alpha 2), also through the reset.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spikegpt_neuro.model import kernels
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration

DECAY_ONE = 4096
"""Full decay in the integer network's units: 12 bits."""


@dataclass(frozen=True)
class NeuronConstants:
    """What a population's neurons share. ``decay_4096`` in 0..4096: one, or one a channel."""

    decay_4096: int | tuple[int, ...]
    levels: int
    soft_reset: bool
    gain: float = 1.0

    @property
    def varied(self) -> bool:
        """Whether each channel has a decay of its own."""
        return isinstance(self.decay_4096, tuple)

    @property
    def keep(self) -> Any:
        """Share of the membrane potential that survives a step: a number, or float64 [C]."""
        if self.varied:
            return 1.0 - torch.tensor(self.decay_4096, dtype=torch.float64) / DECAY_ONE
        return 1.0 - self.decay_4096 / DECAY_ONE  # type: ignore[operator]

    @property
    def memoryless(self) -> bool:
        """True when nothing is carried from token to token."""
        return self.decay_4096 == DECAY_ONE


UPSTREAM_NEURON = NeuronConstants(decay_4096=2048, levels=1, soft_reset=False, gain=0.5)


def upstream_neuron(
    configuration: SpikeGPTConfiguration, block: int, which: int
) -> NeuronConstants:
    """The neurons of a block's ``lif1`` (``which`` 0) or ``lif2`` (1) in the upstream layout."""
    return replace(
        UPSTREAM_NEURON,
        decay_4096=configuration.branch_decay(block, which),
        soft_reset=configuration.branch_soft_reset,
    )


def lif(
    current: Tensor, membrane: Tensor | None, neuron: NeuronConstants
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, membrane potential before the threshold, and the membrane potential carried on.

    ``current`` [B, T, C] float; ``membrane`` [B, C], None for 0. Returns [B, T, C] (values
    0..levels), [B, T, C] and [B, C]. Gradients flow from the spikes to the current; the potentials
    are not differentiable.
    """
    if current.dtype in (torch.float16, torch.bfloat16):
        spikes, potential, after = lif(current.float(), membrane, neuron)
        return spikes.to(current.dtype), potential, after
    if membrane is None:
        membrane = current.new_zeros(current.shape[0], current.shape[2])
    # the kernels know one decay a population
    function = Compiled if current.device.type == "cpu" and not neuron.varied else Plain
    return function.apply(current, membrane, neuron)  # type: ignore[no-untyped-call]


def kept(neuron: NeuronConstants, like: Tensor) -> Any:
    """``neuron.keep`` as a factor of ``like`` [..., C]."""
    return neuron.keep.to(like) if neuron.varied else neuron.keep


class Compiled(torch.autograd.Function):
    """LIF by the numba kernels."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, membrane: Tensor, neuron: NeuronConstants
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See ``lif``."""
        current, after = current.contiguous(), membrane.clone()
        potential, spikes = torch.empty_like(current), torch.empty_like(current)
        kernels.lif_forward(
            current.detach().numpy(), neuron.keep, neuron.gain, neuron.levels, neuron.soft_reset,
            after.numpy(), potential.numpy(), spikes.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(potential, spikes)
        ctx.neuron = neuron
        ctx.mark_non_differentiable(potential, after)
        return spikes, potential, after

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient with respect to the current."""
        potential, spikes = ctx.saved_tensors
        neuron: NeuronConstants = ctx.neuron
        to_current = torch.empty_like(potential)
        kernels.lif_backward(
            gradient.contiguous().numpy(), potential.numpy(), spikes.numpy(), neuron.keep,
            neuron.gain, neuron.levels, neuron.soft_reset, to_current.numpy(),
        )  # fmt: skip
        return to_current, None, None


class Plain(torch.autograd.Function):
    """LIF in torch operations, for devices the kernels do not serve.

    Memoryless neurons take all time steps at once.
    """

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, membrane: Tensor, neuron: NeuronConstants
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See ``lif``."""
        potentials, all_spikes = [], []
        v, keep = membrane, kept(neuron, current)
        for x in [current] if neuron.memoryless else current.unbind(1):
            h = neuron.gain * x if neuron.memoryless else keep * v + neuron.gain * x
            s = h.floor().clamp(0, neuron.levels)
            v = h - s if neuron.soft_reset else torch.where(s > 0, torch.zeros_like(h), h)
            potentials.append(h)
            all_spikes.append(s)
        if neuron.memoryless:
            potential, spikes, v = potentials[0], all_spikes[0], v[:, -1].clone()
        else:
            potential, spikes = torch.stack(potentials, 1), torch.stack(all_spikes, 1)
        ctx.save_for_backward(potential, spikes)
        ctx.neuron = neuron
        ctx.mark_non_differentiable(potential, v)
        return spikes, potential, v

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient with respect to the current."""
        potential, spikes = ctx.saved_tensors
        neuron: NeuronConstants = ctx.neuron
        slope = torch.zeros_like(potential)
        for j in range(1, neuron.levels + 1):
            slope += 1.0 / (1.0 + (torch.pi * (potential - j)) ** 2)
        if neuron.memoryless:
            return neuron.gain * gradient * slope, None, None
        through = 1 - slope if neuron.soft_reset else (spikes == 0).to(slope) - potential * slope
        carried = torch.zeros_like(gradient[:, 0])
        to_current, keep = torch.empty_like(gradient), kept(neuron, gradient)
        for t in range(gradient.shape[1] - 1, -1, -1):
            total = gradient[:, t] * slope[:, t] + carried * through[:, t]
            to_current[:, t] = neuron.gain * total
            carried = keep * total
        return to_current, None, None
