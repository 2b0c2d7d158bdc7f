"""Energy and time of a run on a hardware target, from exact counts and sourced coefficients."""

from spikegpt_neuro.energy.report import EnergyReport, build_report, build_reports
from spikegpt_neuro.energy.study import DEFAULT_PROFILES, Study, TextRun, build_study, run_text

__all__ = [
    "DEFAULT_PROFILES", "EnergyReport", "Study", "TextRun", "build_report", "build_reports",
    "build_study", "run_text",
]  # fmt: skip
