"""SRWKV and SRFFN in all layouts, and the blocks made of them.

All tensors are [B, T, C]. Module attributes carry upstream's names, so that upstream state dicts
load unchanged; observed names are those of the integer network (``blocks.<i>.srwkv.key`` ...).

**Upstream layout** (``UpstreamBlock``), LIF: tau 2, threshold 1, hard reset::

    x = x + Lif(output(sigmoid(r) * wkv(k, v)))          k, v, r = projections of shifted ln1(x)
    x = x + Lif(sigmoid(r) * value(relu(k)**2))          k, r    = projections of shifted ln2(x)
    shifted a = mix * a + (1 - mix) * previous(a)

**Plain RWKV-4** (``RwkvBlock``, arXiv 2305.13048): the same with the two Lif left out.

**Spike-driven layout** (``SpikeDrivenBlock``). The stream U is a membrane potential; only spikes
enter projections, and a projection's result is only ever integrated::

    S = Lif(norm1(U))                                    levels_input
    k, v, r = key(shift_k S), value(shift_v S), receptance(shift_r S)
    P = Lif(product_norm(sigmoid(r) * wkv(k, v)))        levels_product
    U = U + output(P)
    S = Lif(norm2(U))                                    levels_input
    k, r = key(shift_k S), receptance(shift_r S)
    H = Lif(hidden_norm(k))                              levels_hidden
    U = U + sigmoid(r) * value(H)

With ``branches='parallel'`` there is one S a block, of ``norm1``; k and r of the second half are
projections of it, and both results are added to the same U. A block then takes 6 time steps
instead of 11.

- ``shift``: hard token shift. Channel c takes the previous token's spike where ``time_mix[c] <=
  0.5``, else this token's: an axonal delay, no arithmetic, spikes stay spikes. Gradient of
  ``time_mix`` as for the soft mix (straight-through).
- ``norm1``, ``norm2`` (keys ``ln1``, ``ln2``): LayerNorm, or ``ChannelNorm`` (``norm='batch'``).
- ``product_norm`` (key ``att.product_norm``), ``hidden_norm`` (key ``ffn.hidden_norm``):
  ``ChannelNorm``. At inference it is ``g * x + o`` per channel with ``g = weight /
  sqrt(running_var + 1e-5)``, ``o = bias - g * running_mean``: it folds into the rescaling (``g``)
  and offset (``o``) at the input of the Lif behind it.
- Lif: ``h = keep * v + x``; spike count = number of j in 1..levels with ``h >= j``; the threshold
  is 1 everywhere, gains and biases are the norms' ``weight`` and ``bias`` (``model/lif.py``).
- Nothing else has a bias or a parameter. Embedding, ``ln0``, ``ln_out``, ``head`` as upstream; with
  ``levels_head`` > 0 the head takes ``Lif(ln_out(U))``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.lif import NeuronConstants, upstream_neuron
from spikegpt_neuro.model.passage import Observer, Passage, State


class ChannelNorm(nn.BatchNorm1d):
    """Normalisation per channel over batch and time, by running statistics at inference.

    A fixed gain and offset per channel once trained; see the module's docstring for the folding.
    The running statistics follow the batches with momentum 0.02.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] to [B, T, C]."""
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


def token_shift(x: Tensor, previous: Tensor, mix: Tensor) -> Tensor:
    """Upstream's soft mix of this and the previous token's vector."""
    return x * mix + previous * (1 - mix)


def hard_token_shift(x: Tensor, previous: Tensor, mix: Tensor) -> Tensor:
    """Per channel this or the previous token's spike; straight-through gradient to ``mix``."""
    chosen = (mix > 0.5).to(mix) + (mix - mix.detach())
    return x * chosen + previous * (1 - chosen)


def _ramp(size: int) -> Tensor:
    return (torch.arange(size, dtype=torch.float32) / size).view(1, 1, size)


