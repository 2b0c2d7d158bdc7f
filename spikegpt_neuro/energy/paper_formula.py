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

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from spikegpt_neuro.hardware_profiles import Profile


@dataclass(frozen=True)
class PaperRow:
    """One line of the table: both formulae, and joules per sequence over all blocks."""

    part: str
    operation: str
    vanilla_formula: str
    spiking_formula: str
    vanilla_joules: float
    spiking_joules: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "part": self.part,
            "operation": self.operation,
            "vanilla_formula": self.vanilla_formula,
            "spikegpt_formula": self.spiking_formula,
            "vanilla_energy_joules_per_sequence": self.vanilla_joules,
            "spikegpt_energy_joules_per_sequence": self.spiking_joules,
        }


@dataclass(frozen=True)
class PaperFormula:
    """Joules per sequence of ``tokens`` tokens, summed over blocks, and the paper's own ratio.

    ``rate`` is the R of the table; ``lowest_rate`` and ``highest_rate`` those of the least and the
    most active layer, to show how much hangs on there being one R.
    """

    tokens: int
    width: int
    blocks: int
    rate: float
    lowest_rate: float
    highest_rate: float
    accumulate_picojoules: float
    multiply_accumulate_picojoules: float
    rows: tuple[PaperRow, ...]
    vanilla_joules: float
    spiking_joules: float
    spiking_joules_at_lowest: float
    spiking_joules_at_highest: float

    @property
    def ratio(self) -> float | None:
        """Vanilla over spiking; None where nothing fired at all."""
        return self._over(self.spiking_joules)

    @property
    def ratio_range(self) -> tuple[float | None, float | None]:
        """The same with the rate of the most and of the least active layer as the one R."""
        return self._over(self.spiking_joules_at_highest), self._over(self.spiking_joules_at_lowest)

    def _over(self, spiking: float) -> float | None:
        return self.vanilla_joules / spiking if spiking else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        low, high = self.ratio_range
        return {
            "rows": [row.to_dict() for row in self.rows],
            "context_tokens": self.tokens,
            "width": self.width,
            "blocks": self.blocks,
            "spike_rate": self.rate,
            "lowest_layer_spike_rate": self.lowest_rate,
            "highest_layer_spike_rate": self.highest_rate,
            "accumulate_picojoules": self.accumulate_picojoules,
            "multiply_accumulate_picojoules": self.multiply_accumulate_picojoules,
            "vanilla_energy_joules_per_sequence": self.vanilla_joules,
            "spikegpt_energy_joules_per_sequence": self.spiking_joules,
            "ratio": self.ratio,
            "ratio_at_highest_layer_rate": low,
            "ratio_at_lowest_layer_rate": high,
        }


def paper_formula(
    profile: Profile, *, tokens: int, width: int, blocks: int, rate: float,
    rates: Sequence[float] = (),
) -> PaperFormula:  # fmt: skip
    """The table with the add and multiply energies of an arithmetic profile.

    ``tokens`` context length T, ``width`` d, ``rate`` the measured mean firing rate R of the LIFs,
    ``rates`` those of the single LIF layers (for the range; none means R itself).
    """
    add = profile.coefficients["synaptic_add"].value
    mac = add + profile.coefficients["synaptic_multiply"].value
    t, d = tokens, width
    square, scale = t * d * d, Fraction(blocks, 10**12)
    zero = Fraction(0)

    def table(r: Fraction) -> list[tuple[str, str, str, str, Fraction, Fraction]]:
        return [
            ("attention", "Q/R, K, V", "E_MAC 3 T d^2", "E_AC R 3 T d^2",
             mac * 3 * square, add * r * 3 * square),
            ("attention", "f(Q/R, K, V)", "E_MAC 2 T^2 d", "E_MAC 6 T d",
             mac * 2 * t * t * d, mac * 6 * t * d),
            ("attention", "scale", "E_MAC T^2", "-", mac * t * t, zero),
            ("attention", "softmax", "E_MAC 2 T^2", "-", mac * 2 * t * t, zero),
            ("FFN", "layer 1", "E_MAC 4 T d^2", "E_AC R 4 T d^2",
             mac * 4 * square, add * r * 4 * square),
            ("FFN", "layer 2", "E_MAC T d^2", "E_AC R T d^2", mac * square, add * r * square),
            ("FFN", "layer 3", "E_MAC 4 T d^2", "E_AC R 4 T d^2",
             mac * 4 * square, add * r * 4 * square),
        ]  # fmt: skip

    def spiking(r: float) -> float:
        return float(sum((row[5] for row in table(Fraction(r))), zero) * scale)

    rows = table(Fraction(rate))
    low, high = min(rates, default=rate), max(rates, default=rate)
    return PaperFormula(
        t, d, blocks, rate, low, high, float(add), float(mac),
        tuple(PaperRow(*row[:4], float(row[4] * scale), float(row[5] * scale)) for row in rows),
        float(sum((row[4] for row in rows), zero) * scale),
        spiking(rate), spiking(low), spiking(high),
    )  # fmt: skip
