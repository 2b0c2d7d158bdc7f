"""Energy and time of a run on a hardware target, from exact counts and sourced coefficients."""

from spikegpt_neuro.energy.report import EnergyReport, build_report, build_reports

__all__ = ["EnergyReport", "build_report", "build_reports"]
