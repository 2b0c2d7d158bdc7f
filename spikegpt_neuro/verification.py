"""Compare two executions of a network, integer by integer, and name the first difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import Backend, Session
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
    """What was compared and whether all of it was equal."""

    left: str
    right: str
    tokens: int
    layers: tuple[str, ...]
    values_compared: int
    difference: Difference | None
    counter_difference: str | None

    @property
    def equal(self) -> bool:
        """True when every compared integer and every counter was equal."""
        return self.difference is None and self.counter_difference is None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "layers": list(self.layers), "equal": self.equal}


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
    session: Session, names: Sequence[str], logits: str, tokens: Sequence[int], *,
    fall_through: bool,
) -> dict[str, npt.NDArray[Any]]:  # fmt: skip
    """Values [T, size] of ``names`` and of the logits over ``tokens``."""
    others = [name for name in names if name != logits]
    if not fall_through:
        found = {logits: session.score(tokens)}
        return found | {name: session.trace(name) for name in others}
    rows: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in (logits, *others)}
    for token in tokens:
        rows[logits].append(session.step(token))
        for name in others:
            rows[name].append(session.trace(name)[-1])
    return {name: np.stack(row) for name, row in rows.items()}


def _compare_chunk(
    left: Session, right: Session, names: Sequence[str], logits: str,
    tokens: npt.NDArray[np.int64], begin: int, *, fall_through: bool,
) -> tuple[list[Difference], int]:  # fmt: skip
    """Differences of one chunk, a layer at most one, and how many integers were compared."""
    ids = tokens.tolist()
    a = _run(left, names, logits, ids, fall_through=False)
    b = _run(right, names, logits, ids, fall_through=fall_through)
    found = [first_difference(name, begin, a[name], b[name]) for name in a]
    return [d for d in found if d is not None], sum(values.size for values in a.values())


def verify(
    network: Network,
    tokens: Sequence[int],
    left: Backend,
    right: Backend,
    *,
    right_network: Network | None = None,
    every_layer: bool = True,
    fall_through: bool = False,
    progress: Callable[[int], None] = lambda tokens_done: None,
) -> Verification:
    """Run ``tokens`` on both backends; compare every layer's integers and all counters.

    ``right_network``: what the right backend executes, if not ``network``. ``every_layer`` False
    compares logits and LIF spikes only, which is faster on large networks; on a difference the
    tokens up to it are run again with every layer of its stage traced, so that the layer named is
    the first wrong one and not only the first LIF behind it. ``fall_through``: the right backend
    runs token by token, as it does when it generates, instead of scoring the text.
    """
    other = right_network or network
    array = np.asarray(tokens, dtype=np.int64)
    logits = network.layers[-1].name
    names = tuple(network.by_name) if every_layer else (*network.spiking_layers, logits)
    compared = 0
    found: list[Difference] = []
    counter_difference = None
    with (
        left.open(network, trace=names[:-1]) as left_session,
        right.open(other, trace=names[:-1]) as right_session,
    ):
        for begin in range(0, array.size, CHUNK):
            chunk = array[begin : begin + CHUNK]
            found, count = _compare_chunk(
                left_session, right_session, names, logits, chunk, begin, fall_through=fall_through
            )
            compared += count
            progress(min(begin + CHUNK, array.size))
            if found:
                break
        else:
            difference = left_session.counters.difference(right_session.counters)
            counter_difference = None if difference is None else str(difference)
    first = min(found, key=_order(network)) if found else None
    if first is not None and not every_layer:
        first = _localise(network, other, array, left, right, first, fall_through)
    return Verification(
        left.name, right.name, int(array.size), names, compared, first, counter_difference
    )


def _order(network: Network) -> Callable[[Difference], tuple[int, int]]:
    """Earlier steps first, within a step earlier layers."""
    place = {layer.name: i for i, layer in enumerate(network.layers)}
    return lambda difference: (difference.step, place[difference.layer])


def _localise(
    network: Network, other: Network, tokens: npt.NDArray[np.int64],
    left: Backend, right: Backend, known: Difference, fall_through: bool,
) -> Difference:  # fmt: skip
    """The first wrong layer of the stage in which ``known`` was seen."""
    names = [layer.name for layer in network.stages[network[known.layer].stage]]
    with left.open(network, trace=names) as a, right.open(other, trace=names) as b:
        upto = tokens[: known.step + 1]
        logits = network.layers[-1].name
        found, _ = _compare_chunk(a, b, names, logits, upto, 0, fall_through=fall_through)
    return min(found, key=_order(network)) if found else known
