"""Sessions of stock NetX chains: a raster in, a raster out, on the emulator."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import RasterSession
from spikegpt_neuro.backends.program_session import ProgramSession
from spikegpt_neuro.decomposition.stock_plan import input_shape
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Chain

Int32Array = npt.NDArray[np.int32]

BLOCK = 16
"""Time steps executed together; images are wide, so few."""


def check_raster(raster: npt.NDArray[np.generic], network: Chain) -> Int32Array:
    """``raster`` as int32 [T, inputs]; ``InputError`` lists all that is wrong with it.

    [T, n], or [T, channels, height, width] where a convolution reads it, or any shape [T, ...] of
    n values a step where none does; integers, or floats that are whole numbers. A chain that
    begins with an embedding takes token ids, [T, 1]. Dense layers that read the raster directly
    take spikes, 0 or 1, unless the chain was read with ``input_message_bits``.
    """
    size, (low, high) = network.input_size, network.input_range
    values = np.asarray(raster)
    problems, advice = [], ""
    if values.dtype.kind not in "biuf":
        problems.append(f"dtype {values.dtype}, must be numbers")
    elif values.ndim < 2 or values[0:1].size != size or not _is_shaped(values, network):
        declared = _declared(network)
        image = f" or [time steps, {', '.join(map(str, declared))}]" if len(declared) > 1 else ""
        problems.append(f"shape {values.shape}, must be [time steps, {size} values]{image}")
        advice = _axes_advice(values.shape, size)
    elif values.size and not np.isfinite(values).all():
        problems.append("not all values are finite")
    elif (values != np.trunc(values)).any():
        problems.append("not all values are whole numbers")
    elif values.size and (values.min() < low or values.max() > high):
        problems.append(f"values {values.min()}..{values.max()}, allowed {low}..{high}")
        if high == 1 and not network.takes_ids:
            advice = (
                "A dense layer that reads the raster takes spikes; for numbers import the chain "
                "with `netx import --input-message-bits B`."
            )
    if problems:
        raise InputError("the raster does not fit the chain:", problems, advice)
    return values.reshape(values.shape[0], -1).astype(np.int32)


def _declared(network: Chain) -> tuple[int, ...]:
    """The shape of a time step: (channels, height, width) where a convolution reads it, or flat."""
    return input_shape(network)[::-1]


def _is_shaped(values: npt.NDArray[np.generic], network: Chain) -> bool:
    """Whether the axes of a time step are those of an image that the chain reads; flat always."""
    declared = _declared(network)
    return values.ndim == 2 or len(declared) == 1 or values.shape[1:] == declared


def _axes_advice(shape: tuple[int, ...], size: int) -> str:
    """How to turn SLAYER's axes, time last and a batch first, into a raster's."""
    if len(shape) > 2 and math.prod(shape[1:-1]) == size:
        return (
            "Its axes are SLAYER's, a batch first and time last: numpy.moveaxis(raster[0], -1, 0) "
            "is the first sample."
        )
    if len(shape) > 1 and math.prod(shape[:-1]) == size:
        return "Its axes are SLAYER's, with time last: numpy.moveaxis(raster, -1, 0) turns them."
    return ""


class EmulatorChainSession(ProgramSession):
    """A session of a chain. Traced names may be those of states, too: ``<layer>.voltage``."""

    def __init__(self, network: Chain, *, trace: Iterable[str] = ()) -> None:
        names = tuple(trace)
        states = {
            f"{layer.name}.{state.name}": (layer.name, place)
            for layer in network.layers
            for place, state in enumerate(layer.states)
        }
        self._states = {name: states[name] for name in names if name in states}
        super().__init__(network, [name for name in names if name not in self._states])
        self._chain = network

    def step(self, row: npt.NDArray[np.generic]) -> Int32Array:
        """Advance by one time step; the last layer's int32 [outputs]."""
        return self.score(np.asarray(row)[None])[0]

    def score(self, raster: npt.NDArray[np.generic]) -> Int32Array:
        """Advance by the raster's time steps [T, inputs]; the last layer's int32 [T, outputs]."""
        checked = check_raster(raster, self._chain)
        first, last = self._network.layers[0], self._network.layers[-1]
        self._traces = {name: [] for name in (*self._traced, *self._states)}
        result = np.empty((checked.shape[0], last.output.size), np.int32)
        block = 1 if self._states else BLOCK  # states are seen after a step
        for begin in range(0, checked.shape[0], block):
            part = checked[begin : begin + block]
            self._program.reserve(part.shape[0])
            tokens = np.zeros(part.shape[0], np.int64)
            if self._chain.takes_ids:
                tokens[:] = part[:, 0]
            else:
                self._program.value(first.name)[:] = part
            result[begin : begin + block] = self._run(tokens)
            for name, (layer, place) in self._states.items():
                self._traces[name].append(self._program.state_of(layer, place)[None].copy())
        return result


def score_samples(
    session: RasterSession,
    raster: npt.NDArray[np.generic],
    interval: int | None,
    traced: Iterable[str],
) -> tuple[Int32Array, dict[str, Int32Array]]:
    """A raster of samples of ``interval`` time steps each, every one from rest.

    None: one sample. Gives the last layer's int32 [T, outputs], and of each traced layer [T, n].
    Raises ``InputError`` for an interval below 1.
    """
    if interval is not None and interval < 1:
        raise InputError(f"a reset interval of {interval} time steps; at least 1.")
    length = interval or max(1, len(raster))
    rows = []
    traces: dict[str, list[Int32Array]] = {name: [] for name in traced}
    for begin in range(0, max(1, len(raster)), length):
        if begin:
            session.reset()
        rows.append(session.score(raster[begin : begin + length]))
        for name, parts in traces.items():
            parts.append(session.trace(name))
    return np.concatenate(rows), {name: np.concatenate(parts) for name, parts in traces.items()}
