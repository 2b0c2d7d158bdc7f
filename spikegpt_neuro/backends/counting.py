"""Turn a program's raw counts into the named counters every backend reports."""

from __future__ import annotations

from collections.abc import Mapping

from spikegpt_neuro.backends.execution import Count
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.schema import Layer


def named_counters(
    network: Network, raw: Mapping[str, Mapping[Count, int]], tokens: int
) -> Counters:
    """Counters of a run from the raw counts of its programs (one, or one a stage).

    A layer's input events are the output events of the layer that drives it, wherever that layer
    ran; the embedding's input is the token (one event a token, not a unit spike).
    """
    layers = {layer.name: layer_counts(layer, raw, tokens) for layer in network.layers}
    return Counters(tokens=tokens, layers=layers)


def layer_counts(
    layer: Layer, raw: Mapping[str, Mapping[Count, int]], tokens: int
) -> dict[str, int]:
    """The named counts of one layer; ``raw`` holds it and the layer that drives it."""
    own = raw[layer.name]
    driver = layer.driving_input
    source = None if driver == TOKEN else raw[driver]
    return {
        "input_events": tokens if source is None else source[Count.EVENTS],
        "unit_input_events": 0 if source is None else source[Count.UNIT_EVENTS],
        "synaptic_operations": own[Count.OPERATIONS],
        "unit_synaptic_operations": own[Count.UNIT_OPERATIONS],
        "unit_additions": own[Count.ADDITIONS],
        "output_events": own[Count.EVENTS],
        "active_updates": own[Count.ACTIVE],
        "saturations": own[Count.SATURATIONS],
        "overflows": own[Count.OVERFLOWS],
        "sum_events": own[Count.SUM_EVENTS],
        "statistic_events": own[Count.STATISTIC_EVENTS],
    }
