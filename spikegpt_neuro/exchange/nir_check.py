"""What of a NIR graph is exact, what approximate, and what cannot be held."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikegpt_neuro.exchange.nir_compare import LayerComparison, compare
from spikegpt_neuro.exchange.nir_format import TIME_STEP
from spikegpt_neuro.exchange.nir_graph import read_graph
from spikegpt_neuro.exchange.nir_import import advice_on, convert
from spikegpt_neuro.exchange.nir_report import ImportReport
from spikegpt_neuro.network import Chain


@dataclass(frozen=True)
class NirCheck:
    """``problems``: what cannot be held, one line each; no import where there are any."""

    report: ImportReport
    problems: tuple[str, ...]
    spikes: tuple[LayerComparison, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        status = "cannot be held" if self.problems else self.report.as_dict()["status"]
        return {
            **self.report.as_dict(),
            "status": status,
            "problems": list(self.problems),
            "advice": advice_on(self.problems, self.report.bits),
            "spikes": [vars(count) for count in self.spikes],
        }


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
    if problems or network is None or raster is None or not isinstance(network, Chain):
        return NirCheck(report, tuple(problems))
    return NirCheck(report, (), tuple(compare(graph, network, report.layers, raster, time_step)))
