"""Reports as JSON and CSV. The same inputs give the same bytes."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, Final

from spikegpt_neuro.energy import Study
from spikegpt_neuro.energy.mapping_choice import MappingChoice
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import Mapping, Size

_LAYER_COLUMNS: Final = (
    "name", "kind", "stage", "operand", "operand_bits", "input_rate", "output_rate",
    "energy_joules_per_token", "accumulates", "multiply_accumulates", "dense_operations",
    "unit_additions", "neuron_updates_active", "neuron_updates_idle", "input_events",
    "output_events", "output_bits", "event_bits", "weights_read", "state_words_read",
    "state_words_written", "parameter_words_read", "activation_words_read",
    "activation_words_written", "packets_per_token", "hops_per_token", "saturations", "overflows",
)  # fmt: skip
_PART_COLUMNS: Final = (
    "layer", "category", "event", "count_per_token", "coefficient", "status",
    "energy_joules_per_token", "energy_joules_per_token_low", "energy_joules_per_token_high",
)  # fmt: skip


def as_json(value: Any) -> str:
    """Stable JSON text, ended by a newline."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def layers_csv(study: Study) -> str:
    """Counts (over the whole text) and energy a token of every layer, for every report."""
    rows = [
        {"profile": report.profile.name, "mode": report.mode, **row}
        for report in study.reports
        for row in report.to_dict()["per_layer"]
    ]
    return _csv(("profile", "mode", *_LAYER_COLUMNS), rows)


def parts_csv(study: Study) -> str:
    """Every part of every report: the energies sum to the report's total exactly."""
    rows = [
        {"profile": report.profile.name, "mode": report.mode, **row}
        for report in study.reports
        for row in report.to_dict()["parts"]
    ]
    return _csv(("profile", "mode", *_PART_COLUMNS), rows)


def mapping_dict(
    mapping: Mapping, sizes: tuple[Size, ...], choice: MappingChoice | None = None
) -> dict[str, Any]:
    """A mapping, the sizes under every packing, and what a chosen one is compared with."""
    return {
        **mapping.to_dict(),
        "packings": [
            {
                "packing": s.packing, "weights_per_core": s.weights_per_core, "cores": s.cores,
                "chips": s.chips, "chips_without_head": s.chips_without_head,
                "smallest_system": s.system,
            }
            for s in sizes
        ],
        "choice": None if choice is None else choice.to_dict(),
    }  # fmt: skip


def profile_dict(profile: Profile) -> dict[str, Any]:
    """A profile as plain JSON values."""

    return {
        "name": profile.name,
        "title": profile.title,
        "summary": profile.summary,
        "method": profile.method,
        "coefficients": {name: f.to_dict() for name, f in profile.coefficients.items()},
        "limits": {name: f.to_dict() for name, f in profile.limits.items()},
        "curves": {name: c.to_dict() for name, c in profile.curves.items()},
        "features": {
            f.name: {"value": f.value, "status": f.status, "source": f.source, "note": f.note}
            for f in profile.features.values()
        },
        "systems": [
            {"name": s.name, "chips": s.chips, "status": s.status, "source": s.source}
            for s in profile.systems
        ],
        "warnings": list(profile.warnings),
        "unpublished": list(profile.unpublished),
    }
