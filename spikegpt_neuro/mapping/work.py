"""How long each layer keeps cores busy: what a partition spreads."""

from __future__ import annotations

from typing import Final

from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping.roles import Graph, synapses_of

HIDDEN: Final = 0.8
"""Part of a step's overhead below which a core's work gets no more cores: it hides behind the
overhead, and more cores cost power and packets. Calibrated on the cores of three published
networks on Loihi 2 (docs/validation.md)."""


def short_work(profile: Profile) -> float:
    """Nanoseconds of work of a core that hide behind the overhead of a step."""
    figure, curve = profile.coefficients.get("step_time"), profile.curves.get("barrier_time")
    overhead = 0.0 if figure is None else float(figure.value)
    return HIDDEN * max(overhead, 0.0 if curve is None else float(curve.at(1)))


def work_of(network: Graph, profile: Profile, counters: Counters | None) -> dict[str, float]:
    """Nanoseconds a token of each neuron layer and the synapses that end at it, on one core.

        synaptic operations t_syn + neurons t_update + element-wise operations t_operation

    Without counters every product counts. Empty where the profile has no times.
    """

    def time_of(name: str) -> float:
        figure = profile.coefficients.get(name)
        return 0.0 if figure is None else float(figure.value)

    each = time_of("synaptic_operation_time")
    if not each:
        return {}
    update, operation = time_of("neuron_update_active_time"), time_of("neuron_operation_time")

    def operations(name: str) -> float:
        if counters is None or counters.tokens == 0:
            return float(network[name].products)
        return counters.count(name, "synaptic_operations") / counters.tokens

    ends = synapses_of(network)
    found = {}
    for layer in network.layers:
        if layer.role != "neuron":
            continue
        names = [*ends.get(layer.name, ()), *([layer.name] if layer.fan_in else [])]
        elementwise = sum(layer.operations().values())
        found[layer.name] = (
            each * sum(map(operations, names))
            + update * layer.output.size
            + operation * elementwise
        )
    return found
