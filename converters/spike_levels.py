"""Fewer levels of graded spikes: a population is clipped, and what reads it makes up for that.

A memoryless neuron sends as many levels as thresholds that its current reaches, ``s`` of 0..L.
Clipped to ``l`` it sends ``min(s, l)``: as many events, of fewer bits, after fewer comparisons. The
factors of what reads the projections' accumulators are multiplied by the gain of least squares,

    gain = sum(s min(s, l)) / sum(min(s, l)**2)

over a text, so that the sums keep their size. Other thresholds (every second level, or none at the
first) were tried and lost more for as many joules (docs/few-bits.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.emulator import EmulatorSession
from spikegpt_neuro.converters.reduction import rescaled
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.layers import Dense, Lif
from spikegpt_neuro.network.neurons import LifNeurons
from spikegpt_neuro.network.schema import Port

COARSEST = 3
"""The fewest levels tried are a third of a population's, rounded up."""


@dataclass(frozen=True)
class Clip:
    """A population's largest spike, and what its readers take the spikes times.

    ``error``: share of the spikes' power that changes, ``sum((s - gain c)**2) / sum(s**2)`` with
    ``c = min(s, levels)``.
    """

    levels: int
    gain: float
    error: float


def clip_of(counts: npt.NDArray[np.int64], levels: int) -> Clip:
    """The clip to ``levels`` of spikes of which ``counts[s]`` were s."""
    spikes = np.arange(counts.size)
    clipped = np.minimum(spikes, levels)
    power = float(counts @ spikes**2)
    if power == 0:
        return Clip(levels, 1.0, 0.0)
    gain = float(counts @ (spikes * clipped)) / float(counts @ clipped**2)
    return Clip(levels, gain, float(counts @ (spikes - gain * clipped) ** 2) / power)


def readers(network: LanguageModel, name: str) -> tuple[list[str], list[str]] | None:
    """Layers that pass on the spikes of ``name``, and the projections that take them.

    None where anything else takes them, or something mixes them with other values.
    """
    passing, taking = [name], list[str]()
    for layer in network.layers:
        if layer.name == name or not set(layer.inputs) & set(passing):
            continue
        if isinstance(layer, Dense):
            taking.append(layer.name)
        elif layer.forwards and set(layer.inputs) <= set(passing):
            passing.append(layer.name)
        else:
            return None
    return passing[1:], taking


def graded_populations(network: LanguageModel) -> tuple[Lif, ...]:
    """Memoryless neurons of more than one level whose spikes only projections take."""
    return tuple(
        layer
        for layer in network.layers
        if isinstance(layer, Lif)
        and layer.levels > 1
        and layer.is_memoryless
        and readers(network, layer.name) is not None
    )


def clips(network: LanguageModel, windows: npt.NDArray[np.int64]) -> dict[str, list[Clip]]:
    """What every graded population's levels may become, the fewest first, its own last.

    Of populations that compare with each level: counting levels by a shift costs the same for any
    number of them (``arithmetic.lif.fire``). ``windows`` int64 [count, length]: text whose spikes
    are counted, state afresh in each.
    """
    found = [layer for layer in graded_populations(network) if layer.levels_compared]
    counts = {layer.name: np.zeros(layer.levels + 1, np.int64) for layer in found}
    if found:
        with EmulatorSession(network, trace=list(counts)) as session:
            for window in windows:
                session.reset()
                session.score(window.tolist())
                for name, kept in counts.items():
                    spikes = session.trace(name).astype(np.int64).ravel()
                    kept += np.bincount(spikes, minlength=kept.size)
    return {
        layer.name: [
            *(clip for clip in _fewer(layer, counts[layer.name]) if _fits(network, layer, clip)),
            Clip(layer.levels, 1.0, 0.0),
        ]
        for layer in found
    }


def _fewer(layer: Lif, counts: npt.NDArray[np.int64]) -> Sequence[Clip]:
    return [clip_of(counts, n) for n in range(-(-layer.levels // COARSEST), layer.levels)]


def _fits(network: LanguageModel, layer: Lif, clip: Clip) -> bool:
    """Whether what reads the projections can hold its factor times the gain."""
    try:
        clip_spikes(network, {layer.name: clip})
    except InputError:
        return False
    return True


def largest_gains(
    network: LanguageModel, options: Mapping[str, Sequence[Clip]]
) -> dict[str, float]:  # fmt: skip
    """The largest gain of any of these clips, of each projection that takes such spikes."""
    found = {}
    for name, clips_of in options.items():
        for taking in (readers(network, name) or ([], []))[1]:
            found[taking] = max(clip.gain for clip in clips_of)
    return found


def mean_levels(network: LanguageModel) -> float | None:
    """Largest graded spike, mean over the neurons; None where no spikes are graded."""
    found = [layer for layer in network.layers if isinstance(layer, LifNeurons)]
    if all(layer.levels == 1 for layer in found):
        return None
    neurons = sum(layer.output.size for layer in found)
    return sum(layer.levels * layer.output.size for layer in found) / neurons


def clip_spikes(network: LanguageModel, chosen: Mapping[str, Clip]) -> LanguageModel:
    """``network`` with these populations clipped, by layer name.

    Raises ``InputError`` where a name is no graded population, or a factor cannot be held.
    """
    layers = dict(network.by_name)
    for name, clip in chosen.items():
        found = layers.get(name)
        ends = readers(network, name) if isinstance(found, Lif) else None
        if not isinstance(found, Lif) or ends is None:
            raise InputError(f"{name} is no population whose spikes only projections take.")
        if clip.levels == found.levels:
            continue
        passing, taking = ends
        layers[name] = replace(found, levels=clip.levels)
        for sending in (name, *passing):
            port = _port(layers[sending].output, clip.levels)
            layers[sending] = replace(layers[sending], output=port)
        for reader in network.layers:
            for index, source in enumerate(reader.inputs):
                if source in taking:
                    size = network[source].output.size
                    gains = np.full(size, clip.gain)
                    layers[reader.name] = rescaled(layers[reader.name], index, gains)
    return replace(network, layers=tuple(layers[layer.name] for layer in network.layers))


def _port(port: Port, levels: int) -> Port:
    """The port of spikes of 0..levels."""
    return replace(
        port, payload="binary" if levels == 1 else "graded", bits=levels.bit_length()
    )  # fmt: skip
