"""Weights that several tokens share, counted from the operands that occurred.

A batch of B tokens reads a column of weights once if the operand of any of them is not zero:

    reads = sum over passes, layers and operands k of  [any token's x_k != 0]  w_k

with ``w_k`` the column's weights, or where only those that are not 0 are stored their number. Dense
hardware reads every weight once a pass, so that its reads fall as 1 / B; of a sparse network those
of fewer and fewer operands fall together, and its advantage shrinks.

``prefill``     a pass takes B tokens of the text that follow each other (recurrences run within)
``generation``  a pass takes one token of each of B streams: the text in B pieces, each with the
                state that the text before it left

Either way each token of the text is counted once, and the last passes may be smaller. Parameters of
neurons are shared like weights; states and activations are each token's own, and so is arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.energy.activity import LayerActivity, is_listed
from spikegpt_neuro.energy.arithmetic import price_arithmetic
from spikegpt_neuro.energy.beside_products import computed_densely, of_products
from spikegpt_neuro.energy.parts import Part
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.network import LanguageModel, Network
from spikegpt_neuro.network.layers import Dense

Pass = Literal["prefill", "generation"]
PASSES: Final[tuple[Pass, ...]] = ("prefill", "generation")
BATCHES: Final = (1, 8, 64)
"""Batches that a report shows unless told otherwise."""

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SharedReads:
    """Weights read of each projection over a text, ``batch`` tokens in a pass."""

    kind: Pass
    batch: int
    passes: int
    weights: Mapping[str, int]


def check_batches(batches: Sequence[int]) -> tuple[int, ...]:
    """Batches, without repetition. Raises InputError for one below 1."""
    wrong = [f"a batch of {n}" for n in batches if n < 1]
    if wrong:
        raise InputError("a batch has at least one token:", wrong)
    return tuple(dict.fromkeys(batches))


def passes_of(kind: Pass, batch: int, tokens: int) -> npt.NDArray[np.int64]:
    """The pass in which each token of a text is read: int64 [tokens], from 0."""
    if kind == "prefill":
        return np.arange(tokens, dtype=np.int64) // batch
    pieces = np.array_split(np.arange(tokens, dtype=np.int64), batch)
    return np.concatenate([piece - piece[0] for piece in pieces if piece.size])


class ReadsCounter:
    """Marks the operands of every pass while a text is run; ``counted`` counts their weights.

    Batches of one, and of more tokens than there are, are left out. A bit an operand and pass is
    kept: a batch of 8 takes an eighth of a byte a token and 8 operands.
    """

    def __init__(self, network: Network, batches: Sequence[int], tokens: int) -> None:
        self._synapses: dict[str, list[Dense]] = {}
        if isinstance(network, LanguageModel):
            for layer in network.layers:
                if isinstance(layer, Dense):
                    self._synapses.setdefault(layer.inputs[0], []).append(layer)
        self._plans = [
            _Plan(kind, batch, passes_of(kind, batch, tokens))
            for kind in PASSES
            for batch in check_batches(batches)
            if 1 < batch <= tokens
        ]

    @property
    def operands(self) -> tuple[str, ...]:
        """Layers whose values must be given to ``add``."""
        return tuple(self._synapses) if self._plans else ()

    def add(self, name: str, begin: int, values: npt.NDArray[np.int32]) -> None:
        """The operands [tokens, size] of the tokens from number ``begin`` on."""
        marks = np.packbits(values != 0, axis=1)
        for plan in self._plans:
            plan.add(name, begin, marks)

    def counted(self) -> tuple[SharedReads, ...]:
        """All of them, once the text is read."""
        return tuple(
            SharedReads(
                plan.kind, plan.batch, plan.count,
                {
                    layer.name: plan.weights(source, layer)
                    for source, layers in self._synapses.items()
                    for layer in layers
                },
            )
            for plan in self._plans
        )  # fmt: skip


class _Plan:
    """One way to gather tokens in passes, and the operands each pass met."""

    def __init__(self, kind: Pass, batch: int, order: npt.NDArray[np.int64]) -> None:
        self.kind, self.batch = kind, batch
        self._order = order
        self.count = int(order.max()) + 1
        self._met: dict[str, UInt8Array] = {}

    def add(self, name: str, begin: int, marks: UInt8Array) -> None:
        met = self._met.setdefault(name, np.zeros((self.count, marks.shape[1]), np.uint8))
        order = self._order[begin : begin + len(marks)]
        # tokens of one pass that follow each other, then stretches in which no pass comes twice
        starts = np.flatnonzero(np.diff(order, prepend=-1) != 0)
        together, rows = np.bitwise_or.reduceat(marks, starts, axis=0), order[starts]
        for part in np.split(np.arange(rows.size), np.flatnonzero(np.diff(rows) < 0) + 1):
            met[rows[part]] |= together[part]

    def weights(self, source: str, layer: Dense) -> int:
        """Weights of the columns that were read, over all passes."""
        size = layer.operand_size
        times = np.unpackbits(self._met[source], axis=1, count=size).sum(0, dtype=np.int64)
        each = layer.fan_out if is_listed(layer) else np.full(size, layer.output.size)
        return int(np.dot(times, each.astype(np.int64)))


@dataclass(frozen=True)
class BatchRow:
    """A token of a batch under one arithmetic profile, and of the same network densely.

    ``products``: multiplications, additions and the reading of weights; ``whole``: norms, WKV,
    parameters, states, activations and everything else beside them. Exact joules a token.
    """

    profile: str
    kind: Pass
    batch: int
    passes: int
    weights_read: int
    weights_read_densely: int
    products: Fraction
    products_densely: Fraction
    whole: Fraction
    whole_densely: Fraction

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``dense_over_this`` are what the dense opponent takes over this."""
        return {
            "profile": self.profile,
            "mode": self.kind,
            "batch": self.batch,
            "passes": self.passes,
            "weights_read": self.weights_read,
            "weights_read_densely": self.weights_read_densely,
            "dense_over_this_weights_read": self.ratio_of_reads,
            "products_joules_per_token": float(self.products),
            "products_densely_joules_per_token": float(self.products_densely),
            "dense_over_this_products": self.ratio_of_products,
            "whole_bill_joules_per_token": float(self.whole),
            "whole_bill_densely_joules_per_token": float(self.whole_densely),
            "dense_over_this_whole_bill": self.ratio_of_whole,
        }

    @property
    def ratio_of_reads(self) -> float | None:
        """The dense opponent's weights read over this network's; None where it read none."""
        return self.weights_read_densely / self.weights_read if self.weights_read else None

    @property
    def ratio_of_products(self) -> float | None:
        """The same of joules of products."""
        return float(self.products_densely / self.products) if self.products else None

    @property
    def ratio_of_whole(self) -> float | None:
        """The same of whole bills."""
        return float(self.whole_densely / self.whole) if self.whole else None


