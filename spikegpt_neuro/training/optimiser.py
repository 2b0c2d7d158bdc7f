"""The two recipes of parameter updates, and the learning-rate schedule.

``adam``: upstream's Adam (betas 0.9 / 0.99, eps 4e-9, no weight decay).
``muon``: weight matrices of the blocks move by orthogonalised momentum (Muon, K. Jordan 2024;
scaled by 0.2 sqrt(max(shape)) as in arXiv 2502.16982), everything else by Adam.

Neuron constants (gains, biases, token-shift masks, decays) have a learning-rate factor of their
own: at the common rate they hardly leave their initial values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

Recipe = Literal["adam", "muon"]
Schedule = Literal["cosine", "constant"]
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
MUON_MOMENTUM = 0.95
FINAL_SHARE = 1.0 / 60.0
"""The cosine ends at this share of the peak learning rate (upstream: 6e-4 to 1e-5)."""


@dataclass(frozen=True)
class Rates:
    """Peak learning rates: Adam's, Muon's (used by recipe ``muon``), neuron constants' factor.

    ``schedule``: 'cosine' falls over the run's steps, 'constant' stays after the warm-up.
    """

    recipe: Recipe = "adam"
    adam: float = 6e-4
    muon: float = 2e-3
    neuron_factor: float = 1.0
    schedule: Schedule = "cosine"

    def problems(self) -> list[str]:
        """What is wrong with the rates, one phrase each."""
        found = []
        if self.recipe not in get_args(Recipe):
            allowed = ", ".join(map(repr, get_args(Recipe)))
            found.append(f"recipe is {self.recipe!r}; allowed: {allowed}")
        if self.schedule not in get_args(Schedule):
            allowed = ", ".join(map(repr, get_args(Schedule)))
            found.append(f"schedule is {self.schedule!r}; allowed: {allowed}")
        for name in ("adam", "muon", "neuron_factor"):
            rate = getattr(self, name)
            if not math.isfinite(rate) or rate < 0:
                found.append(f"the rate {name} is {rate}; must be finite and at least 0")
        return found


def schedule(step: int, steps: int, warm_up: int, shape: Schedule = "cosine") -> float:
    """Share of the peak learning rate at ``step`` in 1..steps: linear warm-up, then a cosine.

    ``constant`` does not depend on ``steps``: a run that is extended is the longer run.
    """
    rise = min(1.0, step / warm_up) if warm_up else 1.0
    if shape == "constant":
        return rise
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / steps)))
    return rise * (FINAL_SHARE + (1.0 - FINAL_SHARE) * cosine)


@torch.no_grad()
def orthogonalise(matrices: Tensor) -> Tensor:
    """Bring the singular values of [N, rows, columns] close to 1 by Newton-Schulz iterations."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum for matrices; equal shapes are orthogonalised together."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every matrix by its orthogonalised momentum."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                momentum = state.setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - MUON_MOMENTUM)
                update = parameter.grad.lerp(momentum, MUON_MOMENTUM)
                by_shape.setdefault(parameter.shape, []).append((parameter, update))
            for shape, pairs in by_shape.items():
                directions = orthogonalise(torch.stack([update for _, update in pairs]))
                scale = -group["lr"] * 0.2 * math.sqrt(max(shape))
                for (parameter, _), direction in zip(pairs, directions, strict=True):
                    parameter.add_(direction, alpha=scale)


def make_optimisers(model: nn.Module, rates: Rates) -> list[torch.optim.Optimizer]:
    """The recipe's optimisers; every group remembers its peak rate under ``peak``."""
    matrices: list[Tensor] = []
    constants: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        inside = name.startswith("blocks.")
        chosen = matrices if inside and parameter.ndim == 2 else constants if inside else rest
        chosen.append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": constants, "lr": rates.adam * rates.neuron_factor},
        {"params": rest, "lr": rates.adam},
    ]
    optimisers: list[torch.optim.Optimizer] = []
    if rates.recipe == "muon":
        optimisers.append(Muon(matrices, rates.muon))
    else:
        groups.append({"params": matrices, "lr": rates.adam})
    optimisers.append(torch.optim.Adam(groups, betas=(0.9, 0.99), eps=4e-9, fused=True))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return optimisers


def set_share(optimisers: Iterable[torch.optim.Optimizer], share: float) -> None:
    """Set every group's learning rate to a share of its peak."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * share
