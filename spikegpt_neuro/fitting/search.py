"""The smaller network that loses least under a budget of cores, chips or joules.

Every projection is rounded in every way of ``CHOICES`` and its effect alone is measured
(``sensitivity``). An integer programme then picks one way for each projection, the least loss for
so many bytes of synapses; the network so made is placed on cores, scored and priced. A row of
budgets gives the front of what can be had; the one asked for is met exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.converters.budget import least
from spikegpt_neuro.converters.moments import Moments
from spikegpt_neuro.converters.reduction import Candidate, Choice, Progress, adopt
from spikegpt_neuro.converters.sensitivity import candidates, sensitivities
from spikegpt_neuro.energy.report import build_report
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.fitting.store import Store
from spikegpt_neuro.generation import network_digest
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import map_network
from spikegpt_neuro.mapping.cores import weights_per_core
from spikegpt_neuro.mapping.encoding import SynapseBlock, synapse_bits
from spikegpt_neuro.mapping.partition import partition
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.predictions import prediction_bits

WIDTHS = tuple(Choice(bits) for bits in (2, 3, 4, 5, 6, 8))
PRUNINGS = (Choice(4, 0.3), Choice(4, 0.5), Choice(3, 0.5), Choice(4, 0.75))
"""Added for a budget of joules: synapses that are not there cost no operation."""
FRONT = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3)
"""Budgets of the front, as shares of the synapses' bytes now."""
MEASURED_TOKENS = 4_096
"""Tokens of the text on which each network of the front is scored and its events are counted."""
ROUNDS = 8
"""Times a choice is made anew because whole rows and cores took more than their bytes."""
_ROWS_ON_A_CORE = 64
"""Neurons assumed on a core where lists of synapses are weighed, before there are cores."""

Mode = Literal["pipelined", "fall-through"]


@dataclass(frozen=True)
class Budget:
    """What must be kept: one of the three. ``joules`` are of a token."""

    cores: int | None = None
    chips: int | None = None
    joules: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.cores, self.chips, self.joules) if value is not None]
        if len(given) != 1:
            raise InputError("give one budget: chips, cores or joules.")
        if not given[0] > 0:
            raise InputError(f"a budget of {given[0]} cannot be kept; give more than 0.")


@dataclass(frozen=True)
class Point:
    """One network of the front. ``bits_per_token`` on the text; ``joules`` and ``seconds`` None
    where the profile has no energies or times; ``bits`` a weight, as stored.
    """

    bits_per_token: float
    loss: float
    cores: int
    chips: int
    joules: float | None
    seconds: float | None
    bits: float
    chosen: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Fit:
    """The network that keeps the budget, the choice for each projection, and the front."""

    network: LanguageModel
    choices: Mapping[str, Choice]
    point: Point
    front: tuple[Point, ...]


