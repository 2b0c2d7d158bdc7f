"""Time of a token: in every step the busiest of several resources, and what it is.

    t_step = max(compute, synapses, spikes in, spikes out, links, overhead) + t_barrier
      compute    max over cores  N_active t_act + N_idle t_idle + N_ops t_op
      synapses   max over cores  N_syn t_syn
      spikes     max over cores  N_in t_in, and N_out t_out
      links      max over links  N_packets t_link
      overhead   the shortest step that boards show: synchronisation, and what hides behind it
      barrier    synchronisation alone, where the profile knows that instead
    pipelined     t_token = t_step
    fall-through  t_token = sum over time steps of t_step + host round trip
    closed-loop   t_token = sum over time steps of t_step

Steps are those of the machine (``mapping.machine``): of the fine graph on targets that load it,
else one a neuron layer.

Pipelined (prefill, scoring): every layer works on a different token, a token leaves every step.
Fall-through (generation): one token walks through the layers, one neuron layer a step, while all
other neurons are updated idle; then the host chooses the next one. Closed loop: the same of a
network that chooses by itself (``network.selection``), whose winner enters as the next token.

The maximum, with the least times of the profile, is the low end: resources overlap fully, and as
far as those times are least ones it is a lower bound. The high end adds up what one core does and
the overhead, with the largest times. On several chips the high end of generation lets every step
last as long as one of prefill, as the one published run of a language model does.

Sources: J. Timcheck et al., arXiv 2601.10035 (maximum of compute and communication); J. Yik et al.,
arXiv 2511.21549 (memory-, compute- and traffic-bound states, by the busiest core).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.arithmetic.equations import operations
from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import Mapping
from spikegpt_neuro.mapping.mapping import Load
from spikegpt_neuro.mapping.roles import synapses_of
from spikegpt_neuro.mapping.units import Machine
from spikegpt_neuro.mapping.work import time_of
from spikegpt_neuro.network.layers import Lif

Mode = Literal["pipelined", "fall-through", "closed-loop"]
MODES: Final[tuple[Mode, ...]] = ("pipelined", "fall-through")
"""Modes of every event-driven target."""
CLOSED_LOOP: Final[Mode] = "closed-loop"
EVERY_MODE: Final[tuple[Mode, ...]] = (*MODES, CLOSED_LOOP)
"""The same and that of targets on which a network can choose its tokens itself."""

MODE_TITLES: Final[dict[Mode, str]] = {
    "pipelined": "prefill (pipelined)",
    "fall-through": "generation (fall-through)",
    "closed-loop": "generation, closed on the chip (greedy)",
}
"""What a mode is used for."""

LIF_OPERATIONS: Final = sum(
    operations(Lif.equation, frozenset({*Lif.array_specs(), *Lif.scalar_ranges()})).values()
)
"""Element-wise operations of one LIF update, which a neuron update's coefficient covers."""

ENDS: Final = ("low", "value", "high")
"""Ends of every range, and its middle."""

RESOURCES: Final = ("compute", "synapses", "spikes in", "spikes out", "links", "overhead")
"""What can bound a step."""

_NANOSECONDS: Final = 1e-9
FloatArray = npt.NDArray[np.float64]


def modes_named(name: str) -> tuple[Mode, ...]:
    """``all`` modes, ``both`` that every event-driven target has, or the one of that name.

    Raises ``InputError`` for another name.
    """
    groups = {"all": EVERY_MODE, "both": MODES}
    return groups[name] if name in groups else (check_mode(name),)


def check_mode(mode: str) -> Mode:
    """The mode, or InputError."""
    for known in EVERY_MODE:
        if mode == known:
            return known
    raise InputError(f"mode {mode!r} is unknown; allowed: {', '.join(EVERY_MODE)}.")


def extra_operations(layer: LayerActivity) -> int:
    """Element-wise operations over the text beyond those of a LIF update for every neuron."""
    if layer.role != "neuron":
        return 0
    return max(0, sum(layer.elementwise.values()) - LIF_OPERATIONS * layer.size * layer.tokens)


def synaptic_work(layer: LayerActivity, profile: Profile) -> int:
    """Synaptic operations the target performs: all products where it cannot skip zeros."""
    if profile.can("event_driven_synapses") is False:
        return layer.dense_operations
    return layer.synaptic_operations


