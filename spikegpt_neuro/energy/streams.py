"""Several generations at a time on one chip: between fall-through and pipelined.

Each of N streams waits for its own tokens: a token walks through the machine's S time steps
(``mapping.machine``), goes to the host, and the stream's next one enters when the host has
answered. Tokens of other streams follow it, in turn and in consecutive steps: a step waits for the
answer to the next of them, so that they share as many steps as they can. The schedule is played
step by step until it repeats:

    t_step        of the depths at which a token is, as in ``energy.timing``; all else rests
    t_token       (steps with a token inside + pauses while all wait for the host) / tokens
    E_token       events of a token, neurons updated idle in steps that they do not work in, and
                  (P_static chips + P_core cores + P_host) t_token

With N = 1 this is generation, with N >= S and a host that answers at once it is prefill. Low end:
the host answers at once. Middle: it takes a round trip, and those of several streams overlap. High
end: they do not, for nobody published that they do, and steps wait for nobody.

Every neuron holds the state of each stream, which must fit the target's memory.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from spikegpt_neuro.energy.event_driven import Occupancy, price_event_driven
from spikegpt_neuro.energy.parts import Energy, settle, total
from spikegpt_neuro.energy.report import EnergyReport
from spikegpt_neuro.energy.timing import ENDS, Clock
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.mapping import Mapping as Placed
from spikegpt_neuro.mapping import Violation
from spikegpt_neuro.mapping.demand import WORD_BYTES
from spikegpt_neuro.mapping.units import Machine

STREAMS: Final = (1, 8, 64)
"""Streams that a report shows unless told otherwise."""

NOT_IN_STREAMS: Final = (
    "no backend runs this schedule: on lava-fine and loihi2 a neuron holds one text's state, and "
    "they refuse a batch",
    "telling a neuron whose token it works on, and what that adds to its program, is not priced",
    "whether the host's round trips overlap is not published: in the middle they do, at the high "
    "end they do not",
)
"""What to know before quoting interleaved streams."""

_MOST_ROUNDS = 64
"""Rounds after which the second half of them is taken for a schedule that never repeats."""
_EQUAL = 1e-9
"""Relative difference of two rounds' seconds, sums of floats, that is none."""


@dataclass(frozen=True)
class Schedule:
    """A settled schedule. ``active``: how often a token each set of depths is worked on at once;
    ``seconds``: between two tokens of any stream, pauses included."""

    seconds: float
    active: Mapping[tuple[int, ...], Fraction]

    @property
    def steps(self) -> Fraction:
        """Time steps of the chip a token."""
        return sum(self.active.values(), Fraction(0))


def interleave(
    step: Callable[[tuple[int, ...]], float], depth: int, streams: int, round_trip: float, *,
    overlapping: bool = True,
) -> Schedule:  # fmt: skip
    """Let ``streams`` tokens follow each other through ``depth`` steps and to the host and back.

    ``step``: seconds of a step with tokens at these depths, 1 to ``depth``, deepest first.
    ``overlapping`` False: the host answers one stream after the other, and steps do not wait for
    the next answer.
    """
    ready = deque((0.0, stream) for stream in range(streams))  # when answered, in turn
    inside: deque[tuple[int, int]] = deque()  # depth and stream, deepest first
    now = answered = 0.0
    begin = 0.0
    active: Counter[tuple[int, ...]] = Counter()
    rounds: list[tuple[float, Counter[tuple[int, ...]]]] = []
    while True:
        if ready and (not inside or (overlapping and ready[0][1] > 0)):
            now = max(now, ready[0][0])
        inside = deque((place + 1, stream) for place, stream in inside)
        if ready and ready[0][0] <= now:
            inside.append((1, ready.popleft()[1]))
        depths = tuple(place for place, _ in inside)
        now += step(depths)
        active[depths] += 1
        if depths[0] < depth:
            continue
        _, stream = inside.popleft()
        answered = (now if overlapping else max(now, answered)) + round_trip
        ready.append((answered, stream))
        if stream == 0:
            rounds.append((now - begin, active))
            begin, active = now, Counter()
            settled = _settled(rounds)
            if settled:
                tokens = len(settled) * streams
                counts = sum((found for _, found in settled), Counter[tuple[int, ...]]())
                return Schedule(
                    math.fsum(lasted for lasted, _ in settled) / tokens,
                    {places: Fraction(n, tokens) for places, n in counts.items()},
                )


