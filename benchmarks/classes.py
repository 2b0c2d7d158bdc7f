"""The classes of model that are measured, and random checkpoints of their shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from spikegpt_neuro.network.network import Network
from spikegpt_neuro.network.random_networks import RandomShape, random_network

SQUARE_DENSITY = 0.4
"""Share of non-zero FFN-value operands: 27-49 % in the trained reference checkpoint."""


@dataclass(frozen=True)
class ModelClass:
    """A size people use. ``name`` counts the parameters."""

    name: str
    n_layer: int
    n_embd: int
    vocabulary_size: int

    @property
    def weights(self) -> int:
        """Weights a token passes: every projection and the head, not the embedding table."""
        return 13 * self.n_layer * self.n_embd**2 + self.n_embd * self.vocabulary_size

    @property
    def parameters(self) -> int:
        """Weights and embedding table."""
        return self.weights + self.n_embd * self.vocabulary_size

    def network(self, **options: object) -> Network:
        """A random integer network of this class."""
        settings = {"square_density": SQUARE_DENSITY, **options}
        shape = RandomShape(
            n_layer=self.n_layer, n_embd=self.n_embd, vocabulary_size=self.vocabulary_size,
            **settings,  # type: ignore[arg-type]
        )  # fmt: skip
        return random_network(shape)


CLASSES = (
    ModelClass("46M", 12, 512, 5_458),
    ModelClass("125M", 12, 768, 21_128),
    ModelClass("216M", 18, 768, 50_277),
    ModelClass("260M", 24, 768, 50_277),
)
QUICK_CLASSES = (ModelClass("1M", 2, 128, 500), ModelClass("3M", 4, 192, 1_000))
HEADLINE = "216M"


def random_state_dict(model_class: ModelClass) -> dict[str, torch.Tensor]:
    """A checkpoint with upstream's names; RWKV-4's are the same."""
    torch.manual_seed(0)
    n, hidden = model_class.n_embd, 4 * model_class.n_embd
    rows = model_class.vocabulary_size
    tensors = {
        "emb.weight": torch.randn(rows, n) * 0.01, "head.weight": torch.randn(rows, n) * 0.02,
        "ln_out.weight": torch.ones(n), "ln_out.bias": torch.zeros(n),
    }  # fmt: skip
    for i in range(model_class.n_layer):
        for norm in ("ln0", "ln1", "ln2") if i == 0 else ("ln1", "ln2"):
            tensors[f"blocks.{i}.{norm}.weight"] = torch.ones(n)
            tensors[f"blocks.{i}.{norm}.bias"] = torch.zeros(n)
        att, ffn = f"blocks.{i}.att", f"blocks.{i}.ffn"
        for part in ("key", "value", "receptance", "output"):
            tensors[f"{att}.{part}.weight"] = torch.randn(n, n) * 0.04
        for part in ("k", "v", "r"):
            tensors[f"{att}.time_mix_{part}"] = torch.rand(1, 1, n)
        tensors[f"{att}.time_decay"] = 1.0 - 5.0 * torch.rand(n)
        tensors[f"{att}.time_first"] = torch.rand(n)
        for part in ("k", "r"):
            tensors[f"{ffn}.time_mix_{part}"] = torch.rand(1, 1, n)
        for part, shape in (("key", (hidden, n)), ("receptance", (n, n)), ("value", (n, hidden))):
            tensors[f"{ffn}.{part}.weight"] = torch.randn(*shape) * 0.03
    return tensors


def write_checkpoint(model_class: ModelClass, folder: Path) -> Path:
    """Write a random checkpoint into ``folder``; its path."""
    path = folder / f"{model_class.name}.pth"
    torch.save(random_state_dict(model_class), path)
    return path
