"""How long each layer keeps cores busy: what a partition spreads."""

from __future__ import annotations

from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping.roles import Graph, synapses_of


def time_of(profile: Profile, name: str, which: str = "value") -> float:
    """Nanoseconds of an event at one end of its range, its middle by default (``low``, ``value``,
    ``high``); 0 where the profile has none."""
    figure = profile.coefficients.get(f"{name}_time")
    return 0.0 if figure is None else float(getattr(figure, which))


def work_of(network: Graph, profile: Profile, counters: Counters | None) -> dict[str, float]:
    """Nanoseconds a token of each neuron layer and the synapses that end at it, on one core.

        synaptic operations t_syn + neurons t_update + element-wise operations t_operation

    Without counters every product counts. Empty where the profile has no times.
    """
    each, update, operation = (
        time_of(profile, name)
        for name in ("synaptic_operation", "neuron_update_active", "neuron_operation")
    )
    if not each:
        return {}

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
