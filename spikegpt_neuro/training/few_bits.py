"""Training weights of few bits: straight-through rounding with a learned step a row.

The forward pass takes ``s clip(round(w / s), +-limit)`` in place of a projection's weights ``w``
(``converters.trained_weights``), the backward pass takes rounding for the identity; the step's
gradient is then LSQ's (Esser et al. 2020, arXiv:1902.08153), ``round(w / s) - w / s`` inside the
limits and ``+-limit`` beyond. Weights and steps begin where error-compensating rounding of the
float model puts them (``converters.rounding``); pruned weights are chosen there and stay 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikegpt_neuro.arithmetic.packed import largest_weight
from spikegpt_neuro.converters.model_layers import Quantisation, model_layers
from spikegpt_neuro.converters.moments import Moments, sample_windows
from spikegpt_neuro.converters.rounding import compensated, kept_weights, prepare
from spikegpt_neuro.converters.trained_weights import TrainedWeights, tensor_of
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.network import ModelInfo

REMEMBERED = 0.45
"""A weight begins at most this share of a step from its integer: it is rounded to it at first, and
leans to where it was."""


def _round(x: Tensor) -> Tensor:
    """Nearest integer, with the identity's gradient."""
    return x + (torch.round(x) - x).detach()


class FewBits:
    """Learned steps of a model's projections, by tensor name.

    ``base`` [outputs] are the steps at the beginning, ``changes`` learned: a step is ``base *
    exp(change)``, so that one learning rate suits all. ``masks``: False where a weight stays 0.
    """

    def __init__(self, bits: int, base: dict[str, Tensor], masks: dict[str, Tensor]) -> None:
        self.bits, self.base, self.masks = bits, base, masks
        self.changes = {name: nn.Parameter(torch.zeros_like(step)) for name, step in base.items()}

    @classmethod
    def begin(
        cls, model: SpikeGPT, quantisation: Quantisation, tokens: Tensor, bits: int, pruned: float
    ) -> FewBits:
        """Round ``model``'s weights in place, on what its integer network does with a text."""
        configuration = model.configuration
        if configuration.rescale_every:
            raise InputError("weights of few bits are not trained with run-time rescaling.")
        tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
        parts = model_layers(
            lambda name: tensors[name].float().numpy(), quantisation, configuration
        )
        layers = tuple(layer for part in parts for layer in part.layers)
        info = ModelInfo(
            configuration.layout,
            configuration.n_layer,
            configuration.n_embd,
            configuration.vocab_size,
        )
        network = LanguageModel(info, layers)
        moments = Moments(network, sample_windows(network, tokens.cpu().numpy()))
        parameters = dict(model.named_parameters())
        base, masks = {}, {}
        for layer in layers:
            if not isinstance(layer, Dense):
                continue
            name = tensor_of(layer.name)
            parameter = parameters[name]
            weight = tensors[name].float().numpy()
            prepared = prepare(moments(layer.name))
            kept = kept_weights(weight, prepared, pruned) if pruned else None
            found = compensated(weight, prepared, bits, kept)
            step = found.scale.astype(np.float32)
            start = found.integers * step[:, None]
            limit = REMEMBERED * step[:, None]
            start = start + np.clip(weight - start, -limit, limit)
            mask = np.ones(weight.shape, np.bool_) if kept is None else kept
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(np.where(mask, start, 0.0).astype(np.float32)))
            base[name] = torch.from_numpy(step).to(parameter.device)
            masks[name] = torch.from_numpy(mask).to(parameter.device)
        return cls(bits, base, masks)

    def steps(self) -> dict[str, Tensor]:
        """The steps now."""
        return {name: step * torch.exp(self.changes[name]) for name, step in self.base.items()}

    def weights(self, model: SpikeGPT) -> dict[str, Tensor]:
        """What the forward pass takes in place of the model's parameters of these names."""
        parameters = dict(model.named_parameters())
        limit = largest_weight(self.bits)
        found = {}
        for name, step in self.steps().items():
            scaled = (parameters[name] / step[:, None]).clamp(-limit, limit)
            found[name] = _round(scaled) * step[:, None]
        return found

    @torch.no_grad()
    def keep_zeros(self, model: SpikeGPT) -> None:
        """Set pruned weights back to 0 after a step of the optimiser."""
        parameters = dict(model.named_parameters())
        for name, mask in self.masks.items():
            parameters[name].mul_(mask)

    @torch.no_grad()
    def trained(self) -> TrainedWeights:
        """The rounding that the export repeats."""
        scales = {name: step.cpu().numpy() for name, step in self.steps().items()}
        return TrainedWeights(self.bits, scales)

    def optimiser(self, rate: float) -> torch.optim.Optimizer:
        """Adam for the steps; the group remembers its peak rate as the model's do."""
        made = torch.optim.Adam(list(self.changes.values()), lr=rate, betas=(0.9, 0.99))
        for group in made.param_groups:
            group["peak"] = group["lr"]
        return made

    def state(self) -> dict[str, Any]:
        """All of it, as a resume file keeps it."""
        return {
            "bits": self.bits,
            "base": self.base,
            "masks": self.masks,
            "changes": {name: change.detach() for name, change in self.changes.items()},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> FewBits:
        """From a resume file."""
        made = cls(state["bits"], state["base"], state["masks"])
        with torch.no_grad():
            for name, change in state["changes"].items():
                made.changes[name].copy_(change)
        return made
