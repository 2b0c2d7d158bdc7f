"""What of a stock NetX chain a board runs exactly, and how its rasters are laid out in time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network

Int32Array = npt.NDArray[np.int32]

CHAIN_KINDS = frozenset(
    {"raster_input", "delay", "netx_dense", "cuba", "recurrent_cuba", "sigma", "delta",
     "sigma_delta"}
)  # fmt: skip
"""Kinds of layers the runner makes of stock processes."""
RESETTABLE = frozenset({"raster_input", "delay", "netx_dense", "cuba"})
"""Kinds an on-chip reset (``LIFReset``) returns to rest, or that hold nothing beyond a step."""


def is_biased(network: Network) -> bool:
    """Whether neurons move without input, so that rest has to be made at the right step."""
    return any(bool(np.any(getattr(layer, "bias", 0))) for layer in network.layers)


def needs_reset(network: Network, reset_interval: int | None) -> bool:
    """Whether the chain is built of neurons that are reset on the chip."""
    return reset_interval is not None or is_biased(network)


def has_synapse_delay(network: Network) -> bool:
    """Whether the chain was read with stock timing: a time step of delay before each synapse."""
    return any(layer.kind == "delay" for layer in network.layers)


def _problems(network: Network, reset_interval: int | None) -> Iterator[str]:
    for layer in network.layers:
        if layer.kind not in CHAIN_KINDS:
            yield f"{layer.name}: the runner has no stock processes for a {layer.kind}"
        elif needs_reset(network, reset_interval) and layer.kind not in RESETTABLE:
            yield (
                f"{layer.name}: a {layer.kind} cannot be reset on the chip, which "
                f"{'biases' if is_biased(network) else 'the reset interval'} would need"
            )
    if is_biased(network) and has_synapse_delay(network):
        yield (
            "biased neurons with stock timing: on a board they start while the first spikes are on "
            "their way; import the chain with --slayer-timing: each layer is reset in its turn then"
        )
    if reset_interval is not None and reset_interval < 1:
        yield f"a reset interval of {reset_interval} time steps; at least 1"


def check_chain(network: Network, reset_interval: int | None) -> None:
    """``InputError`` listing everything that keeps the chain from running exactly on a board."""
    problems = list(_problems(network, reset_interval))
    if problems:
        raise InputError("this chain cannot run on a board with the emulator's integers:", problems)


def in_sample_time(
    rows: Int32Array, network: Network, depth: int, reset_interval: int | None
) -> Int32Array:
    """What the emulator gives, from ``rows`` [T, out] in which a step has passed all layers.

    On the chip a sample's spikes pass the layers in a wave, and each layer is reset as the wave
    reaches it. Stock timing shows a step's result ``depth`` steps later and begins with silence.
    """
    if not has_synapse_delay(network):
        return rows
    result = np.zeros_like(rows)
    length = reset_interval or len(rows)
    for begin in range(0, len(rows), length):
        sample = rows[begin : begin + length]
        kept = max(0, len(sample) - depth)
        result[begin + len(sample) - kept : begin + len(sample)] = sample[:kept]
    return result
