"""Meters of this machine: RAPL through Linux's powercap files, and NVIDIA's NVML.

RAPL counts microjoules a domain and wraps at ``max_energy_range_uj`` (Linux kernel documentation,
power/powercap/powercap). Only packages, DRAM and the platform are read where they are top-level or
not part of another domain read: cores and uncore are inside their package. NVML counts millijoules
since the driver was loaded (``nvmlDeviceGetTotalEnergyConsumption``, Volta and newer).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from spikegpt_neuro.errors import Unavailable

POWERCAP: Final = Path("class/powercap")
SYSFS: Final = Path("/sys")
_TOP: Final = "intel-rapl:"  # AMD's and Intel's driver both name their zones so


class Meter(Protocol):
    """Something that counts energy."""

    name: str

    def joules(self) -> float:
        """Joules since the meter was made, wraps of its counter undone."""
        ...


class RaplMeter:
    """One domain. A counter that wraps must be read at least once a turn (minutes at full load)."""

    def __init__(self, zone: Path) -> None:
        self.name = f"rapl {(zone / 'name').read_text().strip()} ({zone.name})"
        self._file = zone / "energy_uj"
        self._turn = int((zone / "max_energy_range_uj").read_text()) + 1
        self._last = int(self._file.read_text())
        self._total = 0

    def joules(self) -> float:
        """See ``Meter``."""
        now = int(self._file.read_text())
        self._total += (now - self._last) % self._turn
        self._last = now
        return self._total * 1e-6


class NvmlMeter:
    """One NVIDIA card."""

    def __init__(self, library: Any, index: int) -> None:
        self._library = library
        self._card = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(self._card)):
            raise OSError(f"card {index} does not answer")
        self.name = f"nvml card {index}"
        self._first = self._millijoules()

    def _millijoules(self) -> int:
        value = ctypes.c_ulonglong()
        if self._library.nvmlDeviceGetTotalEnergyConsumption(self._card, ctypes.byref(value)):
            raise OSError("the card counts no energy")
        return value.value

    def joules(self) -> float:
        """See ``Meter``."""
        return (self._millijoules() - self._first) * 1e-3


@dataclass(frozen=True)
class Reading:
    """Energy of a stretch of time, by meter."""

    seconds: float
    joules: dict[str, float]

    @property
    def total(self) -> float:
        """Joules of all meters."""
        return sum(self.joules.values())

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.total / self.seconds if self.seconds else 0.0


class Stretch:
    """Reads meters from its making on."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._meters = meters
        self._begin = {meter.name: meter.joules() for meter in meters}
        self._start = time.perf_counter()

    def read(self) -> Reading:
        """Energy so far."""
        found = {meter.name: meter.joules() - self._begin[meter.name] for meter in self._meters}
        return Reading(time.perf_counter() - self._start, found)


def find_meters(sysfs: Path = SYSFS, *, cards: bool = True) -> tuple[Meter, ...]:
    """All meters that can be read. Raises Unavailable, saying what was tried, if there is none."""
    probed: list[str] = []
    meters: list[Meter] = [*_rapl(sysfs, probed), *(_nvml(probed) if cards else ())]
    if not meters:
        raise Unavailable(
            "No meter of energy can be read on this machine.",
            probed,
            "RAPL: run on Linux on bare metal and make energy_uj readable, for example "
            "`sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj`. NVML: install NVIDIA's "
            "driver.",
        )
    return tuple(meters)


def _rapl(sysfs: Path, probed: list[str]) -> list[Meter]:
    folder = sysfs / POWERCAP
    # zones are links in a flat folder: intel-rapl:0 is a package, intel-rapl:0:1 is inside it
    zones = sorted(folder.glob(f"{_TOP}*")) if folder.is_dir() else []
    if not zones:
        probed.append(f"{folder}: no RAPL domains")
        return []
    found: list[Meter] = []
    platform = False
    for zone in zones:
        try:
            name = (zone / "name").read_text().strip()
            inside = zone.name.removeprefix(_TOP).count(":") > 0
            if inside and name != "dram":
                continue
            meter = RaplMeter(zone)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            probed.append(f"{zone / 'energy_uj'}: {reason}")
            continue
        if name == "psys":  # the whole platform: packages and memory are in it
            platform = True
            found = [meter]
        elif not platform:
            found.append(meter)
    return found


def _nvml(probed: list[str]) -> list[Meter]:
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        probed.append(f"NVML: {error}")
        return []
    if library.nvmlInit_v2():
        probed.append("NVML: the driver does not answer")
        return []
    count = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    found: list[Meter] = []
    for index in range(count.value):
        with suppress(OSError):
            found.append(NvmlMeter(library, index))
    if not found:
        probed.append(f"NVML: {count.value} cards, none counts energy")
    return found
