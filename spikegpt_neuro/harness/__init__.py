"""EleutherAI's lm-evaluation-harness on floats, on integers and on Lava (extra ``lm-eval``).

``SpikeGPTLM`` is a model of the harness; ``evaluate`` runs tasks on several backends and puts their
results side by side (docs/evaluation.md).
"""

from __future__ import annotations

import importlib

from spikegpt_neuro.errors import Unavailable

try:
    importlib.import_module("lm_eval")
except ImportError as error:
    raise Unavailable(
        "Tasks of lm-evaluation-harness need the package lm_eval.",
        ["import lm_eval"],
        "pip install 'spikegpt-neuro[lm-eval]'.",
    ) from error

from spikegpt_neuro.harness.language_model import SpikeGPTLM
from spikegpt_neuro.harness.run import TaskResult, evaluate

__all__ = ["SpikeGPTLM", "TaskResult", "evaluate"]