class Fitting:
    """One search: candidates and sensitivities once, then any number of budgets."""

    def __init__(
        self, network: LanguageModel, windows: npt.NDArray[np.int64], profile: Profile, *,
        packing: str = "middle", mode: Mode = "fall-through", prune: bool = False,
        threads: int = 1, folder: Path | None = None,
        progress: Progress = lambda what, step, steps: None,
    ) -> None:  # fmt: skip
        """``folder`` keeps what was computed, so that a search broken off goes on there."""
        self._network, self._windows, self._profile = network, windows, profile
        self._packing, self._mode, self._progress = packing, mode, progress
        count = min(len(windows), max(1, MEASURED_TOKENS // windows.shape[1]))
        self._scored = windows[np.linspace(0, len(windows) - 1, count).astype(int)]
        self._cores = partition(network, profile, packing)  # refuses a profile without cores
        self.choices = WIDTHS + (PRUNINGS if prune else ())
        store = None if folder is None else Store(folder, self._key(), network, self.choices)
        self.table = candidates(
            network, Moments(network, windows), self.choices, threads=threads, store=store,
            progress=progress,
        )  # fmt: skip
        found = None if store is None else store.sensitivities(self.table)
        self._known = found or sensitivities(
            network, self.table, windows, threads=threads, progress=progress
        )
        if store is not None:
            store.keep_sensitivities(self._known)
        self._losses = [
            [self._known[name] * option.error for option in options]
            for name, options in self.table.items()
        ]
        self._bytes = [[_bytes(option) for option in options] for options in self.table.values()]
        self.before = self._measured(network, None)

    def _key(self) -> str:
        digest = hashlib.sha256(network_digest(self._network).encode())
        digest.update(self._windows.tobytes())
        digest.update(repr(self.choices).encode())
        return digest.hexdigest()

    def chosen(self, size: float) -> dict[str, Candidate]:
        """The least loss with synapses of ``size`` bytes at most."""
        picked = least(self._losses, self._bytes, size)
        return {
            name: options[index]
            for (name, options), index in zip(self.table.items(), picked, strict=True)
        }

    def _measured(self, network: LanguageModel, before: float | None) -> Point:
        bits, counters = _score(network, self._scored)
        # packed: a budget of cores or chips asks for the least; spreading fills every free core
        mapping = map_network(network, self._profile, self._packing, counters, "packed")
        report = build_report(network, counters, self._profile, mode=self._mode, mapping=mapping)
        dense = [layer for layer in network.layers if isinstance(layer, Dense)]
        stored = sum(8 * layer.weight.nbytes for layer in dense)
        energy, timing = report.energy, report.timing
        return Point(
            bits, bits - (before or bits), len(mapping.cores), mapping.chips,
            None if energy is None else energy.value, None if timing is None else timing.value,
            stored / sum(layer.weight.size for layer in dense),
        )  # fmt: skip

    def point(self, chosen: Mapping[str, Candidate]) -> tuple[LanguageModel, Point]:
        """The network of a choice, placed, scored and priced."""
        network = adopt(self._network, chosen)
        return network, self._measured(network, self.before.bits_per_token)

    def _under_cores(self, most: int) -> dict[str, Candidate]:
        """The least loss on ``most`` cores: bytes are cut until whole rows fit as well."""
        capacity = weights_per_core(self._profile, self._packing)
        least_bytes = sum(min(row) for row in self._bytes)
        size, cores = float(most * capacity), 0
        for _ in range(ROUNDS):
            tried = max(size, least_bytes)
            chosen = self.chosen(tried)
            cores = len(partition(adopt(self._network, chosen), self._profile, self._packing))
            if cores <= most:
                return chosen
            if tried == least_bytes:
                raise InputError(
                    f"the smallest network that was tried takes {cores} cores, the budget is "
                    f"{most}.",
                    advice="Allow more cores or chips, or train a smaller model.",
                )
            size = min(sum(map(_bytes, chosen.values())), size) - (cores - most) * capacity * 0.9
        raise InputError(
            f"no choice was found that fits {most} cores; the nearest takes {cores}.",
            advice="Allow a few more.",
        )

    def fit(self, budget: Budget) -> Fit:
        """The network that loses least under ``budget``, and the front around it.

        Raises ``InputError`` where even the smallest network exceeds it.
        """
        whole = sum(max(row) for row in self._bytes)
        front = []
        for i, share in enumerate(FRONT):
            self._progress("front", i, len(FRONT) + 1)
            size = max(share * whole, sum(min(row) for row in self._bytes))
            front.append(self.point(self.chosen(size))[1])
        if budget.joules is not None:
            chosen = self._under_joules(budget.joules, whole)
        else:
            per_chip = self._profile.limit("cores_per_chip") or 1
            most = budget.cores if budget.cores is not None else (budget.chips or 0) * per_chip
            chosen = self._under_cores(most)
        network, point = self.point(chosen)
        self._progress("front", len(FRONT) + 1, len(FRONT) + 1)
        point = replace(point, chosen=True)
        points = sorted({*front, self.before, point}, key=lambda p: (-p.cores, p.bits_per_token))
        choices = {name: option.choice for name, option in chosen.items()}
        quantisation = {
            **network.info.quantisation,
            "rounding": "error-compensating",
            "weight_bits": {name: choice.bits for name, choice in choices.items()},
            "pruned": {name: c.pruned for name, c in choices.items() if c.pruned},
        }
        info = replace(network.info, quantisation=quantisation)
        return Fit(replace(network, info=info), choices, point, tuple(points))

    def _under_joules(self, most: float, whole: float) -> dict[str, Candidate]:
        """The most bytes whose network takes at most ``most`` joules a token, by halving."""
        if self.before.joules is None:
            raise InputError(f"the profile {self._profile.name!r} has no energies: no joules.")
        low, high = sum(min(row) for row in self._bytes), whole
        chosen = self.chosen(low)
        smallest = self.point(chosen)[1].joules
        if smallest is None or smallest > most:
            raise InputError(
                f"the smallest network takes {smallest:.3g} J a token, the budget is {most:.3g} J."
            )
        for _ in range(ROUNDS):
            middle = (low + high) / 2
            tried = self.chosen(middle)
            joules = self.point(tried)[1].joules
            if joules is not None and joules <= most:
                low, chosen = middle, tried
            else:
                high = middle
        return chosen


def _bytes(option: Candidate) -> float:
    """Bytes of synapse memory, in the smaller encoding."""
    outputs, inputs = option.weight.shape
    block = SynapseBlock(inputs, option.choice.bits, Fraction(option.non_zero, outputs))
    return synapse_bits((block,), _ROWS_ON_A_CORE) * outputs / _ROWS_ON_A_CORE / 8


def _score(network: LanguageModel, windows: npt.NDArray[np.int64]) -> tuple[float, Counters]:
    """Bits a token of the text and the events of the run."""
    bits = []
    with EmulatorSession(network) as session:
        for window in windows:
            session.reset()
            logits = session.score(window.tolist())
            bits.append(prediction_bits(logits[:-1], window[1:], network.logit_scale))
        return float(np.concatenate(bits).mean()), session.counters
