"""What a session asks of its worker process, and what it hears back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.loihi2.probing import Host
from spikegpt_neuro.errors import SpikeGPTNeuroError
from spikegpt_neuro.events.measurement import Measurement
from spikegpt_neuro.network import Network

Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Start:
    """Choose the host, check that the chip can hold ``network``, measure the adapters' latency.

    ``needs_reset``: a chain's neurons are to be reset on the chip. ``profiled``: the one run of
    this session is to be measured.
    """

    network: Network
    host: Host
    needs_reset: bool = False
    profiled: bool = False


@dataclass(frozen=True)
class Ready:
    """The board answered. ``way_in``, ``way_out``: latency of the spike adapters, in time steps;
    ``depth``: steps the network itself takes."""

    way_in: int
    way_out: int
    depth: int

    @property
    def delay(self) -> int:
        """Time steps from a row's sending to its result's arrival."""
        return self.way_in + self.depth + self.way_out


@dataclass(frozen=True)
class Run:
    """Send ``rows`` [T, in], one a time step. The first run boots the network onto the board.

    A chain's rows are those of its raster, a token network's are commands and tokens
    (``backends.lava.runtime.commands``).
    ``reset_interval``: time steps between on-chip resets of a chain's neurons, or None. ``tokens``
    and ``mode``: what a measurement refers to.
    """

    rows: Int32Array
    tokens: int
    mode: str
    reset_interval: int | None = None


@dataclass(frozen=True)
class Left:
    """What left the board in a run, int32 [T, out]."""

    rows: Int32Array


@dataclass(frozen=True)
class Stop:
    """Let the board go."""


@dataclass(frozen=True)
class Stopped:
    """The board is free. ``measurement`` of the run, or None if nothing ran or was profiled."""

    measurement: Measurement | None


@dataclass(frozen=True)
class Failed:
    """The worker is about to end. ``error`` is what the session raises."""

    error: SpikeGPTNeuroError
