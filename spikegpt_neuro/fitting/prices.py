"""What each way of making a part smaller saves in joules, foreseen from a few priced networks.

Joules do not add up over parts: the busiest core sets a step's time, and the chips' static power
runs for that long. What is foreseen only ranks the ways; every network that is told of is placed
and priced as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from spikegpt_neuro.converters.reduction import Candidate
from spikegpt_neuro.converters.spike_levels import Clip, clip_spikes, graded_populations
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense


def operations(network: LanguageModel, name: str, one: Candidate, counters: Counters) -> float:
    """Synaptic operations a token of a projection with the weights of ``one``.

    Of the run's operations the share of weights that are left: which are left is taken as
    independent of how often their operands fire.
    """
    layer = network[name]
    assert isinstance(layer, Dense)
    counted = counters.count(name, "synaptic_operations") / max(1, counters.tokens)
    return counted * one.non_zero / max(1, int(layer.fan_out.sum()))


@dataclass(frozen=True)
class Saved:
    """A network beside the whole one: bytes of synapses, operations and joules a token less."""

    bytes: float
    operations: float
    joules: float


def unit_prices(measured: Sequence[Saved]) -> tuple[float, float]:
    """Joules a token of a byte of synapses and of a synaptic operation, neither negative.

    Least squares with ``joules = byte * bytes + operation * operations``, in relative errors.
    """
    rows = np.array([[one.bytes, one.operations] for one in measured], np.float64)
    joules = np.array([one.joules for one in measured], np.float64)
    weight = 1 / np.maximum(np.abs(joules), 1e-30)
    scale = np.maximum(np.abs(rows).max(axis=0), 1e-30)
    found, _ = nnls(rows / scale * weight[:, None], joules * weight)
    byte, operation = (found / scale).tolist()
    return byte, operation


def level_savings(
    network: LanguageModel, options: Mapping[str, Sequence[Clip]],
    joules: Callable[[LanguageModel], float],
) -> dict[str, list[float]]:  # fmt: skip
    """Joules a token that each clip of each population saves.

    ``joules`` prices a network of these layers by the events of the whole one. All populations of
    one number of levels are clipped together, and what that saves is shared out by their neurons.
    """
    before = joules(network)
    found: dict[str, list[float]] = {name: [] for name in options}
    alike: dict[int, list[str]] = {}
    for layer in graded_populations(network):
        alike.setdefault(layer.levels, []).append(layer.name)
    for levels, names in alike.items():
        size = {name: network[name].output.size for name in names}
        saved = {levels: 0.0}
        for fewer in sorted({clip.levels for name in names for clip in options[name]} - {levels}):
            together = {
                name: clip for name in names for clip in options[name] if clip.levels == fewer
            }
            saved[fewer] = max(0.0, before - joules(clip_spikes(network, together)))
            saved[fewer] /= sum(size[name] for name in together)
        for name in names:
            found[name] = [saved[clip.levels] * size[name] for clip in options[name]]
    return found
