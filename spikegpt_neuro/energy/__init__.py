"""Energy and time of a run on a hardware target, from exact counts and sourced coefficients."""

import importlib
import sys
from types import ModuleType
from typing import Any

from spikegpt_neuro.energy.report import EnergyReport, build_report, build_reports
from spikegpt_neuro.energy.study import DEFAULT_PROFILES, Study, TextRun, build_study, run_text

__all__ = [
    "DEFAULT_PROFILES", "EnergyReport", "Study", "TextRun", "build_report", "build_reports",
    "build_study", "run_text",
]  # fmt: skip


class _Callable(ModuleType):
    """A package that is also the function ``spikegpt_neuro.energy``, whose name it has."""

    def __call__(self, *arguments: Any, **options: Any) -> Study:
        # by name: a package does not import the floor above it
        energy = importlib.import_module("spikegpt_neuro.api").energy

        study: Study = energy(*arguments, **options)
        return study


sys.modules[__name__].__class__ = _Callable
