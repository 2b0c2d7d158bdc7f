"""The goals for the headline class, and what the studies found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.classes import HEADLINE

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """A figure with what it must reach and what it should; ``least`` False: the less the better."""

    text: str
    must: float
    aim: float
    find: Callable[[Results], float]
    least: bool = True

    def reached(self, value: float) -> str:
        """``aim``, ``must`` or ``missed``."""
        sign = 1 if self.least else -1
        if sign * value >= sign * self.aim:
            return "aim"
        return "must" if sign * value >= sign * self.must else "missed"


def _class(results: Results) -> Any:
    sizes = results["sizes"]
    return sizes.get(HEADLINE) or list(sizes.values())[-1]


def _projection(density: float) -> Callable[[Results], float]:
    def find(results: Results) -> float:
        rows = next(iter(results["projection"].values()))
        return next(
            row["event_driven_times_dense"]["median"]
            for row in rows
            if row["density"] == density and not row["binary"]
        )

    return find


def _bits(*path: str) -> Callable[[Results], float]:
    def find(results: Results) -> float:
        value: Any = next(iter(results["bits"].values()))
        for key in (*path, "median"):
            value = value[key]
        return float(value)

    return find


MEGABYTE = 1e6
GOALS = (
    Goal("generation, times PyTorch fp32", 6, 9,
         lambda r: _class(r)["generation_times_torch"]["median"]),
    Goal("weight bytes touched per second / memory probe", 0.5, 0.7,
         lambda r: _class(r)["weight_bytes_over_probe"]["median"]),
    Goal("scoring with all logits, times own generation", 1.3, 2,
         lambda r: _class(r)["scoring_times_own_generation"]["median"]),
    Goal("4 bits, times own 8-bit generation", 1.6, 1.9, _bits("times_own_8_bit", "4 bits")),
    Goal("4 bits, times PyTorch fp32", 13, 16, _bits("times_torch", "4 bits")),
    Goal("4 bits, weight bytes / memory probe", 0.6, 0.6,
         _bits("weight_bytes_over_probe", "4 bits")),
    Goal("ternary, times own 8-bit generation", 2.5, 3.5, _bits("times_own_8_bit", "2 bits")),
    Goal("ternary, weight bytes / memory probe", 0.6, 0.6,
         _bits("weight_bytes_over_probe", "2 bits")),
    Goal("ternary products alone, weight bytes / memory probe", 0.6, 0.6,
         _bits("weight_bytes_over_probe", "2 bits, products alone")),
    Goal("8 streams, 8 bits, times one stream", 2.5, 3,
         _bits("times_own_8_bit", "8 bits, 8 streams")),
    Goal("event-driven, times dense, 5 % active", 3, 6, _projection(0.05)),
    Goal("event-driven, times dense, 10 % active", 1.7, 3, _projection(0.1)),
    Goal("times Lava CPU, 4 x stock (Dense + LIF)", 15, 25,
         lambda r: r["lava"]["stock Dense and LIF"]["emulator_times_lava"]["median"]),
    Goal("times Lava CPU, 4 blocks, fused, scoring", 15, 25,
         lambda r: r["lava"]["fused SpikeGPT"]["scoring"]["emulator_times_lava"]["median"]),
    Goal("times Lava CPU, 4 blocks, fused, generating", 15, 25,
         lambda r: r["lava"]["fused SpikeGPT"]["generating"]["emulator_times_lava"]["median"]),
    Goal("training, tokens/s, upstream layout", 2000, 3000,
         lambda r: r["training"]["tokens_per_second"]["upstream"]["median"]),
    Goal("training, tokens/s, spike-driven layout", 2000, 3000,
         lambda r: r["training"]["tokens_per_second"]["spike-driven"]["median"]),
    Goal("LIF forward and backward, times SLAYER's", 3, 10,
         lambda r: r["training"]["lif_times_slayer"]["median"]),
    Goal("export, wall seconds with imports", 6, 4,
         lambda r: r["export"]["wall_seconds"]["median"], least=False),
    Goal("export, most memory, MB", 1600, 1300,
         lambda r: r["export"]["peak_memory_bytes"] / MEGABYTE, least=False),
    Goal("open and first token, process seconds", 1.5, 1,
         lambda r: r["resources"]["wall_seconds_to_first_token"]["median"], least=False),
    Goal("memory while generating beyond mapped files, MB", 200, 100,
         lambda r: r["resources"]["memory_beyond_mapped_files_bytes"] / MEGABYTE, least=False),
)  # fmt: skip


def table(results: Results) -> list[dict[str, Any]]:
    """Every goal whose study ran."""
    rows = []
    for goal in GOALS:
        try:
            value = goal.find(results)
        except KeyError:  # its study was not asked for
            continue
        rows.append(
            {
                "figure": goal.text, "must": goal.must, "aim": goal.aim, "measured": value,
                "reached": goal.reached(value),
            }
        )  # fmt: skip
    return rows


def timings(results: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """A line for each set of timings, with the memory bandwidth of the same rounds beside it."""
    if isinstance(results, list):
        results = {str(row.get("wished_rate", i)): row for i, row in enumerate(results)}
    if not isinstance(results, Mapping):
        return
    if {"seconds_per_token", "probe_bytes_per_second"} <= set(results):
        times = results["seconds_per_token"]
        named = {"a token": times} if "median" in times else times
        shown = [f"{name} {1e3 * entry['median']:.2f} ms" for name, entry in named.items()]
        probe = {key: value / 1e9 for key, value in results["probe_bytes_per_second"].items()}
        yield (
            f"{' '.join(path)}: {', '.join(shown)}; memory probe {probe['median']:.1f} GB/s "
            f"({probe['least']:.1f} to {probe['most']:.1f})"
        )
        return
    for name, value in results.items():
        yield from timings(value, (*path, name))
