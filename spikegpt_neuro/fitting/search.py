"""The smaller network that loses least under a budget of cores, chips or joules.

Every projection is rounded in every way of ``WIDTHS`` and its effect alone is measured
(``sensitivity``). An integer programme then picks one way for each projection, the least loss for
so many bytes of synapses; the network so made is placed on cores, scored and priced. A row of
budgets gives the front of what can be had; the one asked for is met exactly.

Under a budget of joules ``PRUNINGS`` and fewer levels of graded spikes (``spike_levels``) are
searched too, which take as many cores as before, and the programme weighs losses against the
joules that each way is foreseen to save (``prices``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.converters.budget import least
from spikegpt_neuro.converters.moments import Moments
from spikegpt_neuro.converters.reduction import Candidate, Choice, Progress, adopt
from spikegpt_neuro.converters.sensitivity import AnyOption, candidates, sensitivities
from spikegpt_neuro.converters.spike_levels import (
    clip_spikes,
    clips,
    largest_gains,
    mean_levels,
)
from spikegpt_neuro.energy.report import EnergyReport, build_report
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.fitting.points import Budget, Chosen, Fit, Point
from spikegpt_neuro.fitting.prices import Saved, level_savings, operations, unit_prices
from spikegpt_neuro.fitting.store import Store
from spikegpt_neuro.generation import network_digest
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import map_network
from spikegpt_neuro.mapping.cores import weights_per_core
from spikegpt_neuro.mapping.encoding import SynapseBlock, synapse_bits
from spikegpt_neuro.mapping.machine import machine_of
from spikegpt_neuro.mapping.partition import partition
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.predictions import prediction_bits

WIDTHS = tuple(Choice(bits) for bits in (2, 3, 4, 5, 6, 8))
PRUNINGS = (Choice(4, 0.3), Choice(4, 0.5), Choice(3, 0.5), Choice(4, 0.75))
"""Added for a budget of joules: synapses that are not there cost no operation."""
FRONT = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3)
"""Budgets of the front, as shares of the synapses' bytes now, or of the joules that can go."""
MEASURED_TOKENS = 4_096
"""Tokens of the text on which each network of the front is scored and its events are counted."""
ROUNDS = 8
"""Times a choice is made anew because whole rows and cores took more than their bytes."""
_ROWS_ON_A_CORE = 64
"""Neurons assumed on a core where lists of synapses are weighed, before there are cores."""

Mode = Literal["pipelined", "fall-through"]


