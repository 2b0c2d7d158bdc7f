"""Models of any quality against what they cost: bits a character beside joules, chips and time.

Every model is priced whole: every operation, state, parameter, packet and chip at rest that the
profile knows a price for. A point is non-dominated when no other one on the same target and mode is
at least as good in both bits and cost and better in one.

At equal quality a model is compared with a family of references of several sizes (plain RWKV): the
reference's cost at the model's bits is interpolated between the two references around them,
linearly in the logarithm of the cost.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.energy.choosing import choice_counter
from spikegpt_neuro.energy.report import EnergyReport, build_reports
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.atomic import replaced_file
from spikegpt_neuro.scoring import score_tokens

SCHEMA: Final = "spikegpt-neuro frontier 1"
REFERENCE_LAYOUT: Final = "rwkv"
"""Layout of the models a spike-driven one must beat at equal quality."""
COSTS: Final = ("joules_per_token", "chips", "seconds_per_token")


@dataclass(frozen=True)
class Quality:
    """A network's run over a text: how well it predicts, and what happened while it did.

    ``choosing``: ``counters`` with those of the layers that would choose each next token, where
    they were asked for and there can be such layers.
    """

    bits_per_character: float
    tokens: int
    characters: int
    counters: Counters
    choosing: Counters | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "schema": SCHEMA,
            "bits_per_character": self.bits_per_character,
            "tokens": self.tokens,
            "characters": self.characters,
            "counters": self.counters.to_dict(),
            "choosing": None if self.choosing is None else self.choosing.to_dict(),
        }


@dataclass(frozen=True)
class Point:
    """One model on one target in one mode. ``cost``: by the names in ``COSTS``, None where the
    target gives none. ``frontier``: the costs in which no other point dominates it."""

    model: str
    layout: str
    weights: int
    bits_per_character: float
    profile: str
    mode: str
    joules_low: float | None
    joules_high: float | None
    cost: dict[str, float | None]
    broken_rules: int
    not_counted: tuple[str, ...]
    frontier: tuple[str, ...] = ()
    reference_joules: float | None = None

    @property
    def ratio(self) -> float | None:
        """Joules of the references at equal quality over this model's; None without them."""
        joules = self.cost["joules_per_token"]
        if self.reference_joules is None or not joules:
            return None
        return self.reference_joules / joules

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "model": self.model, "layout": self.layout, "weights": self.weights,
            "bits_per_character": self.bits_per_character, "profile": self.profile,
            "mode": self.mode, **self.cost, "joules_per_token_low": self.joules_low,
            "joules_per_token_high": self.joules_high, "broken_rules": self.broken_rules,
            "not_counted": list(self.not_counted), "non_dominated_in": list(self.frontier),
            "reference_joules_at_equal_bits": self.reference_joules,
            "times_less_than_reference": self.ratio,
        }  # fmt: skip


def key_of(network_file: Path, tokens: npt.NDArray[np.int64], context: int | None) -> str:
    """Name of a run in the cache: everything its figures depend on, hashed."""
    digest = hashlib.sha256(network_file.read_bytes())
    digest.update(np.ascontiguousarray(tokens, np.int64).tobytes())
    digest.update(f"{SCHEMA} {context}".encode())
    return digest.hexdigest()[:32]


