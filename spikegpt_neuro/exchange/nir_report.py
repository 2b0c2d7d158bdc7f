"""What an import did to each node: exact, or by how much its integers differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class LayerReport:
    """One node with the ``synapses`` it reads through.

    Errors are the largest of the layer, in thresholds of its neurons.

    ``scale``: integers to a real 1, the smallest and the largest of the layer (a neuron has its
    own, which makes thresholds equal). ``weight_error``, ``bias_error``: of what one input, and
    the bias, add to the voltage in a step; where no neurons that fire read the values, as they are.
    ``threshold_error``: of the threshold itself. ``voltage_decay_error``,
    ``current_decay_error``: of the part that decays in a step. ``euler_error``: how far the step
    of forward Euler is from ``exp(-dt / tau)``, the largest of both states; nothing to do with
    integers. ``rounding``: the most a state loses a step, towards zero, because it is an integer.
    ``notes``: what holds only within limits.
    """

    node: str
    kind: str
    synapses: list[str] = field(default_factory=list)
    bits: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    weight_error: float = 0.0
    bias_error: float = 0.0
    threshold: int | None = None
    threshold_error: float = 0.0
    voltage_decay_error: float = 0.0
    current_decay_error: float = 0.0
    delay_error: float = 0.0
    euler_error: float = 0.0
    rounding: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Whether every parameter is held as the file has it, to the accuracy of float32."""
        return not any(
            (
                self.weight_error, self.bias_error, self.threshold_error,
                self.voltage_decay_error, self.current_decay_error, self.delay_error,
            )
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "status": "exact" if self.is_exact else "approximate"}


@dataclass
class ImportReport:
    """All nodes that became layers, in the network's order, and remarks on the graph."""

    time_step: float
    bits: int | None
    layers: list[LayerReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    equation: str = "forward Euler"

    @property
    def is_exact(self) -> bool:
        """Whether every layer is."""
        return all(layer.is_exact for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "equation": self.equation, "time_step": self.time_step, "bits": self.bits,
            "status": "exact" if self.is_exact else "approximate",
            "layers": [layer.as_dict() for layer in self.layers], "notes": self.notes,
        }  # fmt: skip
