"""NeuroBench: our networks as its models, and prediction of text as a task of its kind.

``IntegerModel`` and ``FloatModel`` are ``NeuroBenchModel``s, ``NextTokens`` and ``BitsPerToken`` a
dataset and a metric of its interfaces; ``measure`` runs its benchmark on a text, and ``counted`` is
what this project's own counters say of the same run (docs/evaluation.md).
"""

from __future__ import annotations

import importlib

from spikegpt_neuro.errors import Unavailable

try:
    importlib.import_module("neurobench.benchmarks")
except ImportError as error:
    raise Unavailable(
        "NeuroBench is not installed.",
        ["import neurobench.benchmarks"],
        # none of what is used here needs its own dependencies (audio, event cameras)
        "pip install snntorch && pip install --no-deps neurobench==2.3.0",
    ) from error

from spikegpt_neuro.neurobench.comparison import Counted, counted, measure
from spikegpt_neuro.neurobench.models import FloatModel, IntegerModel
from spikegpt_neuro.neurobench.task import BitsPerToken, NextTokens

__all__ = [
    "BitsPerToken", "Counted", "FloatModel", "IntegerModel", "NextTokens", "counted", "measure",
]  # fmt: skip
