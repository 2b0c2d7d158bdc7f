"""What the same text costs without spikes: opponents a reviewer would ask for.

All are priced with the same arithmetic profile (one precision on both sides), per token, three
times: the arithmetic of matrix products alone; with the reading of weights and of the transformer's
cache from on-chip memory; and the whole bill, norms, WKV, neurons, parameters, states and
activations included (``energy.beside_products``), which all of them pay.

``this network``        effective operations: AC or MAC by the operands that occurred, zeros skipped
``repeated additions``  the same, graded spikes of few bits added repeatedly where that is cheaper
``dense int8``          the same network, every product computed (MAC)
``effective int8``      the same network, zeros skipped, every operation a MAC
``1-bit activations``   the fair opponent at one step a token (arXiv 2409.08290: T steps of spikes
                        match ceil(log2(T + 1)) bits): same weights, every operand one bit, an
                        addition for each; no operand is known to be zero, so none is skipped
``1-bit, half zero``    the same with half of the operands zero and skipped
``transformer``         dense transformer of the same depth and width, 12 d^2 weights a block and
                        attention over the whole context, and the same head; not beside a chain
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.energy.beside_products import (
    beside_products,
    transformer_beside_products,
)
from spikegpt_neuro.energy.paper_formula import PaperFormula, paper_formula
from spikegpt_neuro.energy.spikes import takes_spikes
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.network import LanguageModel, Network

BREAK_EVEN_RATES: Final = (
    (0.064, "average spike rate below 6.4 % for 5 to 10 steps (arXiv 2409.08290 v2, v3)"),
    (0.057, "average spike rate below 5.7 % at 5 steps (arXiv 2409.08290 v4)"),
)
"""Rates below which spikes win once data movement counts, on typical neuromorphic hardware."""

CLAIM: Final = 5.0
"""The claim to answer: up to five times less energy."""


@dataclass(frozen=True)
class Baseline:
    """Operations and their energy a token. ``ratio``: this over the network's own energy; both also
    with memory (None where the profile prices no memory), and of the whole bill."""

    name: str
    accumulates_per_token: float
    multiply_accumulates_per_token: float
    joules_per_token: float
    ratio: float | None
    joules_with_memory_per_token: float | None
    ratio_with_memory: float | None
    joules_whole_per_token: float
    ratio_whole: float | None
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "accumulates_per_token": self.accumulates_per_token,
            "multiply_accumulates_per_token": self.multiply_accumulates_per_token,
            "energy_joules_per_token": self.joules_per_token,
            "ratio_to_this_network": self.ratio,
            "energy_with_memory_joules_per_token": self.joules_with_memory_per_token,
            "ratio_to_this_network_with_memory": self.ratio_with_memory,
            "energy_whole_bill_joules_per_token": self.joules_whole_per_token,
            "ratio_to_this_network_whole_bill": self.ratio_whole,
            "note": self.note,
        }


@dataclass(frozen=True)
class Comparison:
    """Baselines under one profile, the measured rates, and the answer to the claim."""

    profile: str
    context: int
    baselines: tuple[Baseline, ...]
    firing_rate: float
    operand_rate: float
    paper: PaperFormula | None
    answers: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "profile": self.profile,
            "context_tokens": self.context,
            "baselines": [b.to_dict() for b in self.baselines],
            "mean_firing_rate": self.firing_rate,
            "mean_non_zero_operand_rate": self.operand_rate,
            "break_even_rates": [
                {"rate": rate, "meaning": meaning, "below": self.operand_rate < rate}
                for rate, meaning in BREAK_EVEN_RATES
            ],
            "paper_formula": None if self.paper is None else self.paper.to_dict(),
            "answers": list(self.answers),
        }


def measured_paper_formula(
    network: LanguageModel, layers: Iterable[LayerActivity], profile: Profile, context: int
) -> PaperFormula:
    """The paper's table for this network's shape, with the firing rates that were measured."""
    lifs = [layer for layer in layers if layer.fires]
    return paper_formula(
        profile, tokens=context, width=network.info.n_embd, blocks=network.info.n_layer,
        rate=firing_rate(lifs), rates=[layer.output_rate for layer in lifs],
    )  # fmt: skip


def firing_rate(layers: Iterable[LayerActivity]) -> float:
    """Mean share of LIF neurons that fire in a token."""
    lifs = [layer for layer in layers if layer.fires]
    possible = sum(layer.tokens * layer.size for layer in lifs)
    return sum(layer.output_events for layer in lifs) / possible if possible else 0.0


@dataclass(frozen=True)
class _Opponent:
    """Operations a token, and picojoules a token of reading weights (and cache); ``beside``:
    of all but products, None where it is this network's."""

    name: str
    accumulates: Fraction
    multiply_accumulates: Fraction
    memory: Fraction
    note: str
    beside: Fraction | None = None


