"""What one forward call carries along: the state it reads and writes, and who watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from spikegpt_neuro.model.lif import NeuronConstants, lif
from spikegpt_neuro.model.wkv import WkvState, wkv

Observer = Callable[[str, Tensor], None]
"""Called with a layer's name and its output [B, T, size], still part of the autograd graph."""
State = dict[str, Tensor]
"""What is carried from token to token, by layer name: ``<delay>`` [B, C], ``<lif>.membrane``
[B, C], ``<wkv>.numerator``, ``.denominator``, ``.exponent`` [B, C]. Missing entries are empty."""


def straight_through(value: Tensor, exact: Tensor) -> Tensor:
    """``exact``, with the gradient of ``value``."""
    return exact + (value - value.detach())


class Passage:
    """One forward call. ``state`` is what it started from, ``after`` what it leaves.

    ``exact``: values to take instead of the computed ones, by layer name, straight-through.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor] | None,
        observe: Observer | None,
        exact: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.state: Mapping[str, Tensor] = state or {}
        self.after: State = {}
        self.observe = observe
        self.exact: Mapping[str, Tensor] = exact or {}

    def see(self, name: str, value: Tensor) -> Tensor:
        """Replace ``value`` by the exact one, show it to the observer and hand it back."""
        if name in self.exact:
            value = straight_through(value, self.exact[name])
        if self.observe is not None:
            self.observe(name, value)
        return value

    def delay(self, name: str, x: Tensor) -> Tensor:
        """The previous token's vector at every token; 0 before the first."""
        first = self.state.get(name)
        if first is None:
            first = torch.zeros_like(x[:, 0])
        self.after[name] = x[:, -1].detach()
        return self.see(name, torch.cat((first.unsqueeze(1), x[:, :-1]), dim=1))

    def wkv(
        self, name: str, time_decay: Tensor, time_first: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        """The WKV recurrence with its state under ``name``."""
        before = None
        if f"{name}.exponent" in self.state:
            before = WkvState(*(self.state[f"{name}.{part}"] for part in WkvState._fields))
        result, after = wkv(time_decay, time_first, k, v, before)
        for part, value in zip(WkvState._fields, after, strict=True):
            self.after[f"{name}.{part}"] = value.detach()
        return self.see(name, result)

    def lif(self, name: str, current: Tensor, neuron: NeuronConstants) -> Tensor:
        """A population of neurons; observes the spikes and, as ``<name>.membrane``, the membrane
        potential before threshold and reset.
        """
        spikes, potential, after = lif(current, self.state.get(f"{name}.membrane"), neuron)
        if not neuron.memoryless:
            self.after[f"{name}.membrane"] = after.detach()
        self.see(f"{name}.membrane", potential)
        return self.see(name, spikes)