class SRWKV(nn.Module):
    """Spiking RWKV: token shift, three projections, WKV, gate. Shared by both layouts.

    ``mixed`` is everything up to ``sigmoid(r) * wkv``; initial values as upstream's.
    """

    def __init__(self, configuration: SpikeGPTConfiguration, index: int) -> None:
        super().__init__()
        n = configuration.n_embd
        depth = index / max(1, configuration.n_layer - 1)
        height = 1.0 - index / configuration.n_layer
        position = torch.arange(n, dtype=torch.float32) / max(1, n - 1)
        self.time_decay = nn.Parameter(-5 + 8 * position ** (0.7 + 1.3 * depth))
        zigzag = ((torch.arange(n) + 1) % 3 - 1).float() * 0.5
        self.time_first = nn.Parameter(zigzag + math.log(0.3))
        self.time_mix_k = nn.Parameter(_ramp(n) ** height)
        self.time_mix_v = nn.Parameter(_ramp(n) ** height + 0.3 * depth)
        self.time_mix_r = nn.Parameter(_ramp(n) ** (0.5 * height))
        self.key = nn.Linear(n, n, bias=False)
        self.value = nn.Linear(n, n, bias=False)
        self.receptance = nn.Linear(n, n, bias=False)
        self.output = nn.Linear(n, n, bias=False)
        self.hard_shift = configuration.layout == "spike-driven"
        if self.hard_shift:
            self.product_norm = ChannelNorm(n)

    def mixed(self, x: Tensor, previous: Tensor, path: str, passage: Passage) -> Tensor:
        """``sigmoid(r) * wkv(k, v)`` from normalised values (upstream) or spikes; ``previous`` are
        those of the token before.
        """
        shift = hard_token_shift if self.hard_shift else token_shift
        see = passage.see
        shifted = see(f"{path}.shift_key", shift(x, previous, self.time_mix_k))
        k = see(f"{path}.key", self.key(shifted))
        shifted = see(f"{path}.shift_value", shift(x, previous, self.time_mix_v))
        v = see(f"{path}.value", self.value(shifted))
        shifted = see(f"{path}.shift_receptance", shift(x, previous, self.time_mix_r))
        r = see(f"{path}.receptance", self.receptance(shifted))
        averaged = passage.wkv(f"{path}.wkv", self.time_decay, self.time_first, k, v)
        gate = see(f"{path}.gate", torch.sigmoid(r))
        return see(f"{path}.product", gate * averaged)


class SRFFN(nn.Module):
    """Spiking receptance feed-forward network: token shift and gate around two projections."""

    def __init__(self, configuration: SpikeGPTConfiguration, index: int) -> None:
        super().__init__()
        n, hidden = configuration.n_embd, configuration.hidden_size
        height = 1.0 - index / configuration.n_layer
        self.time_mix_k = nn.Parameter(_ramp(n) ** height)
        self.time_mix_r = nn.Parameter(_ramp(n) ** height)
        self.key = nn.Linear(n, hidden, bias=False)
        self.receptance = nn.Linear(n, n, bias=False)
        self.value = nn.Linear(hidden, n, bias=False)
        self.hard_shift = configuration.layout == "spike-driven"
        if self.hard_shift:
            self.hidden_norm = ChannelNorm(hidden)

    def key_and_gate(
        self, x: Tensor, previous: Tensor, path: str, passage: Passage, prefix: str = ""
    ) -> tuple[Tensor, Tensor]:
        """``key(shift_k x)`` and ``sigmoid(receptance(shift_r x))``; ``prefix`` goes before the
        names of the layers where SRWKV's have the same path.
        """
        shift = hard_token_shift if self.hard_shift else token_shift
        see = passage.see
        shifted = see(f"{path}.shift_{prefix}key", shift(x, previous, self.time_mix_k))
        k = see(f"{path}.{prefix}key", self.key(shifted))
        shifted = see(f"{path}.shift_{prefix}receptance", shift(x, previous, self.time_mix_r))
        r = see(f"{path}.{prefix}receptance", self.receptance(shifted))
        return k, see(f"{path}.{prefix}gate", torch.sigmoid(r))


