"""NeuroBench's figures of a model on a text, and what this project counts of the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
from neurobench.models import NeuroBenchModel
from torch.utils.data import DataLoader

from spikegpt_neuro.arithmetic.packed import stored
from spikegpt_neuro.energy import build_report
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.network.connections import Dense
from spikegpt_neuro.neurobench.models import IntegerModel
from spikegpt_neuro.neurobench.task import BitsPerToken, NextTokens

STATIC = [Footprint, ParameterCount, ConnectionSparsity]
WORKLOAD = [BitsPerToken, ActivationSparsity, SynapticOperations]
"""NeuroBench's metrics that mean something here. Its membrane updates and neuron operations are of
snnTorch's neurons only: they read ``mem`` and know four kinds of neurons by name."""


@dataclass(frozen=True)
class Counted:
    """What this project counts of a run, under NeuroBench's names.

    Operations are a window's mean, as a sample is a window. ``footprint``: bytes of all arrays as
    they lie in memory and in model.net, weights of few bits packed. ``connection_sparsity``: share
    of weights that are 0. ``activation_sparsity``: share of LIF outputs that are 0 (0 without LIF
    layers). ``effective_acs``: of projections whose operands were 0 and +-1 in the whole text.
    """

    footprint: int
    connection_sparsity: float
    activation_sparsity: float
    effective_macs: float
    effective_acs: float
    dense: float


def measure(
    model: NeuroBenchModel, tokens: torch.Tensor, context: int = 256, batch: int = 1
) -> dict[str, Any]:
    """NeuroBench's benchmark of ``model`` on windows of ``tokens`` int64 [N], by metric's name.

    ActivationSparsity is NeuroBench's mean over batches, weighted by their size.
    """
    loader: DataLoader[Any] = DataLoader(NextTokens(tokens, context), batch_size=batch)
    benchmark = Benchmark(model, loader, [], [], [STATIC, WORKLOAD])
    found: dict[str, Any] = benchmark.run(quiet=True)
    return found


def counted(model: IntegerModel) -> Counted:
    """What the model's backend counted in all windows so far."""
    network, counters = model.network, model.counters
    report = build_report(network, counters, load_profile("cmos45-int8"))
    activities = {layer.name: layer for layer in report.layers}
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    operations = [activities[layer.name] for layer in dense]
    windows = model.windows
    spiking = network.spiking_layers
    possible = counters.tokens * sum(network[name].output.size for name in spiking)
    sent = sum(counters.count(name, "output_events") for name in spiking)
    arrays = [getattr(layer, name) for layer in network.layers for name in layer.array_specs()]
    plain = [np.asarray(layer.weight) for layer in dense]
    weights = sum(weight.size for weight in plain)
    zeros = weights - sum(int(np.count_nonzero(weight)) for weight in plain)
    acs = sum(activity.accumulates for activity in operations)
    effective = sum(activity.synaptic_operations for activity in operations)
    return Counted(
        footprint=sum(stored(array)[0].nbytes for array in arrays),
        connection_sparsity=zeros / weights,
        activation_sparsity=(possible - sent) / possible if possible else 0.0,
        effective_macs=(effective - acs) / windows,
        effective_acs=acs / windows,
        dense=sum(activity.dense_operations for activity in operations) / windows,
    )
