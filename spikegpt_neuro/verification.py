"""Compare two executions of a network, integer by integer, and name the first difference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import (
    Backend,
    Session,
    Steps,
    TokenSession,
    event_counts,
)
from spikegpt_neuro.network import Network

CHUNK = 64
"""Tokens compared at a time."""


@dataclass(frozen=True)
class Difference:
    """The first integer two executions disagree on."""

    layer: str
    step: int
    index: int
    left: int
    right: int

    def __str__(self) -> str:
        return (
            f"layer {self.layer}, step {self.step}, index {self.index}: "
            f"{self.left} against {self.right}"
        )


@dataclass(frozen=True)
class Verification:
    """What was compared and whether all of it was equal.

    ``tokens`` are time steps of a chain. ``differing``: layers that differ in the stretch in which
    the first difference is; nothing behind it was compared. ``counters_compared`` is False where
    one of the two does not count events.
    """

    left: str
    right: str
    tokens: int
    layers: tuple[str, ...]
    values_compared: int
    difference: Difference | None
    differing: tuple[str, ...]
    counters_compared: bool
    counter_difference: str | None

    @property
    def equal(self) -> bool:
        """True when every compared integer and every counter was equal."""
        return self.difference is None and self.counter_difference is None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "equal": self.equal}


def first_difference(
    name: str, first_step: int, left: npt.NDArray[Any], right: npt.NDArray[Any]
) -> Difference | None:
    """The first differing element of two arrays [T, size], in order of step, then index."""
    if left.shape != right.shape:
        return Difference(name, first_step, -1, left.shape[-1], right.shape[-1])
    wrong = np.argwhere(left != right)
    if not wrong.size:
        return None
    step, index = (int(i) for i in wrong[0])
    return Difference(
        name, first_step + step, index, int(left[step, index]), int(right[step, index])
    )


def _run(
    session: Session, names: Sequence[str], logits: str, steps: Steps, *, fall_through: bool
) -> dict[str, npt.NDArray[Any]]:
    """Values [T, size] of ``names`` and of the logits over ``steps``."""
    others = [name for name in names if name != logits]
    if not fall_through:
        found = {logits: session.score(steps)}
        return found | {name: session.trace(name) for name in others}
    rows: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in (logits, *others)}
    for step in steps:
        rows[logits].append(cast(TokenSession, session).step(int(step)))
        for name in others:
            rows[name].append(session.trace(name)[-1])
    return {name: np.stack(row) for name, row in rows.items()}


def _compare_chunk(
    left: Session, right: Session, names: Sequence[str], logits: str, steps: Steps, begin: int, *,
    fall_through: bool,
) -> tuple[list[Difference], int]:  # fmt: skip
    """Differences of one chunk, a layer at most one, and how many integers were compared."""
    a = _run(left, names, logits, steps, fall_through=False)
    b = _run(right, names, logits, steps, fall_through=fall_through)
    found = [first_difference(name, begin, a[name], b[name]) for name in a]
    return [d for d in found if d is not None], sum(values.size for values in a.values())


def verify(
    network: Network,
    steps: Steps,
    left: Backend,
    right: Backend,
    *,
    right_network: Network | None = None,
    every_layer: bool = True,
    fall_through: bool = False,
    progress: Callable[[int], None] = lambda tokens_done: None,
) -> Verification:
    """Run ``steps`` (tokens, or a raster) on both backends; compare every layer and all counters.

    Layers are those both backends can show; counters are compared if both count. ``right_network``:
    what the right backend executes, if not ``network``. ``every_layer`` False compares the last
    layer and LIF spikes only, which is faster on large networks; on a difference the steps up to it
    are run again with every layer of its stage traced, so that the layer named is the first wrong
    one and not only the first LIF behind it. ``fall_through``: the right backend runs token by
    token, as it does when it generates, instead of scoring the text (language models only).
    """
    other = right_network or network
    logits = network.layers[-1].name
    seen = set(left.traceable(network)) & set(right.traceable(other))
    wanted = set(network.by_name) if every_layer else {*network.spiking_layers}
    names = (*(n for n in network.by_name if n in wanted & seen and n != logits), logits)
    compared = 0
    found: list[Difference] = []
    counters_compared, counter_difference = False, None
    with (
        left.open(network, trace=names[:-1]) as left_session,
        right.open(other, trace=names[:-1]) as right_session,
    ):
        sessions = (left_session, right_session)
        once = any(session.takes_one_run for session in sessions)
        size = max(1, len(steps)) if once else CHUNK
        for begin in range(0, len(steps), size):
            chunk = steps[begin : begin + size]
            found, count = _compare_chunk(
                left_session, right_session, names, logits, chunk, begin, fall_through=fall_through
            )
            compared += count
            progress(min(begin + size, len(steps)))
            if found:
                break
        else:
            counted = event_counts(left_session), event_counts(right_session)
            if counted[0] is not None and counted[1] is not None:
                counters_compared = True
                counter_difference = counted[0].difference(counted[1])
    first = earliest(network, found)
    differing = tuple(d.layer for d in found)
    if first is not None and not every_layer:
        first = _localise(network, other, steps, left, right, first, fall_through)
    return Verification(
        left.name, right.name, len(steps), names, compared, first, differing, counters_compared,
        counter_difference,
    )  # fmt: skip


def earliest(network: Network, found: Iterable[Difference | None]) -> Difference | None:
    """The first of some differences: earlier steps first, within a step earlier layers."""
    place = {layer.name: i for i, layer in enumerate(network.layers)}
    return min(
        (difference for difference in found if difference is not None),
        key=lambda difference: (difference.step, place[difference.layer]),
        default=None,
    )


def _localise(
    network: Network, other: Network, steps: Steps, left: Backend, right: Backend,
    known: Difference, fall_through: bool,
) -> Difference:  # fmt: skip
    """The first wrong layer of the stage in which ``known`` was seen."""
    seen = set(left.traceable(network)) & set(right.traceable(other))
    stage = network.stages[network[known.layer].stage]
    names = [layer.name for layer in stage if layer.name in seen]
    with left.open(network, trace=names) as a, right.open(other, trace=names) as b:
        upto = steps[: known.step + 1]
        logits = network.layers[-1].name
        found, _ = _compare_chunk(a, b, names, logits, upto, 0, fall_through=fall_through)
    return earliest(network, found) or known
