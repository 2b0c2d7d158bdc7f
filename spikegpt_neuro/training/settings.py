"""The recipe of a training run of a language model: one value, checked as a whole."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from spikegpt_neuro.arithmetic.packed import FEWEST_BITS, MOST_BITS
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.training.optimiser import Rates
from spikegpt_neuro.training.spike_counts import Penalty


@dataclass(frozen=True)
class TrainingSettings:
    """A run's recipe. Token counts: ``steps * batch * context`` characters are trained on.

    ``rate_penalty``: nats added per token if every operand were 1 (``SpikeCounts.penalised``), for
    every addition or for every event (``penalise``).
    ``distillation``: share of the loss that is cross-entropy against the teacher's distribution.
    ``mixed_precision``: 'no' or 'bf16' (autocast; WKV and LIF stay float32).
    ``integer_steps``: the last steps, whose forward pass is the export's integer arithmetic
    (``integer_true``), with operands of ``activation_bits`` (None: chosen per projection) and
    accumulators of ``accumulator_bits``. Dropout and batch statistics rest in them.
    ``weight_bits``, ``pruned``: of every projection in these steps (``few_bits``), whose own steps
    are learned at ``step_rate``.
    """

    steps: int = 2930
    batch: int = 8
    context: int = 256
    warm_up: int = 0
    clip: float = 1.0
    dropout: float = 0.03
    seed: int = 42
    rate_penalty: float = 0.0
    penalise: Penalty = "additions"
    distillation: float = 0.0
    evaluate_every: int = 200
    save_every: int = 200
    mixed_precision: str = "no"
    integer_steps: int = 0
    activation_bits: int | None = None
    accumulator_bits: int = 24
    weight_bits: int = MOST_BITS
    pruned: float = 0.0
    step_rate: float = 1e-3
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}; must be at least 1"
            for name in ("steps", "batch", "context", "evaluate_every", "save_every")
            if getattr(self, name) < 1
        ]
        for name in ("warm_up", "seed"):
            if getattr(self, name) < 0:
                problems.append(f"{name} is {getattr(self, name)}; must be at least 0")
        for name, low in (("clip", True), ("dropout", False), ("rate_penalty", False)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (low and value == 0):
                problems.append(f"{name} is {value}; must be {'above' if low else 'at least'} 0")
        if self.dropout >= 1:
            problems.append(f"dropout is {self.dropout}; must be below 1")
        if self.mixed_precision not in ("no", "bf16"):
            problems.append(f"mixed_precision is {self.mixed_precision!r}; allowed: 'no', 'bf16'")
        problems += self.rates.problems()
        if not 0 <= self.distillation <= 1:
            problems.append(f"distillation is {self.distillation}; allowed: 0..1")
        if self.penalise not in ("additions", "events"):
            problems.append(f"penalise is {self.penalise!r}; allowed: 'additions', 'events'")
        if not 0 <= self.integer_steps <= self.steps:
            problems.append(f"integer_steps is {self.integer_steps}; allowed: 0..{self.steps}")
        if self.activation_bits is not None and not 2 <= self.activation_bits <= 15:
            problems.append(f"activation_bits is {self.activation_bits}; allowed: 2..15")
        if not 8 <= self.accumulator_bits <= 32:
            problems.append(f"accumulator_bits is {self.accumulator_bits}; allowed: 8..32")
        if not FEWEST_BITS <= self.weight_bits <= MOST_BITS:
            problems.append(
                f"weight_bits is {self.weight_bits}; allowed: {FEWEST_BITS} (ternary)..{MOST_BITS}"
            )
        if not 0 <= self.pruned < 1:
            problems.append(f"pruned is {self.pruned}; allowed: 0 to below 1")
        if self.reduces and not self.integer_steps:
            problems.append("weight_bits and pruned are of integer_steps, which are 0")
        if problems:
            raise InputError("These training settings cannot be used.", problems)

    @property
    def reduces(self) -> bool:
        """Whether weights take fewer than 8 bits, or are set to 0."""
        return self.weight_bits != MOST_BITS or self.pruned > 0
