"""Fewer bits and fewer weights: an integer network becomes a smaller one.

Works on the integers, so that a network from a file and one just exported are treated alike: each
projection's weights are rounded again (``rounding``), and the factor of what reads its accumulators
is multiplied by the ratio of the new row scale to the old.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.packed import MOST_BITS, store
from spikegpt_neuro.converters.quantisers import mantissa_and_shift
from spikegpt_neuro.converters.rounding import (
    Prepared,
    compensated,
    kept_weights,
    nearest,
    prepare,
)
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.schema import Layer

OUTLIER = 5.0
"""A row is an outlier where rounding costs it this many times the median row's share of power."""

_FACTORS = {
    ("wkv", 0): ("key_multiplier", "key_shift"), ("wkv", 1): ("value_multiplier", "value_shift"),
    **{(kind, 0): ("multiplier", "shift")
       for kind in ("requantise", "readout", "sigmoid", "squared_relu", "lif")},
    ("product", 1): ("multiplier", "shift"), ("residual", 1): ("multiplier", "shift"),
}  # fmt: skip
"""Factor and shift by which a kind of layer takes the accumulators at its input of that index."""


@dataclass(frozen=True)
class Choice:
    """What becomes of a projection: ``bits`` a weight, and the share of weights set to 0.

    ``pattern`` (n, m): of every m weights of a row in sequence, at most n stay, in place of
    ``pruned``.
    """

    bits: int = MOST_BITS
    pruned: float = 0.0
    pattern: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        problems = []
        if not 2 <= self.bits <= MOST_BITS:
            problems.append(f"weight bits {self.bits}, allowed 2 (ternary) to {MOST_BITS}")
        if not 0 <= self.pruned < 1:
            problems.append(f"pruned {self.pruned}, allowed 0 to below 1")
        if self.pattern is not None and not 1 <= self.pattern[0] <= self.pattern[1] <= 64:
            n, m = self.pattern
            problems.append(f"pattern {n}:{m}, allowed 1:1 to 64:64 with the first the smaller")
        if problems:
            raise InputError("a projection cannot be reduced like that:", problems)

    @property
    def prunes(self) -> bool:
        """Whether weights are set to 0."""
        return self.pruned > 0 or self.pattern is not None


