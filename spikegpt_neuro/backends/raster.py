"""Sessions of stock NetX chains: a raster in, a raster out, on the emulator."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.base import RasterSession
from spikegpt_neuro.backends.program_session import ProgramSession
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Chain

Int32Array = npt.NDArray[np.int32]

BLOCK = 16
"""Time steps executed together; images are wide, so few."""


def check_raster(raster: npt.NDArray[np.generic], network: Chain) -> Int32Array:
    """``raster`` as int32 [T, inputs]; ``InputError`` lists all that is wrong with it.

    Any shape [T, ...] with as many values a time step as the chain takes; integers, or floats that
    are whole numbers. A chain that begins with an embedding takes token ids, [T, 1]. Dense layers
    that read the raster directly take spikes, 0 or 1, unless the chain was read with
    ``input_message_bits``.
    """
    size, (low, high) = network.input_size, network.input_range
    values = np.asarray(raster)
    problems, advice = [], ""
    if values.dtype.kind not in "biuf":
        problems.append(f"dtype {values.dtype}, must be numbers")
    elif values.ndim < 2 or values[0:1].size != size:
        problems.append(f"shape {values.shape}, must be [time steps, {size} values]")
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


class EmulatorChainSession(ProgramSession):
    """A session of a chain."""

    def __init__(self, network: Chain, *, trace: Iterable[str] = ()) -> None:
        super().__init__(network, trace)
        self._chain = network

    def step(self, row: npt.NDArray[np.generic]) -> Int32Array:
        """Advance by one time step; the last layer's int32 [outputs]."""
        return self.score(np.asarray(row)[None])[0]

    def score(self, raster: npt.NDArray[np.generic]) -> Int32Array:
        """Advance by the raster's time steps [T, inputs]; the last layer's int32 [T, outputs]."""
        checked = check_raster(raster, self._chain)
        first, last = self._network.layers[0], self._network.layers[-1]
        self._traces = {name: [] for name in self._traced}
        result = np.empty((checked.shape[0], last.output.size), np.int32)
        for begin in range(0, checked.shape[0], BLOCK):
            part = checked[begin : begin + BLOCK]
            self._program.reserve(part.shape[0])
            tokens = np.zeros(part.shape[0], np.int64)
            if self._chain.takes_ids:
                tokens[:] = part[:, 0]
            else:
                self._program.value(first.name)[:] = part
            result[begin : begin + BLOCK] = self._run(tokens)
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
