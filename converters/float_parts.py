"""The float model of a checkpoint piece by piece: a block at a time shares the file's memory."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from spikegpt_neuro.converters.checkpoint import Checkpoint
from spikegpt_neuro.model.blocks import Block, embed, make_block
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration


class FloatParts:
    """Embedding, blocks and last norm of a checkpoint, as any configuration reads them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._later_block: Block | None = None

    def embedded(self, tokens: torch.Tensor, configuration: SpikeGPTConfiguration) -> torch.Tensor:
        """The stream [windows, tokens, n_embd] before the first block."""
        return embed(
            tokens,
            self._checkpoint.tensors["emb.weight"],
            binary=configuration.embedding == "binary",
        )

    def normed(self, x: torch.Tensor) -> torch.Tensor:
        """The stream behind the last norm."""
        tensors = self._checkpoint.tensors
        return nn.functional.layer_norm(
            x, (x.shape[-1],), tensors["ln_out.weight"], tensors["ln_out.bias"]
        )

    def block(self, index: int, configuration: SpikeGPTConfiguration) -> nn.Module:
        """A float block that shares the checkpoint's memory."""
        # blocks from 1 on are alike: one module serves them all, as initialising each would cost
        # more time than quantising it (and the meta device 1.5 s of imports)
        block = self._later_block if index > 1 else None
        if block is None or block.configuration != configuration:
            block = make_block(configuration, index)
        if index > 0:
            self._later_block = block
        block.index, block.path = index, f"blocks.{index}"
        prefix = f"blocks.{index}."
        names = [name for name in self._checkpoint.tensors if name.startswith(prefix)]
        self._checkpoint.check_values(names)
        tensors = {name.removeprefix(prefix): self._checkpoint.tensors[name] for name in names}
        block.load_state_dict(tensors, assign=True)
        return block.eval()

    def bits_per_token(
        self, windows: npt.NDArray[np.int64], configuration: SpikeGPTConfiguration
    ) -> float:
        """Mean bits of a token of ``windows`` int64 [windows, tokens] as that reading predicts."""
        tokens = torch.from_numpy(windows)
        with torch.inference_mode():
            x = self.embedded(tokens, configuration)
            for index in range(configuration.n_layer):
                x, _ = self.block(index, configuration)(x)
            logits = self.normed(x) @ self._checkpoint.tensors["head.weight"].T
            loss = nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
            )
        return float(loss) / math.log(2)
