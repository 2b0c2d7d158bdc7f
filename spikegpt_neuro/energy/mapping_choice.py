"""The mapping of least time or least energy, and how much it wins over simple ones.

Free cores go, a few at a time, to the populations that bound a step, where they shorten a token
most, or lower its energy most, for each core they take (``busy``). Mappings along these two paths
are placed and priced whole, as ``energy`` prices any mapping, and the best is kept; the simple ones
are among them, so that the choice is never worse. The same counts give the same mapping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np

from spikegpt_neuro.energy.activity import activities
from spikegpt_neuro.energy.busy import PREFILL, FloatArray, Int64Array, busy_groups, divisions
from spikegpt_neuro.energy.pricing import Bill, bill
from spikegpt_neuro.energy.timing import MODES, Mode, check_mode
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import Mapping, map_network
from spikegpt_neuro.mapping.cores import Core
from spikegpt_neuro.mapping.mapping import place_cores
from spikegpt_neuro.mapping.partition import cut_into
from spikegpt_neuro.network import Network

Aim = Literal["time", "energy"]
AIMS: Final[tuple[Aim, ...]] = ("time", "energy")

_RUNGS: Final = 7
"""Mappings along a path that are priced first."""


@dataclass(frozen=True, eq=False)
class PricedMapping:
    """A mapping and its bill in every mode looked at."""

    mapping: Mapping
    bills: dict[Mode, Bill]

    def seconds(self, mode: Mode) -> float:
        """Of a token."""
        timing = self.bills[mode].timing
        assert timing is not None
        return timing.value

    def joules(self, mode: Mode) -> float | None:
        """Of a token; None where the profile knows no energies."""
        found = self.bills[mode]
        return float(found.joules_per_token) if found.parts else None

    def figure(self, aim: Aim, mode: Mode) -> float | None:
        """What is to be least: seconds or joules a token."""
        return self.seconds(mode) if aim == "time" else self.joules(mode)


@dataclass(frozen=True, eq=False)
class MappingChoice:
    """The mapping of least ``aim``, and the simple ones it is compared with.

    ``modes``: whose figures are to be least; of two, their product is, so that a per cent of one
    weighs as much as a per cent of the other. ``baseline``: as few cores as hold the network, each
    filled after the other (``packed``). ``spread``: what ``map`` does without an aim.
    ``looked_at``: mappings that were priced.
    """

    aim: Aim
    modes: tuple[Mode, ...]
    baseline: PricedMapping
    spread: PricedMapping
    chosen: PricedMapping
    looked_at: int

    @property
    def rows(self) -> tuple[tuple[str, PricedMapping], ...]:
        """The simple mappings and the choice, by name."""
        return ("packed", self.baseline), ("spread", self.spread), (self.aim, self.chosen)

    def gain(self, aim: Aim, mode: Mode, other: PricedMapping) -> float | None:
        """How many times the chosen mapping's figure the other's is."""
        ours, theirs = self.chosen.figure(aim, mode), other.figure(aim, mode)
        return None if ours is None or theirs is None else theirs / ours

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``found``: which mapping is the least, where a simple one is."""
        return {
            "for": self.aim,
            "modes": list(self.modes),
            "found": self.chosen.mapping.spread,
            "mappings_priced": self.looked_at,
            "compared": [
                {
                    "mapping": name,
                    "cores": len(priced.mapping.cores),
                    "chips": priced.mapping.chips,
                    "rules_broken": len(priced.mapping.violations),
                    **{mode: self._figures(mode, priced) for mode in MODES},
                }
                for name, priced in self.rows
            ],
        }

    def _figures(self, mode: Mode, priced: PricedMapping) -> dict[str, float | None]:
        return {
            "seconds_per_token": priced.seconds(mode),
            "joules_per_token": priced.joules(mode),
            "seconds_over_those_of_the_choice": self.gain("time", mode, priced),
            "joules_over_those_of_the_choice": self.gain("energy", mode, priced),
        }


def choose_mapping(
    network: Network, profile: Profile, counters: Counters, aim: Aim, *, packing: str = "middle",
    modes: Sequence[Mode] = MODES, progress: Callable[[int, int], None] | None = None,
) -> MappingChoice:  # fmt: skip
    """Divide the free cores of the chips that are needed anyway so that ``aim`` is least.

    ``counters`` of a run of ``network``. Raises InputError where the profile describes no cores,
    or has no times or no energies to choose by.
    """
    if aim not in AIMS:
        raise InputError(f"aim {aim!r} is unknown; allowed: {', '.join(AIMS)}.")
    checked = tuple(check_mode(mode) for mode in modes)
    return _Search(network, profile, counters, aim, packing, checked, progress).run()


def mapping_for(
    network: Network, profile: Profile, counters: Counters, aim: Aim | None, *, packing: str,
    spread: str, modes: Sequence[Mode] = MODES,
) -> Mapping:  # fmt: skip
    """The mapping of least ``aim``; where the profile cannot price that, or without an aim, the
    simple one of that ``spread``.

    Raises InputError where the profile describes no cores.
    """
    needed = {"time": "synaptic_operation_time", "energy": "synaptic_operation"}
    if aim is None or not {needed["time"], needed[aim]} <= set(profile.coefficients):
        return map_network(network, profile, packing, counters, spread)
    return choose_mapping(
        network, profile, counters, aim, packing=packing, modes=modes
    ).chosen.mapping


