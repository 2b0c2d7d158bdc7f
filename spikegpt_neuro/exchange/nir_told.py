"""What the import's report says of neurons: errors of their parameters, limits of their states."""

from __future__ import annotations

import numpy as np

from spikegpt_neuro.exchange.nir_format import UNIT
from spikegpt_neuro.exchange.nir_graph import Node
from spikegpt_neuro.exchange.nir_neurons import FLOAT32, Dynamics, is_exact_decay
from spikegpt_neuro.exchange.nir_quantise import Scale
from spikegpt_neuro.exchange.nir_report import LayerReport
from spikegpt_neuro.network.schema import Array

STATE_LIMIT = (1 << 17) - 1
"""Currents and voltages have 24 bits, 6 of them below the weights' unit."""
STATE_STEP = 2.0**-6


def tell_neurons(
    report: LayerReport, node: Node, step: Dynamics, scale: Scale,
    decays: tuple[Array, Array], reach: float,
) -> None:  # fmt: skip
    """Fill in what the report says of neurons."""
    threshold = int(scale.threshold or 0)
    report.threshold = scale.threshold
    if step.threshold is not None and not scale.is_exact:
        held = threshold / scale.factor
        worst = np.abs(held - step.threshold) / np.where(step.threshold > 0, step.threshold, 1.0)
        report.threshold_error = float(worst.max()) if worst.max() > FLOAT32 else 0.0
    report.scale = (float(scale.factor.min()), float(scale.factor.max()))
    current, voltage = step.current_decay, step.voltage_decay
    if not is_exact_decay(current):
        report.current_decay_error = float(np.abs(current - decays[0] / UNIT).max())
    if not is_exact_decay(voltage):
        report.voltage_decay_error = float(np.abs(voltage - decays[1] / UNIT).max())
    leaky = [voltage] if node.kind in ("LIF", "CubaLIF", "LI", "CubaLI") else []
    leaky += [current] if node.kind in ("CubaLIF", "CubaLI") else []
    report.euler_error = max((float((np.exp(-d) - 1 + d).max()) for d in leaky), default=0.0)
    # integers to a threshold, or, of neurons that do not fire, to a voltage of 1
    whole = float(max(threshold, 1)) if step.threshold is not None else float(scale.factor.min())
    what = "thresholds" if step.threshold is not None else "(as the file's voltages)"
    if any(((d > 0) & (d < UNIT)).any() for d in decays):
        report.rounding = STATE_STEP / whole
    for real, held in ((current, decays[0]), (voltage, decays[1])):
        if ((real > 0) & (held == 0)).any():
            report.notes.append(f"a decay of {real[real > 0].min():.3g} a step is held as none")
    least = [max(int(d.min()), 1) / UNIT for d in decays]
    if reach / least[0] > STATE_LIMIT:
        report.notes.append(
            f"currents wrap beyond {STATE_LIMIT / whole:.4g} {what}; all inputs at once could "
            f"reach {reach / least[0] / whole:.4g}"
        )
    if decays[1].min() == 0 or reach / least[0] / least[1] > STATE_LIMIT:
        report.notes.append(f"voltages go down to -{STATE_LIMIT / whole:.4g} {what} at most")