class Block(nn.Module):
    """One block, runnable alone: ``forward(x, state)`` with only its own weights loaded.

    Reads and writes the state entries of its own layers. Block 0 begins with ``ln0``.
    """

    def __init__(self, configuration: SpikeGPTConfiguration, index: int) -> None:
        super().__init__()
        self.configuration = configuration
        self.index = index
        self.path = f"blocks.{index}"
        make_norm = ChannelNorm if configuration.norm == "batch" else nn.LayerNorm
        if configuration.layout != "spike-driven":
            make_norm = nn.LayerNorm
        self.ln1 = make_norm(configuration.n_embd)
        if configuration.branches == "sequential":
            self.ln2 = make_norm(configuration.n_embd)
        if index == 0:
            self.ln0 = nn.LayerNorm(configuration.n_embd)
        if index == 0 and configuration.ffn_pre:
            self.ffnPre = SRFFN(configuration, 0)
        else:
            self.att = SRWKV(configuration, index)
        self.ffn = SRFFN(configuration, index)

    def forward(
        self,
        x: Tensor,
        state: Mapping[str, Tensor] | None = None,
        observe: Observer | None = None,
        exact: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, State]:
        """Stream [B, T, C] in and out, and the state after the last token."""
        passage = Passage(state, observe, exact)
        if self.index == 0:
            x = passage.see("embedding.norm", self.ln0(x))
        return self.advance(x, passage), passage.after

    def advance(self, x: Tensor, passage: Passage) -> Tensor:
        """The layout's two residual steps."""
        raise NotImplementedError


