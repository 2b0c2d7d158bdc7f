"""What of a NIR graph is exact, what approximate, and what cannot be held."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.backends.raster import RasterSession, check_raster
from spikegpt_neuro.exchange.nir_format import TIME_STEP
from spikegpt_neuro.exchange.nir_graph import SPIKING, Graph, read_graph
from spikegpt_neuro.exchange.nir_import import advice_on, convert
from spikegpt_neuro.exchange.nir_report import ImportReport
from spikegpt_neuro.exchange.nir_simulation import simulate
from spikegpt_neuro.network import Network


@dataclass(frozen=True)
class SpikeCount:
    """Spikes of a layer of neurons in a run: by NIR's equations in float64, and by our integers.

    ``differing``: neurons and time steps where one has a spike and the other none.
    """

    node: str
    float_spikes: int
    integer_spikes: int
    differing: int
    places: int


@dataclass(frozen=True)
class NirCheck:
    """``problems``: what cannot be held, one line each; no import where there are any."""

    report: ImportReport
    problems: tuple[str, ...]
    spikes: tuple[SpikeCount, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        status = "cannot be held" if self.problems else self.report.as_dict()["status"]
        return {
            **self.report.as_dict(), "status": status, "problems": list(self.problems),
            "advice": advice_on(self.problems, self.report.bits),
            "spikes": [vars(count) for count in self.spikes],
        }  # fmt: skip


def check_nir(
    path: Path,
    *,
    bits: int | None = None,
    time_step: float = TIME_STEP,
    raster: npt.NDArray[np.generic] | None = None,
) -> NirCheck:
    """Try the import of ``path``, and with ``raster`` [T, inputs] compare spikes.

    Raises ``InputError`` for a file that is no NIR graph, settings out of range, and a raster that
    does not fit the graph.
    """
    graph, problems = read_graph(path)
    network, report, found = convert(graph, Path(path).name, bits=bits, time_step=time_step)
    problems += found
    if problems or network is None or raster is None or not network.takes_raster:
        return NirCheck(report, tuple(problems))
    return NirCheck(report, (), tuple(compare(graph, network, raster, time_step)))


def compare(
    graph: Graph, network: Network, raster: npt.NDArray[np.generic], time_step: float
) -> list[SpikeCount]:
    """Spikes of every layer of neurons that fires, both ways."""
    checked = check_raster(raster, network)
    nodes = {node.replace(".", "_"): node for node, n in graph.nodes.items() if n.kind in SPIKING}
    layers = [layer.name for layer in network.layers]
    traced = {layer: nodes[key] for layer in layers if (key := layer.replace(".", "__")) in nodes}
    traced |= {layer: nodes[layer] for layer in layers if layer in nodes}
    real = simulate(graph, checked, time_step).values
    with RasterSession(network, trace=list(traced)) as session:
        session.score(checked)
        found = {node: session.trace(layer) for layer, node in traced.items()}
    return [
        SpikeCount(
            node, int(real[node].sum()), int(spikes.sum()), int((real[node] != spikes).sum()),
            spikes.size,
        )
        for node, spikes in found.items()
    ]  # fmt: skip
