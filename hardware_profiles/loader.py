"""Reading hardware profiles: strict, exact in their decimal digits, all problems at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles.schema import (
    COEFFICIENTS,
    CURVES,
    FEATURES,
    LIMITS,
    METHODS,
    STATUSES,
    Curve,
    Feature,
    Figure,
    Profile,
    System,
)
from spikegpt_neuro.readers.guard import parsing, read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
SCHEMA = 1
_LARGEST_FILE = 1 << 20
_TOP = (
    "schema", "name", "title", "summary", "method", "coefficients", "curves", "limits", "features",
    "systems", "warnings", "unpublished",
)  # fmt: skip
_EVIDENCE = ("status", "source", "note")


def list_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with the package, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load_profile(name_or_path: str | Path) -> Profile:
    """Read a profile by its name, or from a file of the user's.

    A value with a path separator or the suffix ``.toml`` is a file; anything else is a name.
    Raises InputError listing everything that is wrong with the file.
    """
    text = str(name_or_path)
    path = Path(text)
    if path.suffix != ".toml" and path.name == text:
        path = FOLDER / f"{text}.toml"
        if not path.is_file():
            raise InputError(
                f"There is no hardware profile {text!r}.",
                [f"known: {', '.join(list_profiles())}"],
                "Give one of these names, or the path of a .toml file of your own.",
            )
    content = read_bytes(path, "a hardware profile", largest=_LARGEST_FILE)
    with parsing(path, "a TOML file"):
        values = tomllib.loads(content.decode("utf-8"), parse_float=Decimal)
    return parse_profile(values, str(path))


def parse_profile(values: Mapping[str, Any], where: str = "profile") -> Profile:
    """Check the values of a profile file and make the profile. Raises InputError."""
    reader = _Reader()
    profile = reader.profile(values)
    if reader.problems or profile is None:
        raise InputError(
            f"{where} is not a valid hardware profile ({len(reader.problems)} problems):",
            reader.problems,
            "docs/profiles.md describes every key and unit.",
        )
    return profile


def _number(value: object) -> Fraction | None:
    """An exact number, or None. Booleans, infinities and NaN are not numbers here."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Fraction(value)
    if isinstance(value, Decimal) and value.is_finite():
        return Fraction(value)
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        return Fraction(Decimal(repr(value)))
    return None


