"""Every layer of a network as stock Lava processes, and as few own neurons as exactness allows.

The result is data (``Element``); the sub-process models build processes from it, the schedule
balances its delays.
"""

from __future__ import annotations

from spikegpt_neuro.decomposition import fine_forms as _fine_forms  # noqa: F401
from spikegpt_neuro.decomposition.elements import FINE_FORMS, Decomposition, FineBuilder
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import TOKEN, Network
from spikegpt_neuro.network.ranges import proven_ranges

MOST_LAYERS = 31
"""Layers of a stage: a probe looks at these and at the value the stage reads."""


def decompose(network: Network) -> Decomposition:
    """The fine graph of ``network``, without delays. See ``fine_problems`` for what it requires."""
    return FineBuilder(network).run()


def fine_problems(network: Network) -> list[str]:
    """Why ``network`` has no fine graph, one sentence each; empty where it has one."""
    ranges = proven_ranges(network)
    problems = []
    last = ""
    for name, layers in network.stages.items():
        names = {layer.name for layer in layers}
        outside = {s for layer in layers for s in layer.inputs if s not in names} - {TOKEN}
        if outside - {last}:
            problems.append(f"{name} reads {', '.join(sorted(outside))}, not only {last}")
        last = layers[-1].name
        if len(layers) > MOST_LAYERS:
            problems.append(f"{name} has {len(layers)} layers, at most {MOST_LAYERS}")
        if not FINE_FORMS.refusal(layers[-1]) and not FINE_FORMS(layers[-1]).is_population:
            problems.append(f"{name} ends in a {layers[-1].kind}, which is not one population")
    for layer in network.layers:
        why = FINE_FORMS.refusal(layer)
        if why:
            problems.append(f"{layer.name}: a {layer.kind}: {why}")
        else:
            problems += FINE_FORMS(layer).problems(layer, ranges[layer.name])
    return problems


def check_fine(network: Network) -> None:
    """``InputError`` listing everything that keeps ``network`` from having a fine graph."""
    problems = fine_problems(network)
    if problems:
        raise InputError("this network has no fine Lava graph:", problems)
