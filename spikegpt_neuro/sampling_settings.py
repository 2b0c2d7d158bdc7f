"""How the next token is chosen: the choices a person has, and those made for them."""

from __future__ import annotations

from dataclasses import dataclass

from spikegpt_neuro.errors import InputError


@dataclass(frozen=True)
class SamplingSettings:
    """How to choose.

    ``temperature`` 0: greedy, the largest logit, the lowest token among equals. ``top_k`` 0: off.
    ``top_p``: the smallest set of most probable tokens whose probabilities reach it.
    ``presence_penalty`` is subtracted from the real logit of every token generated before,
    ``frequency_penalty`` once for each time it was.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not 0.0 <= self.temperature <= 100.0:
            problems.append(f"temperature {self.temperature}, allowed 0 (greedy) to 100")
        if not 0.0 < self.top_p <= 1.0:
            problems.append(f"top-p {self.top_p}, allowed above 0 up to 1")
        if self.top_k < 0:
            problems.append(f"top-k {self.top_k}, allowed 0 (off) or more")
        for name in ("presence_penalty", "frequency_penalty"):
            if not -100.0 <= getattr(self, name) <= 100.0:
                problems.append(
                    f"{name.replace('_', ' ')} {getattr(self, name)}, allowed -100..100"
                )
        if not 0 <= self.seed < 1 << 64:
            problems.append(f"seed {self.seed}, allowed 0 to 2**64 - 1")
        if problems:
            raise InputError("these sampling options cannot be used:", problems)


FOR_TEXT = SamplingSettings(temperature=0.9, top_p=0.95)
"""How `simulate` and ``sn.generate`` choose unless told otherwise. Small models that are read
greedily circle ('of the LORD of the LORD'); docs/commands.md measures it."""