@dataclass(frozen=True)
class Step:
    """One time step: its seconds, what bounds it, and the layers of the busiest core."""

    number: int
    seconds: float
    bottleneck: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Timing:
    """Seconds a token (low, value, high), the time steps a token needs, and the busiest core.

    ``each_step``: the steps of a token at the middle values; one where tokens are pipelined.
    ``overhead_share``: part of the time in steps that neither work nor traffic bounds;
    ``host_seconds``: waiting for the host, part of ``value``.
    """

    mode: Mode
    steps: int
    low: float
    value: float
    high: float
    busiest_core: int
    busiest_layers: tuple[str, ...]
    overhead_share: float
    host_seconds: float
    each_step: tuple[Step, ...]

    @property
    def fill_steps(self) -> int:
        """Time steps before the first token leaves, beyond its own."""
        return self.steps - 1 if self.mode == "pipelined" else 0

    @property
    def latency(self) -> float:
        """Seconds from a token's arrival to its result."""
        return self.value * (1 + self.fill_steps)

    @property
    def bottlenecks(self) -> dict[str, float]:
        """Seconds a token by what bounds the steps they are spent in, longest first."""
        found: dict[str, float] = {}
        for step in self.each_step:
            found[step.bottleneck] = found.get(step.bottleneck, 0.0) + step.seconds
        if self.host_seconds:
            found["host"] = self.host_seconds
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def seconds(self, tokens: float) -> float:
        """Seconds of a sequence: a pipeline must fill before its first result."""
        return self.value * (tokens + self.fill_steps)


def token_time(
    layers: tuple[LayerActivity, ...], mapping: Mapping, profile: Profile, mode: Mode
) -> Timing | None:
    """The time, or None where the profile has no time of a synaptic operation."""
    if "synaptic_operation_time" not in profile.coefficients:
        return None
    clocks = {which: Clock(layers, mapping, profile, which) for which in ENDS}
    each: dict[str, tuple[Step, ...]]
    if mode == "pipelined":
        each = {which: (clock.pipelined(),) for which, clock in clocks.items()}
    else:
        each = {which: clock.fall_through() for which, clock in clocks.items()}
    # fsum, here and in all reports: since Python 3.12 sum() has another last digit
    seconds = {which: math.fsum(step.seconds for step in steps) for which, steps in each.items()}
    host = {which: 0.0 for which in clocks}
    if mode == "fall-through":
        host = {which: clock.host_round_trip for which, clock in clocks.items()}
    if mode != "pipelined":
        seconds["high"] = max(seconds["high"], clocks["high"].least_step * len(each["high"]))
    value = seconds["value"] + host["value"]
    busiest = clocks["value"].busiest()
    overhead = math.fsum(step.seconds for step in each["value"] if step.bottleneck == "overhead")
    return Timing(
        mode, mapping.machine.steps, seconds["low"] + host["low"], value,
        seconds["high"] + host["high"], busiest,
        tuple(part.layer for part in mapping.cores[busiest].slices),
        overhead / value if value else 0.0, host["value"], each["value"],
    )  # fmt: skip


