"""``simulate`` of a stock NetX chain: a raster in, a raster out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikegpt_neuro.cli.inputs import check_free, read_raster
from spikegpt_neuro.cli.output import Output, Stopwatch, check_inputs
from spikegpt_neuro.errors import InputError

if TYPE_CHECKING:
    from spikegpt_neuro.backends import Backend
    from spikegpt_neuro.network import Network


def run_raster(
    output: Output, backend: Backend, network: Network, raster: Path | None, result: Path | None,
    trace: Path | None, *, reset_interval: int | None, force: bool,
) -> None:  # fmt: skip
    """Run the chain, write what was asked for, and say what happened."""
    import numpy as np

    from spikegpt_neuro.backends.base import event_counts
    from spikegpt_neuro.backends.raster import score_samples
    from spikegpt_neuro.network import Chain
    from spikegpt_neuro.network.atomic import replaced_file

    if not isinstance(network, Chain):
        raise InputError("this network reads a text, not a raster.", advice="Give --prompt TEXT.")
    if raster is None:
        raise InputError(
            "this network is a chain: it reads a raster, not a text.",
            advice="Give --raster FILE.npy.",
        )
    if result is not None:
        check_free(result, force=force)
    values = read_raster(network, raster)
    traced: tuple[str, ...] = ()
    if trace is not None:
        traced = (*backend.traceable(network), *backend.traceable_states(network))
    resetting = backend.resetting(reset_interval)
    if resetting is not None:  # a board resets its neurons itself
        backend, reset_interval = resetting, None
    with backend.open_chain(network, trace=traced) as session:
        watch = Stopwatch()
        spikes, layers = score_samples(session, values, reset_interval, traced)
        seconds = watch.seconds
        counters = event_counts(session)
    check_inputs()
    if result is not None:
        with replaced_file(result) as stream:
            np.save(stream, spikes)
    if trace is not None:
        named: dict[str, Any] = dict(layers)
        with replaced_file(trace) as stream:
            np.savez_compressed(stream, **named)
    events = np.count_nonzero(spikes, axis=0)
    summary = {
        "backend": backend.name,
        "time_steps": len(spikes),
        "outputs": int(spikes.shape[1]),
        "output_events": int(events.sum()),
        "output_events_by_neuron": events.tolist(),
        "output": None if result is None else str(result),
        "seconds": seconds,
        "time_steps_per_second": len(spikes) / seconds if len(spikes) else 0.0,
        "counters": None if counters is None else counters.to_dict(),
    }
    most = int(events.argmax()) if events.any() else None
    operations = ""
    if counters is not None:
        operations = f", {counters.total('synaptic_operations'):,} synaptic operations"
    output.result(
        summary,
        f"{len(spikes)} time steps on {backend.name}: {int(events.sum()):,} events from "
        f"{spikes.shape[1]} outputs"
        + (f", most from output {most} ({int(events[most])})" if most is not None else "")
        + operations
        + ("" if result is None else f"; written to {result}"),
    )
