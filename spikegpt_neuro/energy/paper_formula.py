"""The SpikeGPT paper's energy table, computed from the spike rate that was measured.

Per block and sequence of T tokens (arXiv 2302.13939; layout known from public re-implementations):

    part                      vanilla GPT              SpikeGPT
    Q/R, K, V                 E_MAC 3 T d^2            E_AC R 3 T d^2
    f(Q/R, K, V)              E_MAC 2 T^2 d            E_MAC 6 T d
    scale                     E_MAC T^2                -
    softmax                   E_MAC 2 T^2              -
    FFN layers 1, 2, 3        E_MAC (4 + 1 + 4) T d^2  E_AC R (4 + 1 + 4) T d^2

R is one spike rate for the whole network. The table has no output projection, normalisation, LIF
update, embedding, head, memory access or static power, and it prices projections as if their
operands were spikes. It is offered because readers know it, not because it is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from spikegpt_neuro.hardware_profiles import Profile

FORMULAE: Final = (
    "vanilla GPT: E_MAC (3 T d^2 + 2 T^2 d + T^2 + 2 T^2 + 9 T d^2) per block",
    "SpikeGPT:    E_AC R 3 T d^2 + E_MAC 6 T d + E_AC R 9 T d^2 per block",
)


@dataclass(frozen=True)
class PaperFormula:
    """Joules per sequence of ``tokens`` tokens, summed over blocks, and the paper's own ratio."""

    tokens: int
    width: int
    blocks: int
    rate: float
    accumulate_picojoules: float
    multiply_accumulate_picojoules: float
    vanilla_joules: float
    spiking_joules: float

    @property
    def ratio(self) -> float | None:
        """Vanilla over spiking; None where nothing fired at all."""
        return self.vanilla_joules / self.spiking_joules if self.spiking_joules else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "formulae": list(FORMULAE),
            "context_tokens": self.tokens,
            "width": self.width,
            "blocks": self.blocks,
            "spike_rate": self.rate,
            "accumulate_picojoules": self.accumulate_picojoules,
            "multiply_accumulate_picojoules": self.multiply_accumulate_picojoules,
            "vanilla_energy_joules_per_sequence": self.vanilla_joules,
            "spikegpt_energy_joules_per_sequence": self.spiking_joules,
            "ratio": self.ratio,
        }


def paper_formula(
    profile: Profile, *, tokens: int, width: int, blocks: int, rate: float
) -> PaperFormula:
    """The table with the add and multiply energies of an arithmetic profile.

    ``tokens`` context length T, ``width`` d, ``rate`` the measured mean firing rate R of the LIFs.
    """
    add = profile.coefficients["synaptic_add"].value
    mac = add + profile.coefficients["synaptic_multiply"].value
    t, d, r = tokens, width, Fraction(rate)
    vanilla = mac * (12 * t * d * d + 2 * t * t * d + 3 * t * t)
    spiking = add * r * 12 * t * d * d + mac * 6 * t * d
    scale = Fraction(blocks, 10**12)
    return PaperFormula(
        t, d, blocks, rate, float(add), float(mac), float(vanilla * scale), float(spiking * scale)
    )
