"""What of a stock NetX chain a board runs exactly, and how its rasters are laid out in time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.decomposition.stock_plan import STOCK_FORMS, StockPlan, plan_stock
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.slayer_layers import NetxConvolution

Int32Array = npt.NDArray[np.int32]


def is_biased(network: Network) -> bool:
    """Whether neurons move without input, so that rest has to be made at the right step."""
    return any(layer.is_biased for layer in network.layers)


def needs_reset(network: Network, reset_interval: int | None) -> bool:
    """Whether the chain is built of neurons that are reset on the chip."""
    return reset_interval is not None or is_biased(network)


def _reset_problems(network: Network, plan: StockPlan) -> Iterator[str]:
    reason = "biases need" if is_biased(network) else "the reset interval needs"
    kept = [
        layer
        for layer in network.layers
        if STOCK_FORMS.refusal(layer) or not STOCK_FORMS(layer).resettable
    ]
    for layer in kept:
        yield f"{layer.name}: a {layer.kind} cannot be reset on the chip, which {reason}"
    for synapse in plan.synapses.values():
        if synapse.longest_delay:
            yield (
                f"{synapse.layer.name}: spikes are up to {synapse.longest_delay} time steps on "
                f"their way, which no reset ends, and {reason} it"
            )
    if is_biased(network) and plan.has_stock_timing and not kept:
        yield (
            "biased neurons with stock timing: on a board they start while the first spikes are on "
            "their way; import the chain with --slayer-timing: each layer is reset in its turn then"
        )


def _problems(network: Network, plan: StockPlan, reset_interval: int | None) -> Iterator[str]:
    yield from plan.problems
    for synapse in plan.synapses.values():
        weight = synapse.layer.weight
        if isinstance(synapse.layer, NetxConvolution) and weight.min() < 0 < weight.max():
            odd = int(np.count_nonzero(weight & 1))
            if odd:
                yield (
                    f"{synapse.layer.name}: {odd} odd weights among those of both signs; stock "
                    "convolutions keep even ones (SLAYER's quantisation gives no others)"
                )
    if needs_reset(network, reset_interval):
        yield from _reset_problems(network, plan)
    if reset_interval is not None and reset_interval < 1:
        yield f"a reset interval of {reset_interval} time steps; at least 1"


def check_chain(network: Network, reset_interval: int | None) -> None:
    """``InputError`` listing everything that keeps the chain from running exactly on a board."""
    problems = list(_problems(network, plan_stock(network, in_waves=True), reset_interval))
    if problems:
        raise InputError("this chain cannot run on a board with the emulator's integers:", problems)


def in_sample_time(
    rows: Int32Array, network: Network, depth: int, reset_interval: int | None
) -> Int32Array:
    """What the emulator gives, from ``rows`` [T, out] in which a step has passed all layers.

    On the chip a sample's spikes pass the layers in a wave, and each layer is reset as the wave
    reaches it. Stock timing shows a step's result ``depth`` steps later and begins with silence.
    """
    if not plan_stock(network, in_waves=True).has_stock_timing:
        return rows
    result = np.zeros_like(rows)
    length = reset_interval or len(rows)
    for begin in range(0, len(rows), length):
        sample = rows[begin : begin + length]
        kept = max(0, len(sample) - depth)
        result[begin + len(sample) - kept : begin + len(sample)] = sample[:kept]
    return result