def _reading_all(layer: LayerActivity) -> Fraction:
    """Bytes of all weights of a layer, read for every token; never more than a byte each."""
    return layer.dense_operations * Fraction(min(layer.weight_bits, 8), 8)


def _opponents(
    network: Network, dense: list[LayerActivity], profile: Profile, context: int
) -> list[_Opponent]:
    """The network and all its opponents."""
    add = profile.coefficients["synaptic_add"].value
    mac = add + profile.coefficients["synaptic_multiply"].value
    tokens = dense[0].tokens

    def byte(size: int) -> Fraction:
        """Picojoules of reading one byte of a memory of ``size`` bytes, 8 bytes an access."""
        curve = profile.curves.get("sram_access")
        return Fraction(0) if curve is None else curve.at(size) * Fraction(1, 8)

    def per_token(values: Iterable[int | Fraction]) -> Fraction:
        return sum(map(Fraction, values), Fraction(0)) / tokens

    adds = per_token(layer.accumulates for layer in dense)
    macs = per_token(layer.multiply_accumulates for layer in dense)
    every = per_token(layer.dense_operations for layer in dense)
    own = per_token(layer.weight_bytes_read * byte(layer.weight_memory_bytes) for layer in dense)
    whole = per_token(_reading_all(layer) * byte(layer.weight_memory_bytes) for layer in dense)
    repeated = [
        layer
        for layer in dense
        if layer.operand == "graded"
        and layer.unit_additions * add < layer.multiply_accumulates * mac
    ]
    more = adds + per_token(layer.unit_additions for layer in repeated)
    fewer = macs - per_token(layer.multiply_accumulates for layer in repeated)
    heads = [layer for layer in dense if layer.stage == "head"]
    head = per_token(layer.dense_operations for layer in heads)
    head_memory = per_token(
        _reading_all(layer) * byte(layer.weight_memory_bytes) for layer in heads
    )
    none = Fraction(0)
    opponents = [
        _Opponent("this network", adds, macs, own,
                  "AC or MAC by the operands that occurred, zeros skipped"),
        _Opponent("repeated additions", more, fewer, own,
                  "graded spikes added repeatedly where that is cheaper"),
        _Opponent("dense int8", none, every, whole, "same network, every product computed"),
        _Opponent("effective int8", none, adds + macs, own,
                  "same network, zeros skipped, all MAC"),
        _Opponent("1-bit activations", every, none, whole, "fair opponent at one step a token"),
        _Opponent("1-bit, half zero", every / 2, none, whole / 2,
                  "the same, half of the operands skipped"),
    ]  # fmt: skip
    if isinstance(network, LanguageModel):
        n, d = network.info.n_layer, network.info.n_embd
        cache = 2 * context * d
        products = n * (12 * d * d + cache) + head
        reading = (
            n * (4 * d * d * byte(d * d) + 8 * d * d * byte(4 * d * d) + cache * byte(cache))
            + head_memory
        )
        opponents.append(
            _Opponent("transformer", none, Fraction(products), Fraction(reading),
                      f"same depth, width and head; 12 d^2 weights a block, context {context}",
                      transformer_beside_products(network, profile, context))
        )  # fmt: skip
    return opponents