class UpstreamBlock(Block):
    """Released layout: LIF neurons on the residual branches."""

    def advance(self, x: Tensor, passage: Passage) -> Tensor:
        """See ``Block.advance``."""
        every = self.configuration.rescale_every
        divisor = 2.0 ** (self.index // every) if every else 1.0
        if self.index == 0 and self.configuration.ffn_pre:
            # block 0 is never divided
            x = self._srffn(x, self.ln1, self.ffnPre, f"{self.path}.srffn_pre", 1.0, 0, passage)
        else:
            x = self._srwkv(x, divisor, passage)
        x = self._srffn(x, self.ln2, self.ffn, f"{self.path}.srffn", divisor, 1, passage)
        if every and (self.index + 1) % every == 0:
            x = passage.see(f"{self.path}.srffn.rescale", x / 2)
        return x

    def _srwkv(self, x: Tensor, divisor: float, passage: Passage) -> Tensor:
        path = f"{self.path}.srwkv"
        normed = passage.see(f"{path}.norm", self.ln1(x))
        previous = passage.delay(f"{path}.previous", normed)
        mixed = self.att.mixed(normed, previous, path, passage)
        current = passage.see(f"{path}.output", self.att.output(mixed) / divisor)
        return passage.see(f"{path}.residual", x + self._branch(path, current, 0, passage))

    def _srffn(
        self, x: Tensor, norm: nn.Module, ffn: SRFFN, path: str, divisor: float, which: int,
        passage: Passage,
    ) -> Tensor:  # fmt: skip
        see = passage.see
        normed = see(f"{path}.norm", norm(x))
        previous = passage.delay(f"{path}.previous", normed)
        k, gate = ffn.key_and_gate(normed, previous, path, passage)
        squared = see(f"{path}.square", torch.relu(k).square())
        value = see(f"{path}.value", ffn.value(squared) / divisor)
        current = see(f"{path}.product", gate * value)
        return see(f"{path}.residual", x + self._branch(path, current, which, passage))

    def _branch(self, path: str, current: Tensor, which: int, passage: Passage) -> Tensor:
        """What a branch adds to the stream: spikes of ``lif1`` (``which`` 0) or ``lif2`` (1)."""
        return passage.lif(
            f"{path}.lif", current, upstream_neuron(self.configuration, self.index, which)
        )


class RwkvBlock(UpstreamBlock):
    """Plain RWKV-4: what the projections give is added as it is."""

    def _branch(self, path: str, current: Tensor, which: int, passage: Passage) -> Tensor:
        return current


class SpikeDrivenBlock(Block):
    """Spike-driven layout: every projection takes spikes."""

    def _neuron(self, levels: int) -> NeuronConstants:
        configuration = self.configuration
        return NeuronConstants(configuration.decay_4096, levels, configuration.soft_reset)

    def advance(self, x: Tensor, passage: Passage) -> Tensor:
        """See ``Block.advance``."""
        if self.configuration.branches == "parallel":
            return self._parallel(x, passage)
        path = f"{self.path}.srwkv"
        spikes, previous = self._input_spikes(x, self.ln1, path, passage)
        output = self._attention(spikes, previous, path, passage)
        x = passage.see(f"{path}.residual", x + output)
        path = f"{self.path}.srffn"
        spikes, previous = self._input_spikes(x, self.ln2, path, passage)
        product = self._feed_forward(spikes, previous, path, passage)
        return passage.see(f"{path}.residual", x + product)

    def _parallel(self, x: Tensor, passage: Passage) -> Tensor:
        path = f"{self.path}.parallel"
        spikes, previous = self._input_spikes(x, self.ln1, path, passage)
        output = self._attention(spikes, previous, path, passage)
        product = self._feed_forward(spikes, previous, path, passage, prefix="ffn_")
        x = passage.see(f"{path}.ffn_residual", x + product)
        return passage.see(f"{path}.residual", x + output)

    def _input_spikes(
        self, x: Tensor, norm: nn.Module, path: str, passage: Passage
    ) -> tuple[Tensor, Tensor]:
        """``Lif(norm(U))`` of this and of the previous token."""
        normed = passage.see(f"{path}.norm", norm(x))
        neuron = self._neuron(self.configuration.levels_input)
        spikes = passage.lif(f"{path}.lif", normed, neuron)
        return spikes, passage.delay(f"{path}.previous", spikes)

    def _attention(self, spikes: Tensor, previous: Tensor, path: str, passage: Passage) -> Tensor:
        """``output(Lif(product_norm(sigmoid(r) * wkv(k, v))))``."""
        current = self.att.product_norm(self.att.mixed(spikes, previous, path, passage))
        neuron = self._neuron(self.configuration.levels_product)
        fired = passage.lif(f"{path}.product_lif", current, neuron)
        return passage.see(f"{path}.output", self.att.output(fired))

    def _feed_forward(
        self, spikes: Tensor, previous: Tensor, path: str, passage: Passage, prefix: str = ""
    ) -> Tensor:
        """``sigmoid(r) * value(Lif(hidden_norm(k)))``."""
        k, gate = self.ffn.key_and_gate(spikes, previous, path, passage, prefix)
        neuron = self._neuron(self.configuration.levels_hidden)
        fired = passage.lif(f"{path}.hidden_lif", self.ffn.hidden_norm(k), neuron)
        value = passage.see(f"{path}.{prefix}value", self.ffn.value(fired))
        return passage.see(f"{path}.{prefix}product", gate * value)


BLOCKS: Mapping[str, type[Block]] = {
    "upstream": UpstreamBlock,
    "rwkv": RwkvBlock,
    "spike-driven": SpikeDrivenBlock,
}
"""The blocks of each layout."""


def make_block(configuration: SpikeGPTConfiguration, index: int) -> Block:
    """The layout's block number ``index``."""
    return BLOCKS[configuration.layout](configuration, index)


class _Step(torch.autograd.Function):
    """1 where x >= 0, else 0; ATan surrogate gradient (alpha 2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient / (1.0 + (torch.pi * x) ** 2)


def embed(tokens: Tensor, weight: Tensor, *, binary: bool) -> Tensor:
    """Embedding rows [B, T, C]; binary: 1 where the weight is >= 0 (0 and -0 count as 1)."""
    rows = functional.embedding(tokens, weight)
    return _Step.apply(rows) if binary else rows  # type: ignore[no-untyped-call]
