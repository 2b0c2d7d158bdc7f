"""What an export is asked for, and what it says it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from spikegpt_neuro.arithmetic.packed import FEWEST_BITS, MOST_BITS
from spikegpt_neuro.converters.reduction import ReducedLayer
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.network import ModelInfo
from spikegpt_neuro.network.schema import Layer, Port


@dataclass(frozen=True)
class ExportOptions:
    """A user's wishes; the defaults suit every checkpoint that can tell.

    ``layout`` auto: what the checkpoint's configuration or names say; a released SpikeGPT and a
    plain RWKV-4 have the same names, and whichever predicts the calibration text better is taken,
    else (no text) SpikeGPT, said in the notes.
    ``embedding`` auto: what the checkpoint's configuration says, else whichever predicts the
    calibration text better, else (no text) binary, said in the notes. ``rescale_every``: upstream's
    run-time rescaling, 0 = the training forward. ``activation_bits``: see converters/quantisers.py.
    ``weight_bits`` below 8, ``pruned`` and ``pattern``: see converters/reduction.py; ``auto``: for
    each projection the fewest that together lose at most ``max_loss`` bits per character.
    ``losses``: report what reducing each projection alone changes.
    """

    activation_bits: int | None = None
    accumulator_bits: int = 24
    embedding: Literal["auto", "binary", "real"] = "auto"
    rescale_every: int = 0
    layout: Literal["auto", "upstream", "rwkv", "spike-driven"] = "auto"
    weight_bits: int | Literal["auto"] = MOST_BITS
    max_loss: float = 0.02
    pruned: float = 0.0
    pattern: tuple[int, int] | None = None
    losses: bool = False

    def __post_init__(self) -> None:
        problems = []
        if self.weight_bits != "auto" and not FEWEST_BITS <= self.weight_bits <= MOST_BITS:
            problems.append(
                f"weight bits {self.weight_bits}, allowed {FEWEST_BITS} (ternary) to {MOST_BITS}"
            )
        if not 0 <= self.pruned < 1:
            problems.append(f"pruned {self.pruned}, allowed 0 to below 1")
        if self.pattern is not None and not 1 <= self.pattern[0] <= self.pattern[1] <= 64:
            problems.append(
                f"pattern {self.pattern[0]}:{self.pattern[1]}, allowed n:m with 1 <= n <= m <= 64"
            )
        if self.weight_bits == "auto" and (self.pruned or self.pattern is not None):
            problems.append("weight bits auto choose bits only; prune with bits that are given")
        if not self.max_loss > 0:
            problems.append(f"max loss {self.max_loss}, allowed more than 0 bits per character")
        if self.activation_bits is not None and not 2 <= self.activation_bits <= 15:
            problems.append(f"activation bits {self.activation_bits}, allowed 2..15")
        if not 8 <= self.accumulator_bits <= 32:
            problems.append(f"accumulator bits {self.accumulator_bits}, allowed 8..32")
        if self.rescale_every < 0:
            problems.append(f"rescale every {self.rescale_every}, allowed 0 (off) or more")
        if problems:
            raise InputError("these export options cannot be used:", problems)

    @property
    def reduces(self) -> bool:
        """Whether weights take fewer than 8 bits, or are set to 0."""
        return self.weight_bits != MOST_BITS or self.pruned > 0 or self.pattern is not None


@dataclass(frozen=True)
class ExportReport:
    """What an export did."""

    path: Path
    info: ModelInfo
    layers: int
    weights: int
    notes: tuple[str, ...] = ()
    unproven: tuple[str, ...] = field(default=())
    reduced: tuple[ReducedLayer, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "path": str(self.path), "layout": self.info.layout, "n_layer": self.info.n_layer,
            "n_embd": self.info.n_embd, "vocabulary_size": self.info.vocabulary_size,
            "layers": self.layers, "weights": self.weights, "notes": list(self.notes),
            "accumulators_not_proven": list(self.unproven), "source": dict(self.info.source),
            "quantisation": dict(self.info.quantisation),
            "reduced": [layer.to_dict() for layer in self.reduced],
        }  # fmt: skip


class Summary:
    """What a report says of layers, taken note of one at a time."""

    def __init__(self) -> None:
        self._count = self._weights = 0
        self._unproven: list[str] = []
        self._ports: dict[str, Port] = {}

    def add(self, layer: Layer) -> None:
        """The next layer."""
        self._count += 1
        self._ports[layer.name] = layer.output
        if isinstance(layer, Dense):
            self._weights += layer.weight.size
            bound = layer.largest_row_sum * self._ports[layer.inputs[0]].high
            if bound >= 1 << (layer.accumulator_bits - 1):
                self._unproven.append(layer.name)

    def report(
        self, path: Path, info: ModelInfo, notes: Sequence[str],
        reduced: tuple[ReducedLayer, ...] = (),
    ) -> ExportReport:  # fmt: skip
        """The report of what was written to ``path``."""
        unproven = tuple(self._unproven)
        return ExportReport(path, info, self._count, self._weights, tuple(notes), unproven, reduced)