def _settled(
    rounds: Sequence[tuple[float, Counter[tuple[int, ...]]]],
) -> Sequence[tuple[float, Counter[tuple[int, ...]]]]:
    """The last round if it was like the one before, none while that is not so; a round ends when
    the first stream's token leaves."""
    if len(rounds) == _MOST_ROUNDS:
        return rounds[_MOST_ROUNDS // 2 :]
    if len(rounds) < 2:
        return ()
    (before, earlier), (last, active) = rounds[-2:]
    alike = earlier == active and abs(last - before) <= _EQUAL * last
    return rounds[-1:] if alike else ()


@dataclass(frozen=True)
class StreamSeconds:
    """Seconds between two tokens of any stream."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class StreamRow:
    """Generation with ``streams`` texts at a time on one target.

    ``energy``: joules a token; None, and ``violations`` say why, where the streams' states do not
    fit. ``most_streams``: how many do, None where no memory is published. ``steps``: time steps of
    the chip a token.
    """

    profile: str
    streams: int
    most_streams: int | None
    energy: Energy | None
    seconds: StreamSeconds | None
    steps: float | None
    violations: tuple[Violation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        energy, seconds = self.energy, self.seconds
        return {
            "profile": self.profile,
            "streams": self.streams,
            "most_streams_in_memory": self.most_streams,
            "energy_joules_per_token": None if energy is None else energy.value,
            "energy_joules_per_token_low": None if energy is None else energy.low,
            "energy_joules_per_token_high": None if energy is None else energy.high,
            "seconds_per_token": None if seconds is None else seconds.value,
            "seconds_per_token_low": None if seconds is None else seconds.low,
            "seconds_per_token_high": None if seconds is None else seconds.high,
            "seconds_per_token_of_one_stream": None
            if seconds is None
            else seconds.value * self.streams,
            "time_steps_per_token": self.steps,
            "violations": [violation.to_dict() for violation in self.violations],
        }


def check_streams(counts: Sequence[int]) -> tuple[int, ...]:
    """Numbers of streams, without repetition. Raises InputError for one below 1."""
    wrong = [f"{n} streams" for n in counts if n < 1]
    if wrong:
        raise InputError("at least one stream is needed:", wrong)
    return tuple(dict.fromkeys(counts))


def stream_rows(report: EnergyReport, counts: Sequence[int] = STREAMS) -> tuple[StreamRow, ...]:
    """Rows of a report of generation; none of others, nor where no times are published."""
    mapping = report.mapping
    if report.mode != "fall-through" or mapping is None or report.timing is None:
        return ()
    clocks = {which: _Steps(report, mapping, which) for which in ENDS}
    bound = most_streams(mapping)
    return tuple(_row(report, mapping, clocks, n, bound) for n in check_streams(counts))


class _Steps:
    """Seconds of steps at one end of the ranges, each computed once."""

    def __init__(self, report: EnergyReport, mapping: Placed, which: str) -> None:
        self._clock = Clock(report.units, mapping, report.profile, which)
        self._known: dict[tuple[int, ...], float] = {}
        self._least = self._clock.least_step
        self.round_trip = self._clock.host_round_trip
        self.overlapping = which != "high"

    def seconds(self, depths: tuple[int, ...]) -> float:
        """Of a step with tokens at these depths."""
        found = self._known.get(depths)
        if found is None:
            found = max(self._clock.step_with(depths).seconds, self._least)
            self._known[depths] = found
        return found


def _row(
    report: EnergyReport, mapping: Placed, clocks: Mapping[str, _Steps], streams: int,
    bound: tuple[int, str] | None,
) -> StreamRow:  # fmt: skip
    name = report.profile.name
    most, where = bound or (None, "")
    if most is not None and streams > most:
        message = f"{streams} streams' states do not fit its memory; at most {most} do"
        broken = Violation("stream_state", where, message)
        return StreamRow(name, streams, most, None, None, None, (broken,))
    depth = mapping.machine.steps
    found = {
        which: interleave(
            clock.seconds, depth, streams, clock.round_trip, overlapping=clock.overlapping
        )
        for which, clock in clocks.items()
    }
    low, value, high = (_occupancy(mapping.machine, found[which]) for which in ENDS)
    seconds = StreamSeconds(*(found[which].seconds for which in ENDS))
    parts, _ = price_event_driven(
        report.units, report.profile, mapping, seconds,
        Occupancy(value.steps, value.working, low, high),
    )  # fmt: skip
    return StreamRow(name, streams, most, total(settle(parts)), seconds, float(value.steps), ())


def _occupancy(machine: Machine, schedule: Schedule) -> Occupancy:
    """Steps a token in which each population works: those with a token at one of its visits."""
    working = {}
    for unit in machine.layers:
        if unit.role == "neuron":
            visits = set(machine.visits[unit.name])
            working[unit.name] = sum(
                (n for depths, n in schedule.active.items() if not visits.isdisjoint(depths)),
                Fraction(0),
            )
    return Occupancy(schedule.steps, working)


def most_streams(mapping: Placed) -> tuple[int, str] | None:
    """Streams whose states fit where the network lies, the first one's included, and what is full.

    Weights, parameters and what a neuron takes beyond its state are held once, the state of every
    neuron for each stream. 0 where not even one fits; None where the profile states no memory.
    """
    return min(_bounds(mapping), key=lambda bound: bound[0], default=None)


def _bounds(mapping: Placed) -> Iterator[tuple[int, str]]:
    """Streams that fit each core, chip and kind of neuron that has any state."""
    profile, machine = mapping.profile, mapping.machine
    of_core, of_chip = profile.limit("memory_per_core"), profile.limit("memory_per_chip")
    of_neuron, overhead = profile.limit("state_per_neuron"), profile.limit("neuron_overhead") or 0
    words = {
        layer.name: -(-layer.state_words // layer.output.size)
        for layer in machine.layers
        if layer.role == "neuron"
    }
    held = [core.bytes + overhead * core.neurons for core in mapping.cores]
    states = [
        WORD_BYTES * sum(words[part.layer] * part.neurons for part in core.slices)
        for core in mapping.cores
    ]
    if of_core is not None:
        for i, (all_of_it, state) in enumerate(zip(held, states, strict=True)):
            yield from _copies(of_core, all_of_it, state, f"core {i}")
    if of_chip is not None:
        for chip in range(mapping.chips):
            here = [i for i in range(len(held)) if mapping.placement.chip[i] == chip]
            together = sum(held[i] for i in here), sum(states[i] for i in here)
            yield from _copies(of_chip, *together, f"chip {chip}")
    if of_neuron is not None:
        for name, state in words.items():
            layer = machine[name]
            parameters = -(-layer.parameter_words // layer.output.size)
            needed = WORD_BYTES * (state + parameters)
            yield from _copies(of_neuron, needed, WORD_BYTES * state, f"a neuron of {name}")


def _copies(memory: int, held: int, state: int, where: str) -> Iterator[tuple[int, str]]:
    """How many states fit a memory that holds ``held`` with one of them, if there is a bound."""
    if held > memory:
        yield 0, where
    elif state:
        yield 1 + (memory - held) // state, where
