"""What a board measured of a run, in the schema of the energy reports it stands beside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers.guard import reason
from spikegpt_neuro.readers.json_file import read_json

SYSTEM: Final = "whole system"
"""Stands in place of a layer for energies of the whole system."""

SCHEMA: Final = "spikegpt-neuro measurement 1"

POWERS: Final = ("total", "static", "vdd", "vddm", "vddio")
"""Mean power while running, power at rest, and the shares of neuro cores (VDD), memories (VDD-M)
and input and output (VDD-IO), each of the whole board."""
ACTIVITIES: Final = ("synaptic_operations", "neuron_updates", "spikes_in", "spikes_out")


@dataclass(frozen=True)
class Measurement:
    """A profiled run of ``tokens`` tokens (time steps of a raster, for a chain).

    ``power_watts`` by the names in ``POWERS``; ``activity`` by those in ``ACTIVITIES``, summed over
    all cores and steps. A figure the profiler did not give is absent (None), and ``notes`` says so.
    """

    board: str
    sdk: str
    mode: str
    time_steps: int
    tokens: int
    seconds_per_step: float | None = None
    power_watts: Mapping[str, float] = field(default_factory=dict)
    activity: Mapping[str, int] = field(default_factory=dict)
    cores: int | None = None
    fullest_core_memory_share: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def seconds_per_token(self) -> float | None:
        """Time steps a token x mean seconds a step."""
        if self.seconds_per_step is None:
            return None
        return self.seconds_per_step * self.time_steps / self.tokens

    def joules_per_token(self, power: str) -> float | None:
        """Energy a token of one of ``POWERS``; None where power or time was not measured."""
        seconds, watts = self.seconds_per_token, self.power_watts.get(power)
        return None if seconds is None or watts is None else seconds * watts

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the keys of ``EnergyReport.to_dict`` that apply."""
        energy, seconds = self.joules_per_token("total"), self.seconds_per_token
        parts = self._parts()
        return {
            "profile": "loihi2",
            "profile_title": f"measured on {self.board}",
            "method": "measured",
            "status": "measured",
            "mode": self.mode,
            "tokens": self.tokens,
            "energy_joules_per_token": energy,
            "energy_joules_per_token_low": energy,
            "energy_joules_per_token_high": energy,
            "energy_note": "measured on a board, chips at rest included"
            if energy is not None
            else "power or time was not measured",
            "energy_joules_per_sequence": None if energy is None else energy * self.tokens,
            "power_watts": self.power_watts.get("total"),
            "energy_joules_per_token_by_category": {
                part["category"]: part["energy_joules_per_token"] for part in parts
            },
            "time": None
            if seconds is None
            else {
                "seconds_per_sequence": seconds * self.tokens,
                "seconds_per_token": seconds,
                "tokens_per_second": 1.0 / seconds if seconds else None,
                "time_steps_per_token": self.time_steps / self.tokens,
            },
            "synaptic_operations_per_token": self._per_token("synaptic_operations"),
            "spikes_per_token": self._per_token("spikes_out"),
            "neuron_updates_per_token": self._per_token("neuron_updates"),
            "parts": parts,
            "warnings": list(self.notes),
            "measurement": {"schema": SCHEMA, **asdict(self)},
        }

    def _per_token(self, name: str) -> float | None:
        return self.activity[name] / self.tokens if name in self.activity else None

    def _parts(self) -> list[dict[str, Any]]:
        """Energy at rest and the rest of it; they sum to the energy a token."""
        total, static = self.joules_per_token("total"), self.joules_per_token("static")
        if total is None:
            return []
        rows = [("system", "run", "total_power", total)]
        if static is not None:
            rows = [
                ("static", "time at rest power", "static_power", static),
                ("system", "what the run added", "total_power - static_power", total - static),
            ]
        return [
            {
                "layer": SYSTEM, "category": category, "event": event,
                "count_per_token": self.seconds_per_token, "coefficient": coefficient,
                "status": "measured", "energy_joules_per_token": joules,
                "energy_joules_per_token_low": joules, "energy_joules_per_token_high": joules,
            }
            for category, event, coefficient, joules in rows
        ]  # fmt: skip


def read_measurements(path: Path) -> tuple[Measurement, ...]:
    """The measurements in a JSON report of a run on a board. InputError if there are none."""
    advice = (
        "Write it where the board is: `spikegpt-neuro energy NET ... --backend loihi2 "
        "--output FILE.json`."
    )
    content = read_json(path, "measurements", advice)
    try:
        found = tuple(_parse(dict(row["measurement"])) for row in content["measurements"])
        if not found:
            raise ValueError("its list of measurements is empty")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no measurements: {reason(error)}.", (), advice) from error
    return found


def _parse(values: dict[str, Any]) -> Measurement:
    schema = values.pop("schema")
    unknown = set(values) - {item.name for item in fields(Measurement)}
    if schema != SCHEMA or unknown:
        raise ValueError(f"schema {schema!r}, unknown keys {sorted(unknown)}")
    found = Measurement(**{**values, "notes": tuple(values["notes"])})
    _check_types(found)
    if found.tokens < 1 or found.time_steps < 1:
        raise ValueError("no token was run")
    return found


def _check_types(found: Measurement) -> None:
    """ValueError for the first value that is not what its field says."""
    texts: list[Any] = [found.board, found.sdk, found.mode, *found.notes]
    counts: list[Any] = [found.time_steps, found.tokens, *found.activity.values()]
    numbers: list[Any] = [*found.power_watts.values()]
    counts += [] if found.cores is None else [found.cores]
    shares = (found.seconds_per_step, found.fullest_core_memory_share)
    numbers += [number for number in shares if number is not None]
    wrong = [(value, "text") for value in texts if not isinstance(value, str)]
    wrong += [(v, "a whole number") for v in counts if type(v) is not int or v < 0]
    wrong += [
        (v, "a number") for v in numbers if type(v) not in (int, float) or not math.isfinite(v)
    ]
    for value, what in wrong:
        raise ValueError(f"{value!r:.60} must be {what}")
    unknown = {*found.power_watts} - {*POWERS} | {*found.activity} - {*ACTIVITIES}
    if unknown:
        raise ValueError(f"unknown figures {sorted(map(repr, unknown))}")