class _Reader:
    """Collects problems while it turns tables into values."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def _keys(self, table: Mapping[str, Any], where: str, allowed: tuple[str, ...]) -> None:
        for key in table:
            if key not in allowed:
                self.problems.append(f"{where}: unknown key {key!r}; allowed: {', '.join(allowed)}")

    def _text(self, table: Mapping[str, Any], where: str, key: str, required: bool = True) -> str:
        value = table.get(key, "")
        if not isinstance(value, str) or (required and not value.strip()):
            missing = "is missing" if key not in table else "must be text that is not empty"
            self.problems.append(f"{where}: {key} {missing}")
            return ""
        return value

    def _evidence(self, table: Mapping[str, Any], where: str) -> tuple[str, str, str]:
        status = self._text(table, where, "status")
        if status and status not in STATUSES:
            self.problems.append(f"{where}: status {status!r}; allowed: {', '.join(STATUSES)}")
        source = self._text(table, where, "source")
        note = self._text(table, where, "note", required=False)
        if status in ("derived", "assumed") and not note.strip():
            self.problems.append(f"{where}: {status} figures need a note saying how")
        return status, source, note

    def _unit(self, table: Mapping[str, Any], where: str, expected: str) -> None:
        unit = self._text(table, where, "unit")
        if unit and unit != expected:
            self.problems.append(f"{where}: unit {unit!r}, must be {expected!r}")

    def _tables(
        self, values: Mapping[str, Any], section: str, names: Mapping[str, Any]
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        tables = values.get(section, {})
        if not isinstance(tables, Mapping):
            self.problems.append(f"{section} must be a table")
            return
        for name, table in tables.items():
            if name not in names:
                self.problems.append(f"{section}: unknown name {name!r}")
            elif not isinstance(table, Mapping):
                self.problems.append(f"{section}.{name} must be a table")
            else:
                yield name, table

    def _figure(
        self, name: str, table: Mapping[str, Any], where: str, unit: str, whole: bool
    ) -> Figure:
        self._keys(table, where, ("value", "low", "high", "unit", *_EVIDENCE))
        self._unit(table, where, unit)
        evidence = self._evidence(table, where)
        found: dict[str, Fraction] = {}
        for key in ("value", "low", "high"):
            if key not in table:
                continue
            number = _number(table[key])
            if number is None or number < 0:
                self.problems.append(f"{where}: {key} must be a finite number >= 0")
            elif whole and (number.denominator != 1 or number < 1):
                self.problems.append(f"{where}: {key} must be a whole number >= 1")
            else:
                found[key] = number
        if "value" not in table and not ("low" in table and "high" in table):
            self.problems.append(f"{where}: give value, or low and high")
        low = found.get("low", found.get("value", Fraction(0)))
        high = found.get("high", found.get("value", low))
        value = found.get("value", (low + high) / 2)
        if not low <= value <= high:
            self.problems.append(f"{where}: must have low <= value <= high")
        return Figure(name, value, low, high, unit, *evidence)

    def _curve(self, name: str, table: Mapping[str, Any]) -> Curve | None:
        where = f"curves.{name}"
        argument_unit, unit, _ = CURVES[name]
        self._keys(table, where, ("points", "argument_unit", "unit", *_EVIDENCE))
        self._unit(table, where, unit)
        if self._text(table, where, "argument_unit") not in ("", argument_unit):
            self.problems.append(f"{where}: argument_unit must be {argument_unit!r}")
        evidence = self._evidence(table, where)
        points: list[tuple[Fraction, Fraction]] = []
        raw = table.get("points", [])
        for point in raw if isinstance(raw, list) else []:
            pair = [_number(x) for x in point] if isinstance(point, list) else []
            if len(pair) == 2 and pair[0] is not None and pair[1] is not None:
                points.append((pair[0], pair[1]))
        if not points or len(points) != len(raw):
            self.problems.append(f"{where}: points must be a list of [argument, value] numbers")
            return None
        if any(a[0] >= b[0] for a, b in pairwise(points)) or any(y < 0 for _, y in points):
            self.problems.append(f"{where}: arguments must rise and values be >= 0")
        return Curve(name, tuple(points), argument_unit, unit, *evidence)

    def _feature(self, name: str, table: Mapping[str, Any]) -> Feature:
        where = f"features.{name}"
        self._keys(table, where, ("value", *_EVIDENCE))
        if not isinstance(table.get("value"), bool):
            self.problems.append(f"{where}: value must be true or false")
        return Feature(name, bool(table.get("value")), *self._evidence(table, where))

    def _systems(self, values: Mapping[str, Any]) -> Iterator[System]:
        tables = values.get("systems", [])
        if not isinstance(tables, list):
            self.problems.append("systems must be a list of tables")
            return
        for i, table in enumerate(tables):
            where = f"systems[{i}]"
            if not isinstance(table, Mapping):
                self.problems.append(f"{where} must be a table")
                continue
            self._keys(table, where, ("name", "chips", *_EVIDENCE))
            chips = table.get("chips")
            if isinstance(chips, bool) or not isinstance(chips, int) or chips < 1:
                self.problems.append(f"{where}: chips must be a whole number >= 1")
                chips = 1
            yield System(self._text(table, where, "name"), chips, *self._evidence(table, where))

    def _sentences(self, values: Mapping[str, Any], key: str) -> tuple[str, ...]:
        sentences = values.get(key, [])
        if not isinstance(sentences, list) or not all(isinstance(s, str) for s in sentences):
            self.problems.append(f"{key} must be a list of sentences")
            return ()
        return tuple(sentences)

    def profile(self, values: Mapping[str, Any]) -> Profile | None:
        """The profile, or None where its head cannot be read; ``problems`` says why."""
        self._keys(values, "profile", _TOP)
        if values.get("schema") != SCHEMA:
            self.problems.append(f"profile: schema must be {SCHEMA}")
        method = self._text(values, "profile", "method")
        if method and method not in METHODS:
            self.problems.append(f"profile: method {method!r}; allowed: {', '.join(METHODS)}")
        coefficients = {
            name: self._figure(
                name, table, f"coefficients.{name}", COEFFICIENTS[name][0], whole=False
            )
            for name, table in self._tables(values, "coefficients", COEFFICIENTS)
        }
        limits = {
            name: self._figure(name, table, f"limits.{name}", LIMITS[name][0], whole=True)
            for name, table in self._tables(values, "limits", LIMITS)
        }
        curves = {
            name: curve
            for name, table in self._tables(values, "curves", CURVES)
            if (curve := self._curve(name, table)) is not None
        }
        features = {
            name: self._feature(name, table)
            for name, table in self._tables(values, "features", FEATURES)
        }
        needed = {
            "event-driven": "synaptic_operation",
            "arithmetic": "synaptic_add",
        }.get(method)
        if needed and needed not in coefficients:
            self.problems.append(f"coefficients: {needed} is missing; {method} profiles need it")
        cores = ("cores_per_chip", *(n for n in LIMITS if n.startswith("weights_per_core_")))
        absent = [name for name in cores if name not in limits]
        if 0 < len(absent) < len(cores):
            self.problems.append(
                f"limits: {', '.join(absent)} missing; a profile describes cores wholly or not"
            )
        if method == "structure-only":
            priced = [n for n in coefficients if COEFFICIENTS[n][0] in ("pJ", "J")]
            if priced:
                self.problems.append(
                    f"coefficients: {', '.join(priced)}: a structure-only profile has no energies"
                )
        return Profile(
            name=self._text(values, "profile", "name"),
            title=self._text(values, "profile", "title"),
            summary=self._text(values, "profile", "summary"),
            method=method,
            coefficients=coefficients,
            curves=curves,
            limits=limits,
            features=features,
            systems=tuple(self._systems(values)),
            warnings=self._sentences(values, "warnings"),
            unpublished=self._sentences(values, "unpublished"),
        )