@dataclass(frozen=True)
class ReducedLayer:
    """What was done to one projection.

    ``error``: share of the output power that changed on the text, mean over the rows;
    ``nearest_error``: the same of plain rounding. ``outlier_rows``: rows that lost more than
    ``OUTLIER`` times the median row, ``worst_row`` the one that lost most. ``divergence``:
    of the network's predictions when this projection alone is reduced (``sensitivity``), in bits a
    token, where it was measured.
    """

    name: str
    bits: int
    weights: int
    non_zero: int
    bytes: int
    error: float
    nearest_error: float
    outlier_rows: int
    worst_row: int
    worst_error: float
    divergence: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A projection reduced: ``weight`` int8 or packed, row scales in units of the old ones.

    ``error``: share of the output power that changed on the text, mean over the rows;
    ``row_errors`` of each.
    """

    choice: Choice
    weight: Any
    scale: npt.NDArray[np.float64]
    row_errors: npt.NDArray[np.float32]

    @property
    def error(self) -> float:
        """Mean of ``row_errors``."""
        return float(self.row_errors.mean())

    @cached_property
    def non_zero(self) -> int:
        """Weights that are not 0."""
        return int(np.count_nonzero(np.asarray(self.weight)))

    @property
    def bytes(self) -> int:
        """Bytes its weights take in memory and in the file."""
        return int(self.weight.nbytes)


def candidate(
    network: LanguageModel, name: str, choices: Sequence[Choice], moment: npt.NDArray[np.float32]
) -> list[Candidate]:
    """The projection ``name`` rounded in every way of ``choices``."""
    layer = network[name]
    assert isinstance(layer, Dense)
    weight = np.asarray(layer.weight).astype(np.float32)
    prepared: Prepared | None = None
    found = []
    for choice in choices:
        if choice == Choice(layer.weight_bits):
            rows = len(weight)
            found.append(Candidate(choice, layer.weight, np.ones(rows), np.zeros(rows, np.float32)))
            continue
        prepared = prepared or prepare(moment)
        kept = (
            kept_weights(weight, prepared, choice.pruned, choice.pattern) if choice.prunes else None
        )
        rounded = compensated(weight, prepared, choice.bits, kept)
        found.append(
            Candidate(
                choice,
                store(rounded.integers, choice.bits),
                rounded.scale,
                rounded.error.astype(np.float32),
            )
        )
    return found


def fits(network: LanguageModel, name: str, one: Candidate, gain: float = 1.0) -> bool:
    """Whether what reads the projection can hold its factor in the new unit, times ``gain``.

    A row of few bits and large weights has a large unit; factors are limited (``scales``).
    """
    try:
        for reader in network.layers:
            for index, source in enumerate(reader.inputs):
                if source == name:
                    rescaled(reader, index, gain * one.scale)
    except InputError:
        return False
    return True


def adopt(network: LanguageModel, chosen: Mapping[str, Candidate]) -> LanguageModel:
    """``network`` with these candidates in place of its projections, by layer name.

    Raises ``InputError`` where something that cannot be rescaled reads their accumulators.
    """
    layers = dict(network.by_name)
    for name, one in chosen.items():
        if one.weight is layers[name].weight:  # type: ignore[attr-defined]
            continue
        layers[name] = replace(layers[name], weight=one.weight)  # type: ignore[call-arg]
        for reader in network.layers:
            for index, source in enumerate(reader.inputs):
                if source == name:
                    layers[reader.name] = rescaled(layers[reader.name], index, one.scale)
    kept = tuple(layers[layer.name] for layer in network.layers)
    return replace(network, layers=kept)


@dataclass(frozen=True)
class Reduction:
    """The smaller network, what became of each projection, and a report of each."""

    network: LanguageModel
    chosen: Mapping[str, Candidate]
    layers: tuple[ReducedLayer, ...]


def reduce_network(
    network: LanguageModel,
    choices: Mapping[str, Choice],
    moments: Callable[[str], npt.NDArray[np.float32]],
    progress: Progress = lambda what, step, steps: None,
) -> Reduction:
    """``network`` with the projections of ``choices`` reduced, others as they are.

    ``moments`` gives the second moments of a layer's operands. A projection whose unit would be too
    large for what reads it keeps more bits than asked for. Raises ``InputError`` where a name is no
    dense layer.
    """
    unknown = sorted(name for name in choices if not isinstance(network.by_name.get(name), Dense))
    if unknown:
        raise InputError("these are no dense layers of the network:", unknown)
    chosen, reports = {}, []
    for name in network.by_name:
        if name not in choices:
            continue
        moment = moments(name)
        for bits in range(choices[name].bits, MOST_BITS + 1):
            choice = replace(choices[name], bits=bits)
            chosen[name] = candidate(network, name, [choice], moment)[0]
            if fits(network, name, chosen[name]):
                break
        reports.append(report(network, name, chosen[name], moment))
        progress("rounding", len(chosen), len(choices))
    return Reduction(adopt(network, chosen), chosen, tuple(reports))


def report(
    network: LanguageModel, name: str, one: Candidate, moment: npt.NDArray[np.float32]
) -> ReducedLayer:
    """What was done to the projection ``name``, beside plain rounding to as many bits."""
    weight = np.asarray(network[name].weight).astype(np.float32)  # type: ignore[attr-defined]
    plain = nearest(weight, one.choice.bits, np.diagonal(moment).astype(np.float64))
    worst = int(one.row_errors.argmax())
    return ReducedLayer(
        name, one.choice.bits, weight.size, one.non_zero,
        one.bytes, one.error, float(plain.error.mean()),
        int((one.row_errors > OUTLIER * np.median(one.row_errors)).sum()), worst,
        float(one.row_errors[worst]),
    )  # fmt: skip


def rescaled(reader: Layer, index: int, ratio: npt.NDArray[np.float64]) -> Layer:
    """``reader`` with its factor on the input of that index multiplied by ``ratio`` [channels]."""
    names = _FACTORS.get((reader.kind, index))
    if names is None:
        raise InputError(
            f"{reader.name}: a {reader.kind} reads accumulators whose unit it cannot change."
        )
    multiplier, shift = (getattr(reader, name).astype(np.float64) for name in names)
    try:
        new = mantissa_and_shift(multiplier * np.exp2(-shift) * ratio, reader.name)
        changed: dict[str, Any] = dict(zip(names, new, strict=True))
    except InputError as error:
        raise InputError(error.summary, advice="Give the weights it reads more bits.") from error
    return replace(reader, **changed)
