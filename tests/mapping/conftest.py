"""Profiles the mapping tests share; makes the helper beside them importable, as in tests/kinds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikegpt_neuro.hardware_profiles import Profile, parse_profile

sys.path.insert(0, str(Path(__file__).parent))

MakeProfile = Callable[..., Profile]

_UNITS = {
    "cores_per_chip": "cores", "cores_per_tile": "cores", "mesh_width": "tiles",
    "neurons_per_core": "neurons", "neurons_per_chip": "neurons",
    "synapses_per_chip": "synapses", "memory_per_core": "bytes", "memory_per_chip": "bytes",
    "weight_bits": "bits", "payload_bits": "bits", "accumulator_bits": "bits",
    "fan_in_per_neuron": "synapses", "input_axons_per_core": "axons",
    "output_axons_per_core": "axons", "weights_per_core": "weights",
    "state_per_neuron": "bytes", "synapse_memory_per_core": "bytes",
}  # fmt: skip


def _profile(
    *, features: dict[str, bool] | None = None, chips: int | None = None, **limits: int
) -> Profile:
    evidence = {"status": "vendor", "source": "a test"}
    tables: dict[str, Any] = {}
    for name, value in limits.items():
        row = {"value": value, "unit": _UNITS[name], **evidence}
        if name == "weights_per_core":
            for packing in ("pessimistic", "middle", "optimistic"):
                tables[f"{name}_{packing}"] = row
        else:
            tables[name] = row
    values: dict[str, Any] = {
        "schema": 1, "name": "test", "title": "t", "summary": "s", "method": "structure-only",
        "limits": tables,
        "features": {
            name: {"value": value, **evidence} for name, value in (features or {}).items()
        },
    }  # fmt: skip
    if chips is not None:
        values["systems"] = [{"name": "board", "chips": chips, **evidence}]
    return parse_profile(values)


@pytest.fixture(scope="session")
def make_profile() -> MakeProfile:
    """A profile of just these limits and features."""
    return _profile