class _Search:
    def __init__(
        self, network: Network, profile: Profile, counters: Counters, aim: Aim, packing: str,
        modes: tuple[Mode, ...], progress: Callable[[int, int], None] | None,
    ) -> None:  # fmt: skip
        self._network, self._profile, self._packing = network, profile, packing
        self._aim, self._modes, self._progress = aim, modes, progress
        self._has_energies = "synaptic_operation" in profile.coefficients
        packed = map_network(network, profile, packing, counters, "packed")
        self._machine = packed.machine
        counted = self._machine.counters(counters)
        assert counted is not None
        self._counters = counted
        self._layers = activities(self._machine, counted)
        self._priced: dict[tuple[int, ...], PricedMapping | None] = {}
        self._baseline = self._price(packed)
        self._spread = self._price(map_network(network, profile, packing, counters, "spread"))
        self._busy = busy_groups(self._layers, packed)

    def run(self) -> MappingChoice:
        """Price rungs of the paths, then those between the best and its neighbours.

        Of time and of energy there is a path each; either may hold the least of the other.
        """
        per_chip = self._profile.limit("cores_per_chip") or 0
        spare = self._baseline.mapping.chips * per_chip - len(self._baseline.mapping.cores)
        known = [self._baseline, self._spread]
        for aim in AIMS if self._has_energies else AIMS[:1]:
            path = list(divisions(self._busy, spare, partial(self._worth, aim)))
            known += self._climb(path)
        chosen = min(known, key=lambda p: (self._figure(p), len(p.mapping.cores)))
        return MappingChoice(
            self._aim, self._modes, self._baseline, self._spread, chosen, len(self._priced) + 2
        )

    def _climb(self, path: list[Int64Array]) -> list[PricedMapping]:
        """The best mapping of a path, if any of those priced breaks no rule."""
        rungs = sorted({round(i) for i in np.linspace(0, len(path) - 1, _RUNGS)})
        best = self._least(path, rungs)
        while near := [(a + b) // 2 for a, b in pairwise(rungs) if best in (a, b) and b - a > 1]:
            rungs = sorted({*rungs, *near})
            best = self._least(path, rungs)
        found = self._divided(path[best])
        return [] if found is None else [found]

    def _price(self, mapping: Mapping) -> PricedMapping:
        bills = {
            mode: bill(self._network, self._layers, self._profile, mapping, mode)
            for mode in dict.fromkeys((*MODES, *self._modes))
        }
        priced = PricedMapping(mapping, bills)
        if any(found.timing is None for found in bills.values()):
            raise InputError(
                f"The profile {self._profile.name!r} knows no times of operations, so no mapping "
                "can be chosen by time or energy.",
                advice="`profiles` lists targets; `map` without an aim needs no times.",
            )
        if self._aim == "energy" and not self._has_energies:
            raise InputError(f"The profile {self._profile.name!r} knows no energies to choose by.")
        return priced

    def _figure(self, priced: PricedMapping) -> float:
        """The product of the modes' figures."""
        figures = [priced.figure(self._aim, mode) for mode in self._modes]
        return math.prod(figure for figure in figures if figure is not None)

    def _least(self, path: list[Int64Array], rungs: list[int]) -> int:
        """The rung of the least figure; of equal ones the first, which has fewer cores."""
        figures = []
        for i in rungs:
            priced = self._divided(path[i])
            figures.append(math.inf if priced is None else self._figure(priced))
            if self._progress is not None:
                self._progress(len(self._priced), max(len(rungs), len(self._priced)))
        return rungs[int(np.argmin(figures))]

    def _divided(self, counts: Int64Array) -> PricedMapping | None:
        """The mapping with these cores for each group; None where it breaks a rule more."""
        key = tuple(counts.tolist())
        if key not in self._priced:
            groups = dict(zip(self._busy.groups, key, strict=True))
            cores = cut_into(self._machine, self._profile, self._packing, groups)
            self._priced[key] = None if cores is None else self._placed(cores)
        return self._priced[key]

    def _placed(self, cores: tuple[Core, ...]) -> PricedMapping | None:
        mapping = place_cores(
            self._machine, self._profile, self._packing, self._counters, self._aim, cores
        )
        simple = self._baseline.mapping
        if mapping.chips > simple.chips or len(mapping.violations) > len(simple.violations):
            return None
        return self._price(mapping)

    def _worth(self, aim: Aim, counts: Int64Array, seconds: FloatArray) -> float:
        """The logarithm of the product of the modes' figures, as the model sees them.

        A token takes the host's time and that of its steps; energy is what is not static, as it was
        priced once, and the chips' and cores' power over that time.
        """
        total = 0.0
        for mode in self._modes:
            part = seconds[PREFILL] if mode == "pipelined" else seconds[PREFILL + 1 :].sum()
            timing = self._baseline.bills[mode].timing
            assert timing is not None
            figure = float(part) + timing.host_seconds
            if aim == "energy":
                work, chips, core = self._powers[mode]
                figure = work + (chips + core * int(counts.sum())) * figure
            total += math.log(figure)
        return total

    @cached_property
    def _powers(self) -> dict[Mode, tuple[float, float, float]]:
        """Of each mode: joules that are not static, watts of all chips, watts of one core."""
        found = {}
        core = self._profile.coefficients.get("power_per_core_in_use")
        each = 0.0 if core is None else float(core.value)
        for mode, priced in self._baseline.bills.items():
            assert priced.timing is not None
            static = sum(float(p.value) for p in priced.parts if p.category in ("static", "host"))
            work = float(priced.joules_per_token) - static
            cores = len(self._baseline.mapping.cores)
            found[mode] = work, static / priced.timing.value - each * cores, each
        return found
