"""Counting spikes and the additions they cause, for the log, the evaluation and the rate penalty.

Counts concern the projections' operands only, after the token shift, as the integer network
counts them: a non-zero operand costs one synaptic event per output of its projection. Spikes (whole
numbers) cost, as unit spikes, as many additions as their value; real operands multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from spikegpt_neuro.model.configuration import SpikeGPTConfiguration

Penalty = Literal["additions", "events"]


def operand_fan_out(configuration: SpikeGPTConfiguration) -> dict[str, int]:
    """Outputs of the projection behind each operand layer's name (the part after the block)."""
    n, hidden = configuration.n_embd, configuration.hidden_size
    spike_driven = configuration.layout == "spike-driven"
    head = "head.lif" if spike_driven and configuration.levels_head else "head.norm"
    if configuration.branches == "parallel":
        path = "parallel"
        return {
            f"{path}.shift_key": n,
            f"{path}.shift_value": n,
            f"{path}.shift_receptance": n,
            f"{path}.product_lif": n,
            f"{path}.shift_ffn_key": hidden,
            f"{path}.shift_ffn_receptance": n,
            f"{path}.hidden_lif": n,
            head: configuration.outputs,
        }
    operands = {
        "srwkv.shift_key": n,
        "srwkv.shift_value": n,
        "srwkv.shift_receptance": n,
        "srwkv.product_lif" if spike_driven else "srwkv.product": n,
    }
    for path in ("srffn",) if spike_driven else ("srffn", "srffn_pre"):
        operands[f"{path}.shift_key"] = hidden
        operands[f"{path}.shift_receptance"] = n
        operands[f"{path}.hidden_lif" if spike_driven else f"{path}.square"] = n
    return {**operands, head: configuration.outputs}


@dataclass
class SpikeCounts:
    """An observer that adds up operands; give it to ``SpikeGPT.forward`` as ``observe``.

    ``penalised``: mean additions (or events, by ``penalty``) per token of the spike-driven
    projections as a share of their dense number, differentiable; the sum over the calls since
    ``forget``. Without ``counting`` only that is kept. An event's gradient is that of its first
    level: spikes of more levels are left alone.
    """

    configuration: SpikeGPTConfiguration
    penalty: Penalty = "additions"
    positions: int = 0
    events: dict[str, float] = field(default_factory=dict)
    additions: dict[str, float] = field(default_factory=dict)
    multiplications: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    penalised: Tensor | float = 0.0
    counting: bool = True

    def __post_init__(self) -> None:
        self._fan_out = operand_fan_out(self.configuration)
        n, hidden = self.configuration.n_embd, self.configuration.hidden_size
        self._dense = self.configuration.n_layer * n * (5 * n + 2 * hidden)

    def __call__(self, name: str, value: Tensor) -> None:
        """Count one layer's output [B, T, size]."""
        part = name.split(".", 2)[-1] if name.startswith("blocks.") else name
        if name == "embedding.norm":
            self.positions += value.shape[0] * value.shape[1]
        if value.requires_grad and part in self._fan_out and not name.startswith("head"):
            wanted = value.clamp(max=1) if self.penalty == "events" else value
            share = wanted.mean(dim=(0, 1)).sum() * (self._fan_out[part] / self._dense)
            self.penalised = self.penalised + share
        if not self.counting:
            return
        if part.endswith("lif"):
            fired = torch.count_nonzero(value.detach()).item() / value.shape[-1]
            self.rates[name] = self.rates.get(name, 0.0) + fired
        if part not in self._fan_out:
            return
        fan_out = self._fan_out[part]
        operands = value.detach()
        events = torch.count_nonzero(operands).item() * fan_out
        self.events[name] = self.events.get(name, 0.0) + events
        if torch.equal(operands, operands.round()):
            additions = operands.abs().sum().item() * fan_out
            self.additions[name] = self.additions.get(name, 0.0) + additions
        else:
            self.multiplications[name] = self.multiplications.get(name, 0.0) + events

    def forget(self) -> None:
        """Start counting anew."""
        self.positions = 0
        self.events.clear()
        self.additions.clear()
        self.multiplications.clear()
        self.rates.clear()
        self.penalised = 0.0

    def per_token(self) -> tuple[float, float, float]:
        """Synaptic events, unit additions and multiplications a token, projections and head."""
        positions = max(1, self.positions)
        events, additions, multiplications = (
            sum(counted.values()) / positions
            for counted in (self.events, self.additions, self.multiplications)
        )
        return events, additions, multiplications

    def firing_rates(self) -> dict[str, float]:
        """Share of non-zero outputs of every LIF, by layer name."""
        return {name: fired / max(1, self.positions) for name, fired in self.rates.items()}