class Clock:
    """Times of all cores at one end of a profile's ranges; ``high`` lets nothing overlap."""

    def __init__(
        self, layers: tuple[LayerActivity, ...], mapping: Mapping, profile: Profile, which: str
    ) -> None:
        self._profile = profile
        self._which = which
        self._mapping = mapping
        each = neuron_times(layers, mapping.machine, profile, which)
        visits = mapping.machine.visits
        # a slice once for every step it works in; synapses are read for the last of them
        held = [
            (n, part, step, step == visits[part.layer][0], step == visits[part.layer][-1])
            for n, core in enumerate(mapping.cores)
            for part in core.slices
            for step in visits[part.layer]
        ]
        slices = [(n, part) for n, part, *_ in held]
        self._core = np.array([n for n, _ in slices], np.int64)
        self._step = np.array([step for _, _, step, _, _ in held], np.int64)
        self._begin = np.array([visits[part.layer][0] for _, part in slices], np.int64)
        self._first = np.array([first for *_, first, _ in held], bool)
        last = np.array([end for *_, end in held], bool)
        neurons = np.array([part.neurons for _, part in slices], np.float64)
        self._compute = neurons * np.array([each[part.layer][0] for _, part in slices])
        self._synapses = last * neurons * np.array([each[part.layer][1] for _, part in slices])
        self._idle = neurons * self.time("neuron_update_idle")
        self._count = len(mapping.cores)
        curve = profile.curves.get("barrier_time")
        self._barrier = float(curve.at(mapping.tiles_per_chip)) if curve is not None else 0.0
        self.overhead = self.time("step")

    def time(self, name: str) -> float:
        """See ``time_of``."""
        return time_of(self._profile, name, self._which)

    @property
    def host_round_trip(self) -> float:
        """Seconds until the host has answered."""
        return self.time("host_round_trip") * _NANOSECONDS

    @property
    def least_step(self) -> float:
        """Seconds below which no step of generation is: at the high end on several chips those of
        one of prefill, else 0."""
        spans = self._which == "high" and self._mapping.chips > 1
        return self.pipelined().seconds if spans else 0.0

    def busiest(self) -> int:
        """The core that is busy longest, over a whole token."""
        work = np.maximum(self._all_compute(), self._over_cores(self._synapses))
        return int(work.argmax())

    def pipelined(self) -> Step:
        """The step in which everything works."""
        load = self._mapping.load_of(0)
        return self._step_of(0, self._all_compute(), self._over_cores(self._synapses), load)

    def _all_compute(self) -> FloatArray:
        """Of every core while all layers work: one update of each neuron."""
        return self._over_cores(np.where(self._first, self._compute, 0.0))

    def fall_through(self) -> tuple[Step, ...]:
        """The steps of one token, in order."""
        steps = self._mapping.machine.steps
        return tuple(self.step_with((number,)) for number in range(1, steps + 1))

    def step_with(self, depths: Sequence[int]) -> Step:
        """A step in which a token is at each of these steps of its way; all else rests.

        A neuron that two of them meet is updated once. Packets over the busiest link are at most
        those of all these steps, and at most those of a step in which everything works.
        """
        resting = self._over_cores(np.where(self._first, self._idle, 0.0))
        here = np.isin(self._step, depths)
        once = here & (self._first | ~np.isin(self._begin, depths))
        compute = resting + self._over_cores(np.where(once, self._compute - self._idle, 0.0))
        synapses = self._over_cores(np.where(here, self._synapses, 0.0))
        loads = [self._mapping.load_of(number) for number in depths]
        load = loads[0]
        if len(loads) > 1:
            link = math.fsum(part.link for part in loads)
            load = Load(
                np.sum([part.received for part in loads], 0),
                np.sum([part.sent for part in loads], 0),
                min(link, self._mapping.load_of(0).link),
            )
        return self._step_of(depths[0], compute, synapses, load)

    def _over_cores(self, times: FloatArray) -> FloatArray:
        return np.bincount(self._core, times, self._count).astype(np.float64)

    def _step_of(self, number: int, compute: FloatArray, synapses: FloatArray, load: Load) -> Step:
        arrays = (
            compute,
            synapses,
            load.received * self.time("spike_in"),
            load.sent * self.time("spike_out"),
        )
        longest = [float(values.max(initial=0.0)) for values in arrays]
        busy = [*longest, load.link * self.time("link"), self.overhead]
        bottleneck = busy.index(max(busy))
        longest_of_all = max(busy)
        if self._which == "high":
            together = compute + synapses + arrays[2] + arrays[3]
            longest_of_all = max(float(together.max(initial=0.0)), busy[4]) + self.overhead
        core = int(arrays[bottleneck if bottleneck < 4 else 0].argmax())
        return Step(
            number,
            (longest_of_all + self._barrier) * _NANOSECONDS,
            RESOURCES[bottleneck],
            tuple(part.layer for part in self._mapping.cores[core].slices),
        )


def neuron_times(
    layers: tuple[LayerActivity, ...], machine: Machine, profile: Profile, which: str
) -> dict[str, tuple[float, float]]:
    """Nanoseconds a token that one neuron of each layer keeps its core computing, and that its
    synapses keep the synaptic memory busy."""
    activity = {layer.name: layer for layer in layers}
    ends = synapses_of(machine)
    active, idle, operation, synapse = (
        time_of(profile, name, which)
        for name in (
            "neuron_update_active", "neuron_update_idle", "neuron_operation", "synaptic_operation",
        )
    )  # fmt: skip
    found = {}
    for layer in layers:
        if layer.role != "neuron":
            continue
        name, each = layer.name, 1.0 / (layer.tokens * layer.size)
        operations = sum(synaptic_work(activity[s], profile) for s in (*ends.get(name, ()), name))
        compute = (
            layer.active_updates * active
            + layer.idle_updates * idle
            + extra_operations(layer) * operation
        )
        found[name] = each * compute, each * operations * synapse
    return found
