"""The whole model: embedding, blocks, head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spikegpt_neuro.model.blocks import embed, make_block
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.lif import NeuronConstants
from spikegpt_neuro.model.passage import Observer, Passage, State


class SpikeGPT(nn.Module):
    """SpikeGPT in any layout; state dict keys as upstream's.

    ``model(tokens)`` gives the logits of a whole sequence; with the state handed back in, the same
    function advances token by token, or in pieces of any length, with the same results.
    """

    def __init__(self, configuration: SpikeGPTConfiguration, dropout: float = 0.0) -> None:
        super().__init__()
        self.configuration = configuration
        self.emb = nn.Embedding(configuration.vocab_size, configuration.n_embd)
        self.blocks = nn.ModuleList(
            make_block(configuration, index) for index in range(configuration.n_layer)
        )
        self.dropout = nn.Dropout(dropout)
        self.ln_out = nn.LayerNorm(configuration.n_embd)
        self.head = nn.Linear(configuration.n_embd, configuration.outputs, bias=False)

    def forward(
        self,
        tokens: Tensor,
        state: Mapping[str, Tensor] | None = None,
        observe: Observer | None = None,
        exact: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, State]:
        """Logits [B, T, outputs] for ``tokens`` [B, T] (int64), and the state after the last.

        ``state`` None starts afresh. ``observe(name, value)`` sees every layer's output; layers'
        names are those of the integer network. ``exact``: outputs to take instead of the computed
        ones, by layer name, with the computed ones' gradients (integer-true training).
        """
        binary = self.configuration.embedding == "binary"
        passage = Passage(state, observe, exact)
        x = passage.see("embedding.table", embed(tokens, self.emb.weight, binary=binary))
        after: State = {}
        for block in self.blocks:
            x, block_after = block(x, state, observe, exact)
            after.update(block_after)
            x = self.dropout(x)
        logits = self.read_out(x, passage)
        after.update(passage.after)
        return logits, after

    def read_out(self, x: Tensor, passage: Passage) -> Tensor:
        """Logits from the last block's stream."""
        x = passage.see("head.norm", self.ln_out(x))
        configuration = self.configuration
        if configuration.layout == "spike-driven" and configuration.levels_head:
            x = passage.lif(
                "head.lif",
                x,
                NeuronConstants(
                    configuration.decay_4096, configuration.levels_head, configuration.soft_reset
                ),
            )
        else:
            x = passage.see("head.requantise", x)
        return passage.see("head.readout", passage.see("head.projection", self.head(x)))


@torch.no_grad()
def initialise(model: SpikeGPT, firing_gain: float = 1.2, firing_bias: float = 0.0) -> None:
    """Upstream's initialisation, in place, from torch's global random state.

    Embedding: orthogonal with gain 1e-4 * sqrt(max(shape)). Linear layers: orthogonal with gain
    sqrt(rows / columns) where rows > columns, times 1/2 for the head; SRWKV key, receptance and
    output and SRFFN value and receptance start at 0. ``firing_gain`` is the starting weight of
    every norm before a spike-driven LIF, ``firing_bias`` its starting bias: a normalised value x
    fires where ``firing_gain * x + firing_bias >= 1``, and levels lie ``1 / firing_gain`` apart. A
    large gain with a negative bias thus gives few spikes of many levels. A real embedding starts
    standard normal in the spike-driven layout.
    """
    configuration = model.configuration
    rows, columns = model.emb.weight.shape
    if configuration.layout == "spike-driven" and configuration.embedding == "real":
        nn.init.normal_(model.emb.weight)
    else:
        nn.init.orthogonal_(model.emb.weight, gain=1e-4 * max(rows, columns) ** 0.5)
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        rows, columns = module.weight.shape
        zero = name.endswith((".att.key", ".receptance", ".output"))
        zero = zero or name.endswith((".ffn.value", ".ffnPre.value"))
        gain = (rows / columns) ** 0.5 if rows > columns else 1.0
        gain *= 0.5 if name == "head" else 1.0
        if zero:
            nn.init.zeros_(module.weight)
        else:
            nn.init.orthogonal_(module.weight, gain=gain)
    if configuration.layout == "spike-driven":
        norms: tuple[str, ...] = ("ln1", "ln2", "product_norm", "hidden_norm")
        norms += ("ln_out",) if configuration.levels_head else ()
        for name, module in model.named_modules():
            if name.endswith(norms):
                nn.init.constant_(module.weight, firing_gain)
                nn.init.constant_(module.bias, firing_bias)
