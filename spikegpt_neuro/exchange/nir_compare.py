"""Our integers against NIR's equations: spikes of whole runs, and one time step at a time.

Whole runs drift apart after the first differing spike, so the graph is run a second time in
float64 with our spikes put in: every time step then begins from the same history, and each spike
is compared. Where one has a spike and the other none, the voltage has to be so near the threshold
that the errors in the import's report explain it. In thresholds, with errors of weights ``e_w``
for each input that arrived, bias ``e_b``, threshold ``e_t``, decays ``e_d`` and rounding ``e_r``::

    e_i = (1 - d_syn) e_i + e_d |i| + e_w inputs + e_b + e_r        0 at first
    e_v = (1 - d_mem) e_v + e_d |v| + e_i + e_r                     0 at first and after spikes
    explained where |v - 1| <= e_v + e_t

A layer without errors explains nothing: its spikes are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.raster import EmulatorChainSession, check_raster
from spikegpt_neuro.exchange.nir_graph import SPIKING, Graph
from spikegpt_neuro.exchange.nir_neurons import FLOAT32, FloatArray
from spikegpt_neuro.exchange.nir_report import LayerReport
from spikegpt_neuro.exchange.nir_simulation import Simulation, simulate
from spikegpt_neuro.exchange.nir_told import STATE_LIMIT
from spikegpt_neuro.network import Chain

Spikes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class LayerComparison:
    """Spikes of a layer of neurons in a run.

    ``float_spikes``: by NIR's equations in float64; ``integer_spikes``: by ours, each from its own
    history. ``explained``: neurons and time steps, of ``places``, where from the same history one
    has a spike and the other none, as the printed errors allow; ``unexplained``: one line each
    where they do not. ``until``: time steps compared; fewer than there are where a state left its
    24 bits, which the report's notes tell of.
    """

    node: str
    float_spikes: int
    integer_spikes: int
    explained: int
    places: int
    until: int
    unexplained: list[str] = field(default_factory=list)


def compare(
    graph: Graph,
    network: Chain,
    reports: Sequence[LayerReport],
    raster: npt.NDArray[np.generic],
    time_step: float,
) -> list[LayerComparison]:
    """Every layer of neurons that fire, on ``raster`` [T, inputs].

    Raises ``InputError`` for a raster that does not fit the network.
    """
    checked = check_raster(raster, network)
    by_node = {report.node: report for report in reports}
    layers = {layer.name for layer in network.layers}
    names: dict[str, str] = {}  # layers by node
    for node, value in graph.nodes.items():
        made = {node.replace(".", "_"), node.replace("__", ".")} & layers & by_node.keys()
        if value.kind in SPIKING and made:
            names[node] = made.pop()
    with EmulatorChainSession(network, trace=list(names.values())) as session:
        session.score(checked)
        spikes = {node: session.trace(layer) for node, layer in names.items()}
    free = simulate(graph, checked, time_step)
    forced = simulate(graph, checked, time_step, forced=spikes)
    found = []
    for node, ours in spikes.items():
        explained, until, lines = _differences(
            graph, node, by_node[names[node]], forced, ours, time_step
        )
        counts = int(free.values[node].sum()), int(ours.sum())
        found.append(LayerComparison(node, *counts, explained, ours.size, until, lines))
    return found + _sums(graph, network, by_node, forced, checked, time_step)


def _sums(
    graph: Graph, network: Chain, by_node: Mapping[str, LayerReport], real: Simulation,
    raster: Spikes, time_step: float,
) -> list[LayerComparison]:  # fmt: skip
    """The output, where it is voltages, or the sums of a linear node that reads spikes."""
    end = next(n for n, node in graph.nodes.items() if node.kind == "Output")
    node = graph.sources[end][0]
    report = by_node.get(node.replace(".", "_"), by_node.get(node.replace("__", ".")))
    kind, before = graph.nodes[node].kind, {graph.nodes[s].kind for s in graph.sources[node]}
    if len(graph.sources[end]) > 1 or report is None:
        return []
    until, values = len(raster), real.values[node]
    if kind in ("LI", "CubaLI"):
        run = _run(graph, node, report, real, np.zeros(values.shape, np.int32), time_step)
        bound, until = run.bound, run.until
    elif kind in ("Linear", "Affine", "Conv1d", "Conv2d") and before <= {
        *SPIKING,
        "Input",
        "Flatten",
    }:
        bound = report.weight_error * _inputs(graph, end, real) + report.bias_error
        bound = bound[:, None] + 4 * FLOAT32 * (1 + np.abs(values))
    else:
        return []
    with EmulatorChainSession(network) as session:
        ours = session.score(raster) * network.layers[-1].output.scale
    missed = np.abs(ours - values)
    lines = [
        f"{node}[{j}] at step {t}: {values[t, j]:.6g}, by integers {ours[t, j]:.6g}; the errors "
        f"explain {bound[t, j]:.3g}"
        for t, j in np.argwhere(missed[:until] > bound[:until])
    ]
    explained = int((missed[:until] > 0).sum()) - len(lines)
    return [LayerComparison(node, 0, 0, explained, ours.size, until, lines)]


def _inputs(graph: Graph, node: str, real: Simulation) -> FloatArray:
    """Sum of |integers| that weights before ``node`` can be on in each time step, at most: [T]."""
    total = np.zeros(len(next(iter(real.values.values()))))
    for source in graph.sources[node]:
        before = graph.nodes[source]
        if before.kind in (*SPIKING, "Input"):
            total += np.abs(real.values[source]).sum(axis=1)
            continue
        arriving = _inputs(graph, source, real)
        if before.kind == "Delay":  # whatever arrived up to now
            arriving = np.maximum.accumulate(arriving)
        if before.kind in ("SumPool2d", "AvgPool2d"):  # windows can overlap
            arriving *= np.prod(np.ceil(before.array("kernel_size") / before.array("stride")))
        if before.kind in ("Conv1d", "Conv2d"):  # at most a kernel's worth of the largest
            weight = before.array("weight")
            heard = [(graph.nodes[s].kind, real.values[s]) for s in graph.sources[source]]
            if all(kind in (*SPIKING, "Input") for kind, _ in heard):
                largest = sum(np.abs(values).max(axis=1) for _, values in heard)
                arriving = np.minimum(arriving, weight.size // len(weight) * largest)
        total += arriving
    return total


@dataclass(frozen=True)
class _Run:
    """A layer of neurons in the run with our spikes, in units of its thresholds: [T, n].

    ``bound``: how far the errors explain a voltage to be from ours. ``until``: time steps before a
    state leaves its bits.
    """

    voltage: FloatArray
    bound: FloatArray
    level: FloatArray
    until: int


def _run(
    graph: Graph, node: str, report: LayerReport, real: Simulation, spikes: Spikes, dt: float
) -> _Run:
    """The recursion of errors; ``spikes`` of neurons that never fire are zeros."""
    neurons, n = graph.nodes[node], spikes.shape[1]
    kind = neurons.kind

    def parameter(name: str) -> FloatArray:
        array = neurons.array(name).reshape(-1)
        return np.tile(array, n // array.size)

    key = {"Threshold": "threshold", "LI": "", "CubaLI": ""}.get(kind, "v_threshold")
    threshold = parameter(key) if key else np.ones(n)
    level = (threshold > 0).astype(np.float64)
    threshold = np.where(threshold > 0, threshold, 1.0)
    d_voltage, d_current = np.zeros(n), np.ones(n)
    if kind == "Threshold":
        d_voltage = np.ones(n)
    elif kind != "IF":
        d_voltage = dt / parameter("tau_mem" if kind.startswith("Cuba") else "tau")
    voltage, current = real.voltages[node] / threshold, None
    if kind.startswith("Cuba"):
        d_current = dt / parameter("tau_syn")
        current = real.currents[node] * d_voltage * parameter("r") / threshold
    inputs = _inputs(graph, node, real)
    e_current, e_voltage, before = np.zeros(n), np.zeros(n), np.zeros(n)
    whole = float(max(report.threshold, 1)) if report.threshold is not None else report.scale[0]
    limit = STATE_LIMIT / whole
    bounds = np.zeros(voltage.shape)
    for t in range(len(spikes)):
        heard = spikes[t - 1].sum() if t else 0  # by themselves, at most
        pushed = report.weight_error * (inputs[t] + heard) + report.bias_error
        largest = np.abs(voltage[t]).max()
        if current is None:
            e_current = np.full(n, pushed)
        else:
            last = current[t - 1] if t else np.zeros(n)
            e_current = (1 - d_current) * e_current + report.current_decay_error * np.abs(last)
            e_current += pushed + report.rounding
            largest = max(largest, np.abs(current[t]).max())
        e_voltage = (1 - d_voltage) * e_voltage + report.voltage_decay_error * np.abs(before)
        e_voltage += e_current + report.rounding
        if report.notes and largest > limit:
            return _Run(voltage, bounds, level, t)
        bounds[t] = e_voltage + report.threshold_error + 4 * FLOAT32 * (1 + np.abs(voltage[t]))
        e_voltage = np.where(spikes[t] > 0, 0.0, e_voltage)
        before = np.where(spikes[t] > 0, 0.0, voltage[t])
    return _Run(voltage, bounds, level, len(spikes))


def _differences(
    graph: Graph, node: str, report: LayerReport, real: Simulation, spikes: Spikes, dt: float
) -> tuple[int, int, list[str]]:
    """Spikes that differ and are explained, time steps compared, and what is not explained."""
    run = _run(graph, node, report, real, spikes, dt)
    voltage, fired = run.voltage[: run.until], spikes[: run.until] > 0
    wrong = (voltage > run.level) != fired
    far = wrong & (np.abs(voltage - run.level) > run.bound[: run.until])
    lines = [
        f"{node}[{j}] at step {t}: a voltage of {voltage[t, j]:.6g} thresholds, and the integers "
        f"{'fire' if fired[t, j] else 'do not'}; the errors explain {run.bound[t, j]:.3g}"
        for t, j in np.argwhere(far)
    ]
    return int((wrong & ~far).sum()), run.until, lines