def compare(
    network: Network, layers: tuple[LayerActivity, ...], profile: Profile, context: int = 1024
) -> Comparison:
    """Price the network and its opponents with one arithmetic profile.

    ``context``: tokens the transformer attends to; a recurrent network has none. Raises InputError
    for a profile that does not price additions and multiplications.
    """
    if profile.method != "arithmetic":
        raise InputError(
            f"Baselines need a profile that prices arithmetic; {profile.name!r} does not.",
            advice="Use cmos45-int8 or cmos45-fp32.",
        )
    add = profile.coefficients["synaptic_add"].value
    mac = add + profile.coefficients["synaptic_multiply"].value
    dense = [layer for layer in layers if layer.operand]
    opponents = _opponents(network, dense, profile, context)
    remembers = "sram_access" in profile.curves
    first = opponents[0]
    own = first.accumulates * add + first.multiply_accumulates * mac
    beside = beside_products(layers, profile)
    whole = own + first.memory + beside
    baselines = []
    for o in opponents:
        picojoules = o.accumulates * add + o.multiply_accumulates * mac
        together = picojoules + o.memory
        rest = beside if o.beside is None else o.beside
        baselines.append(
            Baseline(
                o.name,
                float(o.accumulates),
                float(o.multiply_accumulates),
                float(picojoules / 10**12),
                float(picojoules / own) if own else None,
                float(together / 10**12) if remembers else None,
                float(together / (own + first.memory)) if remembers and own else None,
                float((together + rest) / 10**12),
                float((together + rest) / whole) if whole else None,
                o.note,
            )
        )
    feedforward = [layer for layer in dense if layer.role == "synapse"]
    possible = sum(layer.tokens * layer.input_size for layer in feedforward)
    events = sum(layer.input_events for layer in feedforward)
    operand_rate = events / possible if possible else 0.0
    rate = firing_rate(layers)
    paper = None
    if isinstance(network, LanguageModel):
        paper = measured_paper_formula(network, layers, profile, context)
    spiking = any(takes_spikes(network, layer.name) for layer in dense)
    return Comparison(
        profile.name, context, tuple(baselines), rate, operand_rate, paper,
        _answers(baselines, paper, operand_rate, spiking),
    )  # fmt: skip


def _answers(
    baselines: list[Baseline], paper: PaperFormula | None, operand_rate: float, spiking: bool
) -> tuple[str, ...]:
    """A straight answer to the claim, method by method."""
    by_name = {b.name: b for b in baselines}

    def verdict(name: str, against: str) -> str:
        row = by_name[name]
        if row.ratio is None:
            return f"Against {against}: this network did no operation at all."
        ratios = {"arithmetic": row.ratio}
        text = f"Against {against}: {times_less(row.ratio)} arithmetic energy"
        if row.ratio_with_memory is not None:
            text += f", {times_less(row.ratio_with_memory)} with the reading of weights"
            ratios["products with their weights"] = row.ratio_with_memory
        if row.ratio_whole is not None:
            text += f", {times_less(row.ratio_whole)} by the whole bill"
            ratios["the whole bill"] = row.ratio_whole
        reached = [name for name, ratio in ratios.items() if ratio >= CLAIM]
        word = "yes" if len(reached) == len(ratios) else f"only by {' and '.join(reached)}"
        return f"{text}. Five times less: {word if reached else 'no'}."

    answers = [
        verdict("dense int8", "the same network computed densely in the same precision"),
        verdict("1-bit activations", "the same weights with 1-bit activations (the fair opponent)"),
    ]
    if "transformer" in by_name:
        answers.append(verdict("transformer", "a dense transformer of the same depth and width"))
    if paper is not None and paper.ratio is not None:
        word = "yes" if paper.ratio >= CLAIM else "no"
        caveat = (
            "takes a spike of any size for one addition, and has no memory, normalisation, output "
            "projection or head"
            if spiking
            else "prices projections as if spikes entered them, and here none does"
        )
        answers.append(
            f"By the paper's own table with the measured rate and these energies: "
            f"{paper.ratio:.1f} times less. Five times less: {word}, on the terms of that table, "
            f"which {caveat}."
        )
    below = [rate for rate, _ in BREAK_EVEN_RATES if operand_rate < rate]
    answers.append(
        f"Projections see {100 * operand_rate:.1f} % non-zero operands; published break-even rates "
        f"are 5.7 to 6.4 %: {'below' if len(below) == 2 else 'not below'}."
    )
    answers.append(
        "These are costs only: that an opponent would do the task as well is not claimed."
    )
    return tuple(answers)


def times_less(ratio: float) -> str:
    """A ratio in words: this network against an opponent that needs ``ratio`` times its energy."""
    return f"{ratio:.2f} times less" if ratio >= 1 else f"{1 / ratio:.2f} times MORE"
