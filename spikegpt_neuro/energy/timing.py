"""Time of a token: a lower bound from the busiest core, without congestion.

    t_core = max(N_syn t_syn + N_active t_act + N_idle t_idle + N_ops t_op, N_in t_in + N_out t_out)
    pipelined     t_token = max over cores (t_core) + t_barrier
    fall-through  t_token = sum over time steps of (max over cores (work of that step) + t_barrier)

Pipelined (prefill, scoring): every layer works on a different token, a token leaves every step.
Fall-through (generation): one token walks through the layers, one neuron layer a step, while all
other neurons are updated idle. A core receives and sends packets while it computes. Real runs are
slower: routers congest, hosts wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from spikegpt_neuro.arithmetic.equations import operations
from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import Mapping
from spikegpt_neuro.mapping.roles import levels, synapses_of
from spikegpt_neuro.network.layers import Lif

Mode = Literal["pipelined", "fall-through"]
MODES: Final[tuple[Mode, ...]] = ("pipelined", "fall-through")

MODE_TITLES: Final[dict[Mode, str]] = {
    "pipelined": "prefill (pipelined)",
    "fall-through": "generation (fall-through)",
}
"""What a mode is used for."""

LIF_OPERATIONS: Final = sum(
    operations(Lif.equation, frozenset({*Lif.array_specs(), *Lif.scalar_ranges()})).values()
)
"""Element-wise operations of one LIF update, which a neuron update's coefficient covers."""

_NANOSECONDS: Final = 1e-9


def check_mode(mode: str) -> Mode:
    """The mode, or InputError."""
    for known in MODES:
        if mode == known:
            return known
    raise InputError(f"mode {mode!r} is unknown; allowed: {', '.join(MODES)}.")


def extra_operations(layer: LayerActivity) -> int:
    """Element-wise operations over the text beyond those of a LIF update for every neuron."""
    if layer.role != "neuron":
        return 0
    return max(0, sum(layer.elementwise.values()) - LIF_OPERATIONS * layer.size * layer.tokens)


def synaptic_work(layer: LayerActivity, profile: Profile) -> int:
    """Synaptic operations the target performs: all products where it cannot skip zeros."""
    if profile.can("event_driven_synapses") is False:
        return layer.dense_operations
    return layer.synaptic_operations


@dataclass(frozen=True)
class Timing:
    """Seconds a token (low, value, high), the time steps a token needs, and the busiest core."""

    mode: Mode
    steps: int
    low: float
    value: float
    high: float
    busiest_core: int
    busiest_layers: tuple[str, ...]
    barrier_share: float

    @property
    def fill_steps(self) -> int:
        """Time steps before the first token leaves, beyond its own."""
        return self.steps - 1 if self.mode == "pipelined" else 0

    @property
    def latency(self) -> float:
        """Seconds from a token's arrival to its result, at least."""
        return self.value * (1 + self.fill_steps)

    def seconds(self, tokens: int) -> float:
        """Seconds of a sequence, at least: a pipeline must fill before its first result."""
        return self.value * (tokens + self.fill_steps)


def token_time(
    layers: tuple[LayerActivity, ...], mapping: Mapping, profile: Profile, mode: Mode
) -> Timing | None:
    """The bound, or None where the profile has no time of a synaptic operation."""
    if "synaptic_operation_time" not in profile.coefficients:
        return None
    found = [_bound(layers, mapping, profile, mode, which) for which in ("low", "value", "high")]
    low, value, high = found
    core = mapping.cores[value[1]]
    return Timing(
        mode, max(levels(mapping.network).values()), low[0], value[0], high[0], value[1],
        tuple(part.layer for part in core.slices), value[2] / value[0] if value[0] else 0.0,
    )  # fmt: skip


def _bound(
    layers: tuple[LayerActivity, ...], mapping: Mapping, profile: Profile, mode: Mode, which: str
) -> tuple[float, int, float]:
    """Seconds a token, number of the busiest core, seconds of them spent in barriers."""

    def time_of(name: str) -> float:
        figure = profile.coefficients.get(f"{name}_time")
        return 0.0 if figure is None else float(getattr(figure, which))

    activity = {layer.name: layer for layer in layers}
    ends = synapses_of(mapping.network)
    level = levels(mapping.network)
    slices = [
        (number, part.layer, part.neurons)
        for number, core in enumerate(mapping.cores)
        for part in core.slices
    ]
    core = np.array([s[0] for s in slices], np.int64)
    neurons = np.array([s[2] for s in slices], np.float64)
    per_neuron = {
        name: _neuron_time(
            activity[name],
            [synaptic_work(activity[s], profile) for s in (*ends.get(name, ()), name)],
            time_of,
        )
        for name in {s[1] for s in slices}
    }
    work = neurons * np.array([per_neuron[s[1]] for s in slices])
    step = np.array([level[s[1]] for s in slices], np.int64)
    count = len(mapping.cores)
    ports = np.zeros(count)
    traffic = mapping.traffic
    inside = traffic.source >= 0
    np.add.at(ports, traffic.target, traffic.packets * time_of("spike_in"))
    np.add.at(ports, traffic.source[inside], traffic.packets[inside] * time_of("spike_out"))
    curve = profile.curves.get("barrier_time")
    barrier = float(curve.at(mapping.tiles_per_chip)) if curve is not None else 0.0
    whole = np.maximum(np.bincount(core, work, count), ports)
    busiest = int(whole.argmax())
    if mode == "pipelined":
        return (float(whole.max()) + barrier) * _NANOSECONDS, busiest, barrier * _NANOSECONDS
    idle = neurons * time_of("neuron_update_idle")
    resting = np.bincount(core, idle, count)
    steps = int(step.max(initial=0))
    slowest = np.full(steps + 1, float(resting.max(initial=0.0)))
    share = neurons / np.bincount(core, neurons, count)[core]
    at_work = np.maximum(resting[core] - idle + work, ports[core] * share)
    np.maximum.at(slowest, step, at_work)
    total = float(slowest[1:].sum()) + barrier * steps
    return total * _NANOSECONDS, busiest, barrier * steps * _NANOSECONDS


def _neuron_time(
    layer: LayerActivity, operations: Sequence[int], time_of: Callable[[str], float]
) -> float:
    """Nanoseconds a token that one neuron of a layer keeps its core busy, synapses included."""
    each = 1.0 / (layer.tokens * layer.size)
    return each * (
        layer.active_updates * time_of("neuron_update_active")
        + layer.idle_updates * time_of("neuron_update_idle")
        + extra_operations(layer) * time_of("neuron_operation")
        + sum(operations) * time_of("synaptic_operation")
    )