def evaluate(
    network: Network, tokens: npt.NDArray[np.int64], *, context: int | None = None,
    ends: npt.NDArray[np.int64] | None = None, stored: Path | None = None, chooses: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Quality:  # fmt: skip
    """Score and count a text on the emulator, or read from ``stored`` what was found before.

    ``ends``: characters of the text behind one after each token, see ``score_tokens``. ``chooses``:
    count what a chip would do to choose each next token, where the network can. ``stored``
    is written when the run is done, whole or not at all; a file that cannot be read as
    such a run, or of one that did not count all that is asked for, is written again.
    """
    chooser = choice_counter(network) if chooses else None
    if stored is not None:
        found = _read(stored)
        if found is not None and (chooser is None or found.choosing is not None):
            return found
    with Emulator().open(network) as session:
        watched = session if chooser is None else chooser.watching(session)
        scoring = score_tokens(
            watched, tokens, logit_scale=network.logit_scale,
            vocabulary_size=network.info.vocabulary_size, context=context, ends=ends,
            progress=progress,
        )  # fmt: skip
        counters = session.counters
    quality = Quality(
        scoring.bits_per_character, scoring.tokens, scoring.characters, counters,
        None if chooser is None else chooser.counters(counters),
    )  # fmt: skip
    if stored is not None:
        with replaced_file(stored) as stream:
            stream.write(json.dumps(quality.to_dict()).encode())
    return quality


def _read(path: Path) -> Quality | None:
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["schema"] != SCHEMA:
            return None
        return Quality(
            float(values["bits_per_character"]),
            int(values["tokens"]),
            int(values["characters"]),
            Counters.from_dict(values["counters"]),
            None if values.get("choosing") is None else Counters.from_dict(values["choosing"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def points_of(
    model: str, network: Network, quality: Quality, profiles: Sequence[Profile],
    modes: Sequence[str], packing: str = "middle",
) -> tuple[Point, ...]:  # fmt: skip
    """A model on every target and in every mode, whole bill; not yet compared with others."""
    reports = build_reports(
        network, quality.counters, profiles, modes=modes, packing=packing,
        choosing=quality.choosing,
    )  # fmt: skip
    return tuple(_point(model, network, quality, report) for report in reports)


def _point(model: str, network: Network, quality: Quality, report: EnergyReport) -> Point:
    energy, timing, mapping = report.energy, report.timing, report.mapping
    weights = sum(layer.weight_count for layer in network.layers)
    return Point(
        model, network.info.layout, weights, quality.bits_per_character, report.profile.name,
        report.mode if report.profile.method == "event-driven" else "",
        None if energy is None else energy.low, None if energy is None else energy.high,
        {
            "joules_per_token": None if energy is None else energy.value,
            "chips": None if mapping is None else float(mapping.chips),
            "seconds_per_token": None if timing is None else timing.value,
        },
        len(report.violations), tuple(n.what for n in report.not_counted),
    )  # fmt: skip


def dominated(point: Point, others: Sequence[Point], cost: str) -> bool:
    """True if another point is at least as good in bits and in this cost, and better in one."""
    mine = point.cost[cost]
    if mine is None:
        return True
    for other in others:
        theirs = other.cost[cost]
        if theirs is None or other is point:
            continue
        fine = other.bits_per_character <= point.bits_per_character and theirs <= mine
        better = other.bits_per_character < point.bits_per_character or theirs < mine
        if fine and better:
            return True
    return False


def reference_joules(bits: float, references: Sequence[Point]) -> float | None:
    """Joules of the references at these bits; None beyond the best and the worst of them.

    Only references that no other reference dominates count: nobody would run the others.
    """
    kept = sorted(
        (p for p in references if not dominated(p, references, "joules_per_token")),
        key=lambda p: p.bits_per_character,
    )
    for better, worse in pairwise(kept):
        low, high = better.bits_per_character, worse.bits_per_character
        a, b = better.cost["joules_per_token"], worse.cost["joules_per_token"]
        if low <= bits <= high and a and b:
            share = (bits - low) / (high - low) if high > low else 0.0
            return math.exp((1 - share) * math.log(a) + share * math.log(b))
    return None


def compared(points: Sequence[Point]) -> tuple[Point, ...]:
    """All points with their place on the frontier and the references at equal quality."""
    found = []
    for point in points:
        same = [p for p in points if (p.profile, p.mode) == (point.profile, point.mode)]
        frontier = tuple(cost for cost in COSTS if not dominated(point, same, cost))
        references = [p for p in same if p.layout == REFERENCE_LAYOUT]
        joules = None
        if point.layout != REFERENCE_LAYOUT:
            joules = reference_joules(point.bits_per_character, references)
        found.append(Point(**{**point.__dict__, "frontier": frontier, "reference_joules": joules}))
    return tuple(found)


def answer(points: Sequence[Point]) -> tuple[str, ...]:
    """The best ratio at equal quality on every target and in every mode, in a sentence each."""
    sentences = []
    for where in dict.fromkeys((p.profile, p.mode) for p in points):
        here = [p for p in points if (p.profile, p.mode) == where and p.ratio is not None]
        name = f"{where[0]} {where[1]}".strip()
        if not here:
            sentences.append(f"{name}: no answer, no reference of equal quality.")
            continue
        best = max(here, key=lambda p: p.ratio or 0.0)
        ratio = best.ratio or 0.0
        word = f"{ratio:.2f} times less" if ratio >= 1 else f"{1 / ratio:.2f} times MORE"
        text = (
            f"{name}: at {best.bits_per_character:.4f} bits a character {best.model} takes {word} "
            "energy than plain RWKV of the same quality"
        )
        if best.broken_rules:
            text = f"{name}: no verdict, {best.model} breaks {best.broken_rules} design rules there"
        sentences.append(f"{text}.")
    return tuple(sentences)