def batch_rows(
    layers: tuple[LayerActivity, ...], shared: Sequence[SharedReads], profile: Profile,
    batches: Sequence[int] = BATCHES,
) -> tuple[BatchRow, ...]:  # fmt: skip
    """Rows of an arithmetic profile, batch by batch. One of one token needs no ``shared`` reads; of
    the others those that were counted are shown."""
    tokens = layers[0].tokens
    alone = {layer.name: layer.weights_read for layer in layers}
    known = {(s.kind, s.batch): s for s in shared}
    known |= {(kind, 1): SharedReads(kind, 1, tokens, alone) for kind in PASSES}
    return tuple(
        _row(layers, known[kind, batch], profile)
        for kind in PASSES
        for batch in check_batches(batches)
        if (kind, batch) in known
    )


def _row(layers: tuple[LayerActivity, ...], shared: SharedReads, profile: Profile) -> BatchRow:
    tokens, passes = layers[0].tokens, shared.passes
    own = tuple(
        replace(
            layer,
            weights_read=shared.weights.get(layer.name, layer.weights_read),
            parameter_words_read=layer.parameter_words_read // tokens * passes,
        )
        for layer in layers
    )
    dense = tuple(computed_densely(layer, passes) for layer in own)
    parts, _ = price_arithmetic(own, profile)
    densely, _ = price_arithmetic(dense, profile)
    return BatchRow(
        profile.name, shared.kind, shared.batch, passes,
        sum(layer.weights_read for layer in own), sum(layer.weights_read for layer in dense),
        _sum(part for part in parts if of_products(part)),
        _sum(part for part in densely if of_products(part)),
        _sum(parts), _sum(densely),
    )  # fmt: skip


def _sum(parts: Iterable[Part]) -> Fraction:
    return sum((part.value for part in parts), Fraction(0))