class Fitting:
    """One search: candidates and sensitivities once, then any number of budgets."""

    def __init__(
        self, network: LanguageModel, windows: npt.NDArray[np.int64], profile: Profile, *,
        packing: str = "middle", mode: Mode = "fall-through", joules: bool = False,
        threads: int = 1, folder: Path | None = None,
        progress: Progress = lambda what, step, steps: None,
    ) -> None:  # fmt: skip
        """``joules``: a budget of joules will be asked for, so that pruning and levels are tried.
        ``folder`` keeps what was computed, so that a search broken off goes on there."""
        self._network, self._windows, self._profile = network, windows, profile
        self._packing, self._mode, self._progress = packing, mode, progress
        count = min(len(windows), max(1, MEASURED_TOKENS // windows.shape[1]))
        self._scored = windows[np.linspace(0, len(windows) - 1, count).astype(int)]
        self.before, self._counters = self._measured(network)  # refuses a profile without cores
        if joules and self.before.joules is None:
            raise InputError(f"the profile {profile.name!r} has no energies: no joules.")
        self.choices = WIDTHS + (PRUNINGS if joules else ())
        store = None if folder is None else Store(folder, self._key(), network, self.choices)
        self.clips = clips(network, self._scored) if joules else {}
        self.table = candidates(
            network, Moments(network, windows), self.choices, threads=threads, store=store,
            gains=largest_gains(network, self.clips), progress=progress,
        )  # fmt: skip
        known = None if store is None else store.sensitivities([*self.table, *self.clips])
        if known is None:
            told = partial(sensitivities, network, windows, threads=threads, progress=progress)
            known = told(self.table, adopt) | told(self.clips, clip_spikes)
        if store is not None:
            store.keep_sensitivities(known)
        self._losses = [
            [known[name] * option.error for option in options]
            for options_of in (self.table, self.clips)
            for name, options in options_of.items()
        ]
        self._bytes = [[_bytes(option) for option in options] for options in self.table.values()]

    def _key(self) -> str:
        digest = hashlib.sha256(network_digest(self._network).encode())
        digest.update(self._windows.tobytes())
        digest.update(repr(self.choices).encode())
        return digest.hexdigest()

    def chosen(self, size: float) -> Chosen:
        """The least loss with synapses of ``size`` bytes at most, no spikes clipped."""
        picked = least(self._losses[: len(self.table)], self._bytes, size)
        return Chosen(_taken(self.table, picked))

    def chosen_by_joules(self, limit: float) -> Chosen:
        """The least loss of what is foreseen to take ``limit`` joules, see ``_joules``."""
        picked = least(self._losses, self._joules, limit)
        count = len(self.table)
        return Chosen(_taken(self.table, picked[:count]), _taken(self.clips, picked[count:]))

    @cached_property
    def _joules(self) -> list[list[float]]:
        """Joules a token foreseen for each option: of projections what their bytes and operations
        take, of populations what they take beyond their fewest levels."""
        narrow = {
            name: min(options, key=lambda one: (one.choice.prunes, one.choice.bits))
            for name, options in self.table.items()
        }
        sparse = {
            name: max(options, key=lambda one: one.choice.pruned)
            for name, options in self.table.items()
        }
        byte, operation = unit_prices([self._saved(narrow), self._saved(sparse)])
        taken = [
            [
                byte * size + operation * operations(self._network, name, one, self._counters)
                for size, one in zip(sizes, options, strict=True)
            ]
            for (name, options), sizes in zip(self.table.items(), self._bytes, strict=True)
        ]
        savings = level_savings(self._network, self.clips, self._joules_of)
        return taken + [[max(row) - saved for saved in row] for row in savings.values()]

    def _saved(self, chosen: Mapping[str, Candidate]) -> Saved:
        """What these candidates save, measured."""
        joules = self.point(Chosen(chosen))[1].joules
        assert joules is not None and self.before.joules is not None
        size, work = 0.0, 0.0
        for name, one in chosen.items():
            layer = self._network[name]
            assert isinstance(layer, Dense)
            own = Candidate(Choice(layer.weight_bits), layer.weight, one.scale, one.row_errors)
            size += _bytes(own) - _bytes(one)
            work += operations(self._network, name, own, self._counters)
            work -= operations(self._network, name, one, self._counters)
        return Saved(size, work, self.before.joules - joules)

    def _report(self, network: LanguageModel, counters: Counters) -> EnergyReport:
        # packed: a budget of cores or chips asks for the least; spreading fills every free core
        mapping = map_network(network, self._profile, self._packing, counters, "packed")
        return build_report(network, counters, self._profile, mode=self._mode, mapping=mapping)

    def _joules_of(self, network: LanguageModel) -> float:
        """Joules a token with the events of the network as it was."""
        energy = self._report(network, self._counters).energy
        assert energy is not None
        return energy.value

    def _measured(
        self, network: LanguageModel, before: float | None = None
    ) -> tuple[Point, Counters]:
        bits, counters = _score(network, self._scored)
        report = self._report(network, counters)
        mapping = report.mapping
        assert mapping is not None
        dense = [layer for layer in network.layers if isinstance(layer, Dense)]
        stored = sum(8 * layer.weight.nbytes for layer in dense)
        energy, timing = report.energy, report.timing
        return Point(
            bits, bits - (before or bits), len(mapping.cores), mapping.chips,
            None if energy is None else energy.value, None if timing is None else timing.value,
            stored / sum(layer.weight.size for layer in dense), mean_levels(network),
        ), counters  # fmt: skip

    def point(self, chosen: Chosen) -> tuple[LanguageModel, Point]:
        """The network of a choice, placed, scored and priced."""
        network = chosen.network(self._network)
        return network, self._measured(network, self.before.bits_per_token)[0]

    def _under_cores(self, most: int) -> Chosen:
        """The least loss on ``most`` cores: bytes are cut until whole rows fit as well."""
        capacity = weights_per_core(self._profile, self._packing)
        least_bytes = sum(min(row) for row in self._bytes)
        size, cores = float(most * capacity), 0
        for _ in range(ROUNDS):
            tried = max(size, least_bytes)
            chosen = self.chosen(tried)
            machine = machine_of(chosen.network(self._network), self._profile)
            cores = len(partition(machine, self._profile, self._packing))
            if cores <= most:
                return chosen
            if tried == least_bytes:
                raise InputError(
                    f"the smallest network that was tried takes {cores} cores, the budget is "
                    f"{most}.",
                    advice="Allow more cores or chips, or train a smaller model.",
                )
            taken = sum(map(_bytes, chosen.weights.values()))
            size = min(taken, size) - (cores - most) * capacity * 0.9
        raise InputError(
            f"no choice was found that fits {most} cores; the nearest takes {cores}.",
            advice="Allow a few more.",
        )

    def fit(self, budget: Budget) -> Fit:
        """The network that loses least under ``budget``, and the front around it.

        Raises ``InputError`` where even the smallest network exceeds it.
        """
        front = []
        for i, share in enumerate(FRONT):
            self._progress("front", i, len(FRONT) + 1)
            chosen = self._at(share, by_joules=budget.joules is not None)
            front.append((chosen, self.point(chosen)[1]))
        if budget.joules is not None:
            chosen = self._under_joules(budget.joules, front)
        else:
            per_chip = self._profile.limit("cores_per_chip") or 1
            most = budget.cores if budget.cores is not None else (budget.chips or 0) * per_chip
            chosen = self._under_cores(most)
        network, point = self.point(chosen)
        self._progress("front", len(FRONT) + 1, len(FRONT) + 1)
        others = {self.before, *(found for _, found in front)} - {point}
        points = sorted({*others, replace(point, chosen=True)}, key=lambda p: p.bits_per_token)
        points.sort(key=lambda p: -p.cores if budget.joules is None else -(p.joules or 0.0))
        choices = {name: option.choice for name, option in chosen.weights.items()}
        levels = {name: clip.levels for name, clip in chosen.levels.items()}
        quantisation = {
            **network.info.quantisation,
            "rounding": "error-compensating",
            "weight_bits": {name: choice.bits for name, choice in choices.items()},
            "pruned": {name: c.pruned for name, c in choices.items() if c.pruned},
        }
        if levels:
            quantisation["levels"] = levels
        info = replace(network.info, quantisation=quantisation)
        return Fit(replace(network, info=info), choices, levels, point, tuple(points))

    def _at(self, share: float, *, by_joules: bool) -> Chosen:
        """The choice at a share of the front."""
        rows = self._joules if by_joules else self._bytes
        least_, most = (sum(f(row) for row in rows) for f in (min, max))
        if by_joules:
            return self.chosen_by_joules(least_ + share * (most - least_))
        return self.chosen(max(share * most, least_))

    def _under_joules(self, most: float, known: Sequence[tuple[Chosen, Point]]) -> Chosen:
        """Of all networks tried, ``known`` among them, the one of least loss that takes at most
        ``most`` joules a token: what is foreseen is limited by halving."""
        low, high = (sum(f(row) for row in self._joules) for f in (min, max))
        tried = list(known)

        def joules(point: Point) -> float:
            assert point.joules is not None
            return point.joules

        whole = self.chosen_by_joules(high)
        if joules(self.point(whole)[1]) <= most:
            return whole
        limit = low
        for i in range(ROUNDS + 1):
            self._progress("joules", i, ROUNDS + 1)
            chosen = self.chosen_by_joules(limit)
            tried.append((chosen, self.point(chosen)[1]))
            if joules(tried[-1][1]) <= most:
                low = limit
            elif limit == low:
                break  # nothing less is foreseen
            else:
                high = limit
            limit = (low + high) / 2
        keeping = [one for one in tried if joules(one[1]) <= most]
        if not keeping:
            smallest = min(joules(point) for _, point in tried)
            raise InputError(
                f"the smallest network takes {smallest:.3g} J a token, the budget is {most:.3g} J."
            )
        return min(keeping, key=lambda one: one[1].bits_per_token)[0]


def _taken(table: Mapping[str, Sequence[AnyOption]], picked: Sequence[int]) -> dict[str, AnyOption]:
    return {
        name: options[index]
        for (name, options), index in zip(table.items(), picked, strict=True)
    }  # fmt: skip


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
